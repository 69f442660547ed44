"""Computes again the loss of a batch that ended a run, and shows where it is not finite.

python -m grpo_lightning.replay runs/NAME/bad_steps/step=12-rank=0.pt [runs/NAME/checkpoints/last.ckpt]

Without a checkpoint the weights are those the run began with. The file does not hold the weights of its step: where
these are older, the loss may well be finite. A run is repeatable, so going on from the last checkpoint with
`--checkpoint.every_n_train_steps 1` comes to the same step again, and leaves a checkpoint just before its rollout.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning import losses
from grpo_lightning.adapters import AdapterConfig, check_adapter
from grpo_lightning.bad_steps import micro_batch_from
from grpo_lightning.batching import MicroBatch
from grpo_lightning.logprobs import completion_logprobs
from grpo_lightning.losses import Totals
from grpo_lightning.objective import Coefficients, EntropyConfig, KLConfig, ObjectiveConfig, objective_loss
from grpo_lightning.policy import PolicyConfig, load_policy, load_tokenizer
from grpo_lightning.sharding import saved_weights

SHOWN = 8
"""Sequences and parameters that are named of each micro-batch."""


def replay(
    saved: Mapping[str, Any], policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None
) -> Iterator[str]:
    """One line for each micro-batch with its loss, then and now, and lines for what is not finite in it."""
    settings = saved["objective"]
    nested = {"kl": KLConfig(**settings["kl"]), "entropy": EntropyConfig(**settings["entropy"])}
    objective, coefficients = ObjectiveConfig(**{**settings, **nested}), Coefficients(**saved["coefficients"])
    for number, (values, before) in enumerate(zip(saved["micro_batches"], saved["losses"], strict=True)):
        batch = micro_batch_from(values)
        policy.zero_grad()
        told = completion_logprobs(
            policy, batch, temperature=saved["temperature"], entropy_gradient=coefficients.bonus > 0
        )
        loss = objective_loss(
            objective,
            told,
            batch,
            coefficients=coefficients,
            totals=Totals(**saved["totals"]),
            max_tokens=saved["max_tokens"],
        )
        loss.backward()
        yield f"micro-batch {number}: loss was {before}, is {float(loss.detach())}"
        yield from _sequences(batch, told.logprobs.detach(), tokenizer)
        gradients = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
        bad = [name for name, gradient in gradients.items() if not bool(torch.isfinite(gradient).all())]
        if bad:
            more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
            yield f"  gradients that are not finite: {', '.join(bad[:SHOWN])}{more}"
    if saved["left_out"]:
        yield f"{saved['left_out']} micro-batches did not fit into the file"


def _sequences(batch: MicroBatch, logprobs: Tensor, tokenizer: PreTrainedTokenizerBase | None) -> Iterator[str]:
    """The first sequences in which a quantity is not finite: which quantity, at which tokens, and the text."""
    ratio = torch.exp(losses.log_ratios(logprobs, batch.base_logprobs, batch.lengths, level="token"))
    quantities = {"log-prob": logprobs, "ratio": ratio, "advantage": batch.advantages}
    quantities |= {"sampler log-prob": batch.sampler_logprobs}
    optional = {"reference log-prob": batch.reference_logprobs, "weight": batch.weights}
    quantities |= {name: value for name, value in optional.items() if value is not None}
    tokens = batch.targets
    shown = 0
    for place, (start, length) in enumerate(_spans(batch)):
        part = slice(start, start + length)
        bad = {name: (~torch.isfinite(value[part])).nonzero().flatten() for name, value in quantities.items()}
        found = [f"{name} at {where[:SHOWN].tolist()}" for name, where in bad.items() if len(where)]
        if found and shown < SHOWN:
            shown += 1
            text = "" if tokenizer is None else f": {tokenizer.decode(tokens[part])!r:.200}"
            yield f"  sequence {batch.order[place]}, not finite: {'; '.join(found)}{text}"


def _spans(batch: MicroBatch) -> Iterator[tuple[int, int]]:
    start = 0
    for length in batch.lengths.tolist():
        yield start, length
        start += length


def opened(file: Path, checkpoint: Path | None) -> tuple[Mapping[str, Any], PreTrainedModel, PreTrainedTokenizerBase]:
    """What a run has kept, its policy with the checkpoint's weights, and its tokenizer."""
    saved = torch.load(file, map_location="cpu", weights_only=True)
    adapter = saved["policy"]["adapter"]
    settings = PolicyConfig(**saved["policy"] | {"adapter": adapter and AdapterConfig(**adapter)})
    policy = load_policy(settings, seed=saved["seed"])
    if checkpoint is not None:
        state = saved_weights(checkpoint)
        if adapter is not None:
            check_adapter(policy, state)
        policy.load_state_dict(state, strict=adapter is None)
    return saved, policy, load_tokenizer(settings.pretrained, revision=settings.revision)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m grpo_lightning.replay", description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="what a run has left in its folder bad_steps")
    parser.add_argument("checkpoint", type=Path, nargs="?", help="of that run; left out: the weights it began with")
    given = parser.parse_args(words)
    for path in filter(None, (given.file, given.checkpoint)):
        if not path.exists():
            sys.exit(f"replay: there is no {path}")
    try:
        saved, policy, tokenizer = opened(given.file, given.checkpoint)
    except (ValueError, UnpicklingError) as error:
        sys.exit(f"replay: {' '.join(str(error).split())[:300]}")
    print(f"optimizer step {saved['step']}, rank {saved['rank']} of {saved['ranks']}, gradient norm was "
          f"{saved['gradient_norm']}")  # fmt: skip
    for line in replay(saved, policy, tokenizer):
        print(line)


if __name__ == "__main__":
    main()
