"""A program, not a test: trains a random model for two steps and prints the peak memory of each phase of the second.

python -m tests.measure_plan FOLDER SETTINGS, the settings a JSON object; see `main`. Bytes above what the process held
before the policy was built. glibc must give memory back at once for this to be what is in use: the caller sets
MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_ARENA_MAX.
"""

import gc
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen3Config

from grpo_lightning.batching import Sample
from grpo_lightning.collection import Collected
from grpo_lightning.generation import SamplingConfig
from grpo_lightning.module import GRPOModule
from grpo_lightning.objective import KLConfig, ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from grpo_lightning.policy import PolicyConfig
from grpo_lightning.preparation import Prepared
from grpo_lightning.scoring import RewardSpec
from grpo_lightning.sharding import FullySharded
from grpo_lightning.sources import Generated
from grpo_lightning.tasks import Arithmetic
from grpo_lightning.types import Prompt, Record
from tests.fakes import tiny_data, tiny_trainer
from tests.tiny import END, tiny_tokenizer

KIB = 1024


def status(field: str) -> int:
    """Bytes of a field of this process's status, such as VmHWM."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", text)[1]) * KIB  # type: ignore[index]


def numbered(records: Sequence[Record]) -> list[float]:
    """Of each another: no group is left out of the update."""
    return [float(i) for i in range(len(records))]


class Phase:
    """Anonymous memory's peak between its making and `peak`; pages of files, such as libraries, do not count."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> int:
        return status("VmHWM") - status("RssFile") - status("RssShmem")


class Measured(GRPOModule):
    """Notes the peak of each phase; of several, the last."""

    baseline = 0
    peaks: dict[str, int]

    def configure_model(self) -> None:
        if self.policy is None:
            gc.collect()
            self.baseline, self.peaks = status("RssAnon"), {}
        super().configure_model()

    def collect(self, prompts: Sequence[Prompt], iteration: int) -> Collected:
        self.peaks["held"] = status("RssAnon") - self.baseline
        phase = Phase()
        found = super().collect(prompts, iteration)
        self.peaks["rollout"] = phase.peak() - self.baseline
        self.peaks["width"] = max(len(prompt.token_ids) for prompt in prompts)
        self.peaks["length"] = max(len(c.token_ids) for g in found.rollout.groups for c in g.completions)
        return found

    def prepare(self, found: Collected) -> Prepared:
        phase = Phase()
        batch = super().prepare(found)
        self.peaks["look"] = phase.peak() - self.baseline
        return batch

    def optimizer_step_on(self, samples: Sequence[Sample]) -> None:
        phase = Phase()
        super().optimizer_step_on(samples)
        self.peaks["update"] = phase.peak() - self.baseline


def write_policy(folder: Path, shape: dict[str, object], family: str) -> None:
    """A folder with the shape of a policy and the tiny tokenizer."""
    ids = {"eos_token_id": END, "pad_token_id": 0, "bos_token_id": None}
    config = {"qwen2": Qwen2Config, "qwen3": Qwen3Config}[family](**shape, **ids)
    config.architectures = [type(config).__name__.replace("Config", "ForCausalLM")]
    config.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


SMALL = {"vocab_size": 25, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": 4}
"""Trained first, so that what libraries load and keep at first use counts as the process's own."""


def main(folder: Path, settings: dict[str, dict[str, object]]) -> None:
    torch.set_num_threads(1)
    for shape in (settings["shape"] | SMALL, settings["shape"]):
        peaks = measure(folder, settings | {"shape": shape})
    print(json.dumps(peaks))


def measure(folder: Path, settings: dict[str, dict[str, object]]) -> dict[str, int]:
    """The peaks of the second of two steps."""
    write_policy(folder / "tiny", settings["shape"], settings.get("family", "qwen3"))
    module = Measured(
        policy=PolicyConfig(pretrained=str(folder / "tiny"), random_weights=True, **settings.get("policy", {})),
        rewards=[RewardSpec(reward=numbered, inline=True)],
        group_size=settings["group_size"],
        sampling=SamplingConfig(**settings["sampling"]),
        objective=ObjectiveConfig(kl=KLConfig(beta=settings.get("beta", 0.0))),
        update=UpdateConfig(**settings["update"]),
        optimizer=OptimizerConfig(lr=1e-6),
        first_step_checks=False,
    )
    how = {"precision": settings.get("precision", "32-true"), "enable_checkpointing": False, "limit_val_batches": 0}
    if "strategy" in settings:
        how |= {"strategy": FullySharded(**settings["strategy"]), "devices": 1}
    trainer = tiny_trainer(folder, callbacks=[], **how)
    source = Generated(task=Arithmetic(digits=3), train=settings["prompts"], validation=0, test=0)
    trainer.fit(module, datamodule=tiny_data(folder, source=source, prompts_per_step=settings["prompts"]))
    return module.peaks


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
