"""Measures one GPU's two phases by themselves, beside what it can do: steps of a rollout, and an update's pass.

    python -m scripts.bench_gpu --size 0.6b --json FILE

Weights are random, and multiplied in bfloat16. A step takes in a token of each of 128 rows, 8 for each prompt of 256
tokens; its bytes are those of all weights, keys and values, each once. A pass is one micro-batch of at most 16,384
tokens, forward and back: 2 prompts of 256 tokens, each with 8 completions of 495 to 1,485; its FLOPs are those of
products and attention, and what is computed twice counts once. `bench.py` measures whole steps of training.
"""

import argparse
import json
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from grpo_lightning.attention import take_plans
from grpo_lightning.batching import Sample, micro_batches
from grpo_lightning.fused import fuse_layers
from grpo_lightning.generation.engine import open_cache
from grpo_lightning.generation.recorder import Recorder
from grpo_lightning.logprobs import completion_logprobs
from grpo_lightning.sharding import layers_of
from scripts.bench import SIZES, Result, Size, Work, commit, machine, qwen3, weights_of
from scripts.bench_clock import settle
from scripts.bench_limit import best_seconds, limits

PROMPTS, GROUP, PROMPT = 16, 8, 256
AFTER = (0, 256, 512, 768, 1024)
"""Own tokens of each row, from which steps are measured."""

STEPS = 50
COMPLETION = 990
"""Tokens of the mean completion of an update."""


def build(size: Size, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """A Qwen3 of this size with random weights."""
    config = qwen3(SIZES[size], max_position_embeddings=2**15)
    torch.manual_seed(0)
    with torch.device(device):
        policy: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    take_plans(policy)
    fuse_layers(policy)
    return policy


def words(count: int, size: Size, draw: torch.Generator) -> tuple[int, ...]:
    return tuple(torch.randint(3, SIZES[size]["vocabulary"], (count,), generator=draw).tolist())


def steps(policy: PreTrainedModel, size: Size, after: Sequence[int], limit: Result) -> list[Result]:
    """Seconds of a step, and the bytes that it must read, over seconds, beside a copy's."""
    shape, draw = SIZES[size], torch.Generator().manual_seed(0)
    weights = 2 * sum(weights_of(shape))
    token = 2 * 2 * shape["layers"] * shape["kv_heads"] * shape["head_dim"]
    found: list[Result] = []
    with open_cache(policy.eval(), after[-1] + 2 * STEPS + 2, torch.bfloat16) as cache:
        recorder = Recorder()

        def step(tokens: Tensor) -> tuple[Tensor, ...]:
            return (cache.step(tokens).argmax(dim=-1),)

        def more(tokens: Tensor, count: int) -> Tensor:
            for _ in range(count):
                cache.begin()
                (tokens,) = recorder(step, tokens, cache.arranged) if cache.records else step(tokens)
            settle()
            return tokens

        prompts = [words(PROMPT, size, draw) for _ in range(PROMPTS)]
        tokens = cache.admit(prompts, GROUP).argmax(dim=-1).repeat_interleave(GROUP, 0)
        held = 0
        for own in after:
            tokens = more(tokens, max(2, own - held))  # of which two may make the recording
            started = time.perf_counter()
            tokens = more(tokens, STEPS)
            seconds = (time.perf_counter() - started) / STEPS
            held = max(own, held + 2) + STEPS
            read = weights + token * PROMPTS * (PROMPT + GROUP * (held - STEPS // 2))
            result = {"own_tokens": held - STEPS // 2, "seconds": seconds, "bytes": read, "rate": read / seconds}
            found.append(result | {"reached": result["rate"] / limit["bytes_per_second"]})
    return found


def update(policy: PreTrainedModel, size: Size, limit: Result, *, mean: int, times: int) -> Result:
    """Seconds of a pass, forward and back, and its FLOPs over seconds, beside a large product's."""
    shape, draw = SIZES[size], torch.Generator().manual_seed(1)
    samples = []
    for group in range(2):
        prompt = words(PROMPT, size, draw)
        for number in range(GROUP):
            length = int(torch.randint(mean // 2, mean * 3 // 2, (), generator=draw))
            zeros = torch.zeros(length)
            samples.append(
                Sample(
                    prompt_ids=prompt,
                    completion_ids=words(length, size, draw),
                    group=group,
                    sample=number,
                    counted=torch.arange(length),
                    sampler_logprobs=zeros,
                    advantages=zeros,
                )
            )
    batch = next(micro_batches(samples, max_tokens=2**14, layout="shared")).to(policy.device)
    spans = batch.spans or ()
    seen = sum(span.prompt_length * span.length + span.length**2 / 2 for span in spans)
    attention = 4 * shape["heads"] * shape["head_dim"] * shape["layers"] * seen
    matrices, head = weights_of(shape)
    flops = 3 * (2 * (matrices * batch.input_ids.numel() + head * len(batch.targets)) + attention)
    policy.train()

    def once() -> None:
        policy.zero_grad()
        with torch.autocast(policy.device.type, torch.bfloat16):
            logprobs = completion_logprobs(policy, batch, temperature=1.0).logprobs
        logprobs.mean().backward()
        settle()

    once()
    seconds = median(best_seconds(once, "cpu", times=1) for _ in range(times))
    result = {"tokens": float(batch.input_ids.numel()), "seconds": seconds, "flops": flops, "rate": flops / seconds}
    return result | {"reached": result["rate"] / limit["flops"]}


def passes(size: Size, dtype: torch.dtype, device: str, limit: Result, given: argparse.Namespace) -> dict[str, Result]:
    """An update of a policy with weights in this type, as it is and compiled."""
    name = str(dtype).removeprefix("torch.")
    policy = build(size, dtype, device)
    found = {name: update(policy, size, limit, mean=given.mean, times=given.times)}
    if given.compile:
        for layer in layers_of(policy):
            layer.compile()
        found[f"{name}, compiled"] = update(policy, size, limit, mean=given.mean, times=given.times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="0.6b")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--after", type=int, nargs="+", default=AFTER, help="own tokens of each row, rising")
    parser.add_argument("--mean", type=int, default=COMPLETION, help="tokens of an update's completions")
    parser.add_argument("--times", type=int, default=5, help="passes of an update, of which the median counts")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="measure that, too")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    given = parser.parse_args()
    size, device = cast(Size, given.size), given.device
    limit = limits(device, torch.bfloat16 if device == "cuda" else torch.float32)
    document: dict[str, object] = {
        "size": size,
        "machine": machine(Work(size=size, device=device)),
        "commit": commit(),
        "date": date.today().isoformat(),
        "limit": limit,
        "steps": steps(build(size, torch.float32, device), size, given.after, limit),
        "updates": passes(size, torch.float32, device, limit, given)
        | passes(size, torch.bfloat16, device, limit, given),
    }
    text = json.dumps(document, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
