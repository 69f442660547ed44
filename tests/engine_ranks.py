"""A program, not a test: two ranks with one policy, whole or sharded, that a server gets new weights from.

torchrun --nproc_per_node=2 -m tests.engine_ranks URL FOLDER {whole,sharded}
"""

import os
import sys

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from grpo_lightning.generation import SamplingConfig, VLLMServer
from grpo_lightning.generation.vllm_server import VLLMServerGenerator
from grpo_lightning.ranks import Ranks
from tests.tiny import prompt, tiny_policy, tiny_tokenizer


def main(url: str, folder: str, layout: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    ranks = Ranks(size=2, rank=rank, device=torch.device("cpu"))
    policy, expected, sampling = tiny_policy(), tiny_policy(), SamplingConfig(max_tokens=6)
    if layout == "sharded":
        for layer in policy.model.layers:
            fully_shard(layer, mesh=init_device_mesh("cpu", (2,)))
        fully_shard(policy, mesh=init_device_mesh("cpu", (2,)))
    engine = VLLMServer(urls=(url,), folder=folder, timeout=30.0, retries=1, backoff=0.01)
    generator = engine.start(policy, tiny_tokenizer(), sampling=sampling, ranks=ranks)
    ids = torch.tensor([prompt("12+34=").token_ids])
    generator.use_weights(0)
    for model in (policy, expected):
        model(ids).logits.square().mean().backward()
        torch.optim.AdamW(model.parameters(), lr=0.01).step()
    for _ in range(2):
        generator.use_weights(1)
    rollout = generator.generate([prompt("7=", uid=rank)], group_size=2, sampling=sampling, seed=3)
    for completion in rollout.groups[0].completions:
        whole = torch.tensor([[*prompt("7=").token_ids, *completion.token_ids]])
        with torch.no_grad():
            table = torch.log_softmax(expected(whole).logits[0], -1)
        own = [float(table[1 + t, token]) for t, token in enumerate(completion.token_ids)]
        assert torch.allclose(torch.tensor(own), torch.tensor(completion.sampler_logprobs), atol=1e-4)
    assert f"{url}/nowhere/pause" in failure(generator, url)
    print("refused", flush=True)
    distributed.barrier()
    os._exit(0)  # as the interpreter ends gloo may abort, and torchrun then ends the other rank


def failure(generator: VLLMServerGenerator, url: str) -> str:
    """What rank 0 meets in sending, every rank raises."""
    generator.sync.urls = (f"{url}/nowhere",)
    try:
        generator.use_weights(2)
    except RuntimeError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
