"""Prints how many graphs torch's compiler makes of a layer that sees sequences of many lengths, and by how much the
log-probs and gradients differ from those of the layer as it is.
"""

import torch
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import PreTrainedModel

from grpo_lightning import logprobs
from grpo_lightning.batching import MicroBatch, micro_batches
from grpo_lightning.fused import fuse_layers
from grpo_lightning.sharding import layers_of
from tests.tiny import sample, tiny_policy
from tests.varlen import take_the_cpu


def batches(count: int) -> list[MicroBatch]:
    """Of two prompts with three or four completions each, longer from one to the next."""
    draw = torch.Generator().manual_seed(0)
    found: list[MicroBatch] = []
    for number in range(count):
        samples = [
            sample(
                [t % 20 for t in range(2 + 3 * group + number)],
                [2 + t % 20 for t in range(int(torch.randint(1, 9 + number, (), generator=draw)))],
                group=group,
                number=j,
            )
            for group in range(2)
            for j in range(3 + number % 2)
        ]
        found += micro_batches(samples, max_tokens=10_000, layout="shared")
    return found


def told(policy: PreTrainedModel, batch: MicroBatch) -> list[torch.Tensor]:
    policy.zero_grad()
    found = logprobs.completion_logprobs(policy, batch, temperature=1.0).logprobs
    found.sum().backward()
    return [found.detach(), *(p.grad.clone() for p in policy.parameters() if p.grad is not None)]


def main() -> None:
    take_the_cpu()
    logprobs.takes_ragged = lambda policy, device: True  # type: ignore[assignment]
    policy, works = tiny_policy(), batches(12)
    fuse_layers(policy)
    plain = [told(policy, batch) for batch in works]
    compiler = CompileCounterWithBackend("aot_eager")
    for layer in layers_of(policy):
        layer.compile(backend=compiler)
    found = [told(policy, batch) for batch in works]
    difference = max(
        float((one - other).abs().max())
        for before, after in zip(plain, found, strict=True)
        for one, other in zip(before, after, strict=True)
    )
    print(compiler.frame_count, difference)


if __name__ == "__main__":
    main()
