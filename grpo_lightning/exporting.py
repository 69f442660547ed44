"""The trained policy as a Hugging Face folder: safetensors, tokenizer, generation config and a model card."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning import __version__
from grpo_lightning.adapters import check_adapter, merge_adapter, write_adapter
from grpo_lightning.policy import PolicyConfig, load_policy, load_tokenizer
from grpo_lightning.sharding import saved_weights


def export_checkpoint(config: PolicyConfig, checkpoint: Path, folder: Path, *, seed: int, run: Path) -> None:
    """Writes the policy of a checkpoint, sharded or not; needs no trainer. `seed` and `run` are those of its run."""
    state = saved_weights(checkpoint)
    policy = load_policy(config, seed=seed, empty=True)
    tokenizer = load_tokenizer(config.pretrained, revision=config.revision, trust_remote_code=config.trust_remote_code)
    write_policy(folder, config, policy, state, tokenizer, seed=seed, run=run)


def write_policy(
    folder: Path,
    config: PolicyConfig,
    policy: PreTrainedModel,
    state: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    run: Path,
) -> None:
    """Writes the policy with the weights of `state`. An adapter is merged into them, and also stands in `adapter/`."""
    folder.mkdir(parents=True, exist_ok=True)
    if config.adapter is None:
        policy.save_pretrained(folder, state_dict=dict(state))
    else:
        # Merged into weights that are not quantised: what was rounded for training need not stay so.
        whole = load_policy(replace(config, quantization="none"), seed=seed)
        check_adapter(whole, state)
        whole.load_state_dict({name: value for name, value in state.items() if "lora_" in name}, strict=False)
        write_adapter(whole, folder / "adapter")
        merge_adapter(whole)
        whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(model_card(config.pretrained, run), encoding="utf-8")


def model_card(pretrained: str, run: Path) -> str:
    """What the folder holds, how it scored and which settings made it, as far as the run's folder tells."""
    lines = [
        "---",
        "library_name: transformers",
        "tags: [grpo, reinforcement-learning]",
        *([] if pretrained.startswith(("embedded:", "/", ".")) else [f"base_model: {pretrained}"]),
        "---",
        f"# {run.name}",
        "",
        f"`{pretrained}`, trained with verifiable rewards by grpo-lightning {__version__}.",
    ]
    summary = run / "summary.json"
    if summary.is_file():
        measured = json.loads(summary.read_text(encoding="utf-8"))
        before, after = measured.get("before", {}), measured.get("after", {})
        lines += ["", "| on held-out prompts | before | after |", "|---|---|---|"]
        lines += [f"| {name} | {before.get(name, float('nan')):.4g} | {after[name]:.4g} |" for name in after]
        lines += ["", f"{measured['steps']} optimizer steps, seed {measured['seed']}."]
    if (run / "config.yaml").is_file():
        lines += ["", "```yaml", (run / "config.yaml").read_text(encoding="utf-8").rstrip(), "```"]
    return "\n".join(lines) + "\n"
