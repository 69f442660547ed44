"""The plan: each formula by hand or against what PyTorch keeps, the command, and whole runs measured on the CPU.

The toy shape of the arithmetic: V 10, D 4, I 6, L 2, 2 heads of 2 over 1 key head, so Q = 4 and K = 2.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from grpo_lightning.adapters import AdapterConfig, add_adapter
from grpo_lightning.attention import take_plans
from grpo_lightning.batching import Layout, MicroBatch, Sample, micro_batches
from grpo_lightning.fused import fuse_layers
from grpo_lightning.generation import SamplingConfig
from grpo_lightning.generation.engine import next_logits
from grpo_lightning.generation.shared_cache import SharedCache
from grpo_lightning.logprobs import completion_logprobs
from grpo_lightning.optimization import UpdateConfig
from grpo_lightning.packing import shared_prompts
from grpo_lightning.plan.advice import advice, fits, peak
from grpo_lightning.plan.job import Job, Load
from grpo_lightning.plan.memory import (
    attention_bytes,
    backward_bytes,
    cache_bytes,
    decode_bytes,
    embedding_gradient,
    gathered,
    gradient_bytes,
    head_bytes,
    held,
    input_bytes,
    kept_casts,
    last_gradients,
    layer_activations,
    micro_batch_peak,
    on_host,
    packed,
    phases,
    rollout,
    sampling_bytes,
    scattered,
    stored_activations,
    two_layers,
    update,
)
from grpo_lightning.plan.shape import (
    Shape,
    adapter_parameters,
    layer_matrices,
    layer_parameters,
    parameters,
    shape_of,
)
from grpo_lightning.plan.timing import (
    Efficiency,
    Hardware,
    decode_seconds,
    exchange_seconds,
    forward_flops,
    optimizer_seconds,
    pass_seconds,
    seconds,
    update_passes,
)
from grpo_lightning.plan.timing import micro_batches as planned_micro_batches
from grpo_lightning.sharding import Shards, layers_of

ROOT = Path(__file__).parent.parent
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "plan.py"), run_name="plan")
SHAPES: dict[str, Shape] = SCRIPT["SHAPES"]
main: Callable[[list[str]], None] = SCRIPT["main"]

TOY = Shape(vocabulary=10, hidden=4, intermediate=6, layers=2, heads=2, kv_heads=1, head_dim=2, tied=True)
"""A layer: 2 x 4 x 4 of queries and output, 2 x 4 x 2 of keys and values, 3 x 4 x 6 of the MLP = 120; 2 norms of 4 make
128. In all 2 x 128 + 10 x 4 + 4 = 300."""

UNIT = Hardware(memory=100, flops=1, flops32=1, bandwidth=1, link=1, network=0.5, host=0.25)
PERFECT = Efficiency(flops=1, bandwidth=1, link=1, layer_seconds=0)


PADDED = UpdateConfig(layout="padded", micro_batch_tokens=17)


def job(**changes: object) -> Job:
    """4 prompts of 3 tokens, 2 completions of 5 each: 8 sequences of 8 tokens in padded rows, 2 in a micro-batch."""
    settings: dict[str, object] = {
        "shape": TOY,
        "sampling": SamplingConfig(max_tokens=5),
        "update": PADDED,
        "group_size": 2,
        "prompts": 4,
        "prompt_tokens": 3,
    }
    return Job(**(settings | changes))


# --------------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("0.5b", 494_032_768),
        ("1.5b", 1_543_714_304),
        ("3b", 3_085_938_688),
        ("7b", 7_615_616_512),
        ("14b", 14_770_033_664),
        ("32b", 32_763_876_352),
        ("70b", 70_553_706_496),
    ],
)
def test_built_in_shapes_have_the_published_parameters(name: str, total: int) -> None:
    """The sizes that the models' safetensors state on the hub."""
    assert parameters(SHAPES[name]) == total


SMALL = {
    "vocab_size": 70,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "llama with every bias": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "mistral": MistralConfig(**SMALL, head_dim=8, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**SMALL, tie_word_embeddings=False),
    "qwen3": Qwen3Config(**SMALL, head_dim=10, tie_word_embeddings=True),
    "qwen3 with biases": Qwen3Config(**SMALL, head_dim=10, attention_bias=True, tie_word_embeddings=False),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_parameters_are_those_of_the_model(config: PretrainedConfig) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert parameters(shape_of(config)) == sum(p.numel() for p in model.parameters())


def test_a_built_in_shape_is_the_model_of_its_family() -> None:
    shape = SHAPES["70b"]
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    )
    assert shape_of(config) == shape


def test_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match=r"policy\.pretrained: no plan for a 'gpt2'; planned are llama, "):
        shape_of(GPT2Config())


def test_the_toy_shape_by_hand() -> None:
    """LoRA of rank 3: 2 layers x 3 x (8 + 6 + 6 + 8 + 10 + 10 + 10) = 348; of queries and values alone, 2 x 3 x 14."""
    assert layer_matrices(TOY) == 120
    assert layer_parameters(TOY) == 128
    assert parameters(TOY) == 300
    assert parameters(replace(TOY, tied=False)) == 340
    assert adapter_parameters(TOY, 3) == 348
    assert adapter_parameters(TOY, 3, ("q_proj", "v_proj")) == 84


# ----------------------------------------------------------------------------------------------------------------- held


@pytest.mark.parametrize(
    ("changes", "weights", "optimizer", "reference", "gradients"),
    [
        ({}, 1200, 2400, 0, 1200),
        ({"reference": True}, 1200, 2400, 1200, 1200),
        ({"dtype": "bfloat16"}, 600, 1200, 0, 600),
        ({"mixed": True}, 1200, 2400, 0, 1200),
        ({"gpus": 4, "shards": 2, "reference": True}, 600, 1200, 600, 600),
        # 348 adapters in float32 on any weights; the policy without them is the reference
        ({"dtype": "bfloat16", "lora_rank": 3, "reference": True}, 600 + 1392, 2784, 0, 1392),
        ({"lora_rank": 3, "lora_modules": ("q_proj", "v_proj")}, 1200 + 336, 672, 0, 336),
        # of 240 elements in matrices half a byte, a byte for 64 and 4 for 64 x 256
        (
            {"dtype": "bfloat16", "lora_rank": 3, "quantized": True},
            240 * 33 / 64 + 0.05859375 + 120 + 1392,
            2784,
            0,
            1392,
        ),
    ],
)
def test_what_is_held(
    changes: dict[str, object], weights: float, optimizer: float, reference: float, gradients: float
) -> None:
    """300 parameters. Gradients are there in the update only."""
    expected = {"weights": weights, "optimizer": optimizer, "reference": reference, "buckets": 0, "engine": 0}
    assert held(job(**changes)) == expected
    assert gradient_bytes(job(**changes)) == gradients


def test_copies_keep_ddps_buckets() -> None:
    """As large as the gradients, in every phase; sharded there are none."""
    assert [parts["buckets"] for parts in phases(job(gpus=4)).values()] == [1200, 1200]
    assert held(job(gpus=4, shards=4))["buckets"] == 0


def test_what_is_offloaded_is_on_the_host() -> None:
    """Weights, gradients and two moments, each 600 of a share, and a reference; a layer at a time is on the device."""
    resting = job(gpus=2, shards=2, offload=True, reference=True)
    assert on_host(resting) == 5 * 600
    assert sum(held(resting).values()) == 0
    assert update(resting)["gradients"] == 0
    assert update(resting)["gathered"] == two_layers(resting)
    assert on_host(job(gpus=2, shards=2)) == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_are_those_that_peft_makes(dtype: str) -> None:
    """Their number, also for some of the matrices, and their type."""
    for modules in ((), ("q_proj", "down_proj")):
        model = AutoModelForCausalLM.from_config(CONFIGS["llama"], dtype=getattr(torch, dtype))
        add_adapter(model, AdapterConfig(rank=3, modules=modules))
        made = [parameter for parameter in model.parameters() if parameter.requires_grad]
        planned = job(shape=shape_of(CONFIGS["llama"]), dtype=dtype, lora_rank=3, lora_modules=modules)
        assert sum(parameter.numel() for parameter in made) == planned.trainable
        assert sum(parameter.nbytes for parameter in made) == gradient_bytes(planned)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 4, "shards": 3}, "shards: 3 is refused; it must be a divisor of 4"),
        ({"gpus": 5}, "prompts_per_step: 4 is refused; it must be one for each of 5 devices"),
        ({"gpus": 0}, "gpus: 0 is refused"),
        ({"device": "tpu"}, "device: 'tpu' is refused; it must be cuda or cpu"),
        ({"lora_rank": -1}, "lora_rank: -1 is refused"),
        ({"lora_rank": 1, "lora_modules": ("lm_head",)}, r"adapter.modules: .* must be of q_proj, k_proj"),
        ({"quantized": True}, "policy.quantization: 'nf4' is refused; it must be none, or with policy.adapter"),
        ({"offload": True}, "strategy.cpu_offload: True is refused; it must be of FullySharded"),
        ({"layerwise": True}, "strategy.rollout layerwise: True is refused"),
        ({"engine": "sglang"}, "engine: 'sglang' is refused"),
        ({"engine": "nccl", "lora_rank": 1}, "engine: 'nccl' is refused; it must be the built-in one for adapters"),
        ({"dtype": "float64"}, "policy.dtype: 'float64' is refused; it must be float32 or bfloat16 or float16"),
        ({"attention": "eager"}, "policy.attention: 'eager' is refused"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        job(**changes)


def test_weights_in_bfloat16_need_no_cast() -> None:
    assert phases(job(dtype="bfloat16", mixed=True)) == phases(job(dtype="bfloat16"))


# -------------------------------------------------------------------------------------------------------------- rollout


def test_the_cache_by_hand() -> None:
    """2 layers x (4 prompts x 3 + 8 rows x 5 tokens) x K = 2 x 2 x 4 bytes; in mixed precision or bfloat16 2 of them.

    On a CPU 4, unless attention knows no shared prompts, which keeps 8 x 8 tokens.
    """
    assert cache_bytes(job()) == 1664
    assert cache_bytes(job(attention="flash_attention_2")) == 2048
    assert cache_bytes(job(mixed=True)) == 832
    assert cache_bytes(job(dtype="bfloat16")) == 832
    assert cache_bytes(job(mixed=True, fsdp=True)) == 832
    assert cache_bytes(job(mixed=True, device="cpu")) == 1664
    assert cache_bytes(job(mixed=True, device="cpu", attention="flash_attention_2")) == 1024


def test_a_round_is_as_many_prompts_as_rows_allow() -> None:
    """max_rows 5 takes 2 groups of 2; over 2 devices a share is 2 prompts."""
    assert job(sampling=SamplingConfig(max_tokens=5, max_rows=5)).rows == 4
    assert job(sampling=SamplingConfig(max_tokens=5, max_rows=1)).rows == 2
    assert job(gpus=2).rows == 4


@pytest.mark.parametrize("mixed", [False, True])
def test_the_cache_is_what_the_engine_allocates(mixed: bool) -> None:
    """On a CPU, in float32, whatever matrices compute in."""
    config = CONFIGS["qwen3"]
    model = AutoModelForCausalLM.from_config(config).eval()
    take_plans(model)
    cache = SharedCache(partial(next_logits, model), 5, model.device)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed, cache_enabled=False):
        cache.admit([[0, 1, 2]] * 4, group_size=2)
        cache.begin()
        cache.step(torch.zeros(8, dtype=torch.long))
    states = (pair for part in (cache.prompts, cache.completions) for pair in part.values())
    allocated = sum(keys.nbytes + values.nbytes for keys, values in states)
    assert allocated == cache_bytes(job(shape=shape_of(config), mixed=mixed, device="cpu"))


def test_drawing_a_token_by_hand() -> None:
    """8 rows x 10 tokens x 4 bytes: logits, probabilities and their sums; a temperature makes one more. Instead of the
    sums, top_p has 6, and top_k 1 and a mask of a byte. Sums of 512 tokens are those of 2 blocks.
    """
    assert sampling_bytes(job()) == 960
    assert sampling_bytes(job(sampling=SamplingConfig(max_tokens=5, temperature=0.5))) == 1280
    assert sampling_bytes(job(sampling=SamplingConfig(max_tokens=5, top_p=0.9))) == 2560
    assert sampling_bytes(job(sampling=SamplingConfig(max_tokens=5, top_k=2))) == 640 + 320 + 80
    assert sampling_bytes(job(shape=replace(TOY, vocabulary=512))) == 2 * 4 * 8 * 512


def test_decoding_takes_memory_by_hand() -> None:
    """Scores of 8 rows, 2 heads and 8 tokens, and their softmax; 8 x 400 logits, which are of 2 bytes at first; or,
    of completions as long as 64, the keys and values of one layer, with their copy. Casts of 240 + 40 weights are kept.
    """
    assert decode_bytes(job()) == 2 * 8 * 2 * 8 * 4
    assert decode_bytes(job(dtype="bfloat16")) == 2 * 8 * 2 * 8 * 2
    assert decode_bytes(job(dtype="bfloat16", device="cpu")) == decode_bytes(job())
    assert decode_bytes(job(dtype="bfloat16", shape=replace(TOY, vocabulary=400))) == 8 * 400 * 6
    assert decode_bytes(job(shape=replace(TOY, kv_heads=2, head_dim=9, heads=2))) == 2 * 8 * 5 * 18 * 4
    assert kept_casts(job()) == kept_casts(job(mixed=True, fsdp=True)) == 0
    assert kept_casts(job(mixed=True)) == 2 * (240 + 40)
    adapted = job(mixed=True, lora_rank=3)
    assert kept_casts(adapted) == 2 * (240 + 40 + adapted.adapters)
    assert kept_casts(replace(adapted, quantized=True)) == 2 * adapted.adapters


def test_a_cpu_decodes_with_matrices_in_another_layout() -> None:
    """120 elements of each of two layers, and a head of 10 x 4, but what autocast has cast anyway."""
    assert packed(job(device="cpu")) == 4 * (2 * 120 + 40)
    assert packed(job(device="cpu", dtype="bfloat16")) == 2 * (2 * 120 + 40)
    assert packed(job(device="cpu", mixed=True)) == packed(job(device="cpu", mixed=True, lora_rank=3)) == 0
    assert packed(job()) == 0


def test_an_engine_that_rounds_is_planned_as_mixed_precision_while_it_draws() -> None:
    rounded, mixed = rollout(job(engine_rounds=True)), rollout(job(mixed=True))
    assert rounded == mixed
    assert rounded["cache"] == rollout(job())["cache"] / 2
    assert update(job(engine_rounds=True)) == update(job())
    hardware = replace(UNIT, flops=2)
    times = [seconds(each, hardware)["decode"] for each in (job(engine_rounds=True), job(mixed=True), job())]
    assert times[0] == times[1] < times[2]
    with pytest.raises(ValueError, match=r"engine\.dtype: 'bfloat16' is refused; it must be null to plan FullySharded"):
        job(engine_rounds=True, gpus=2, shards=2)


def test_a_rollout_by_hand() -> None:
    """Rows: 8 x 5 x 4 = 160. A prefill of 12 tokens, 12 x 30 x 4 = 1440, is more than a step's 1024.

    Sharded, a whole copy of 1200 bytes is gathered, 600 in mixed precision; or, layerwise, 44 weights and two layers of
    128, which are all of this shape.
    """
    assert rollout(job()) == held(job()) | {"gathered": 0, "cache": 1664, "working": 160 + 1440}
    assert rollout(job(gpus=2, shards=2))["gathered"] == 1200
    assert rollout(job(gpus=2, shards=2, mixed=True))["gathered"] == 600
    deeper = job(gpus=2, shards=2, layerwise=True, shape=replace(TOY, layers=9))
    assert gathered(deeper) == 4 * (44 + 2 * 128)


def test_servers_need_what_is_sent_to_them() -> None:
    """Of whole weights nothing; of sharded ones the embedding's 40 at a time by NCCL, all 300 for a folder."""
    assert sum(rollout(job(engine="nccl")).values()) == sum(held(job()).values())
    shared = {"gpus": 2, "shards": 2}
    assert rollout(job(engine="nccl", **shared)) == held(job(**shared)) | {"gathered": 160}
    assert rollout(job(engine="folder", **shared)) == held(job(**shared)) | {"gathered": 1200}


def test_a_colocated_engine_has_its_share() -> None:
    """1000 bytes; before, it wakes with 600 of weights, and 1200 that are gathered for it. Awake it never lets go."""
    engine = {"engine": "colocated", "engine_memory": 1000.0}
    assert rollout(job(**engine)) == held(job()) | {"engine": 1000}
    assert update(job(**engine)) == update(job())
    sharded = job(gpus=2, shards=2, **engine)
    assert rollout(sharded) == held(sharded) | {"gathered": 1200, "engine": 600}
    awake = job(engine_sleeps=False, **engine)
    assert rollout(awake)["engine"] == update(awake)["engine"] == 1000


# --------------------------------------------------------------------------------------------------------------- update


def micro_batch(layout: Layout, groups: Mapping[int, int]) -> MicroBatch:
    """Of groups of prompts of different lengths, with so many completions of 5 tokens each."""
    samples = [
        Sample(
            prompt_ids=tuple(range(length)),
            completion_ids=(1,) * 5,
            group=length,
            sample=i,
            counted=torch.arange(5),
            sampler_logprobs=torch.zeros(5),
            advantages=torch.ones(5),
        )
        for length, size in groups.items()
        for i in range(size)
    ]
    (batch,) = micro_batches(samples, max_tokens=1000, layout=layout)
    return batch


def on_cpu(layout: Layout) -> dict[str, object]:
    return {"update": UpdateConfig(layout=layout), "device": "cpu"}


def load_of(batch: MicroBatch) -> Load:
    """What a real micro-batch brings, read off its tensors and rectangles."""
    tokens, completion = batch.input_ids.numel(), len(batch.targets)
    if batch.spans is None:
        packed = batch.position_ids is not None
        keys, masked, mask = (0, tokens, tokens**2) if packed else (tokens, 0, 0)
        return Load(tokens=tokens, completion=completion, queries=tokens, keys=keys, masked=masked, mask=mask)
    assert batch.position_ids is not None
    rectangles = shared_prompts(batch.spans, batch.position_ids[0]).rectangles
    seen = [each.seen for each in rectangles]
    return Load(
        tokens=tokens,
        completion=completion,
        queries=sum(each.queries.numel() for each in rectangles),
        keys=sum(each.keys.numel() for each in rectangles if each.seen is None),
        masked=sum(each.keys.numel() for each in rectangles if each.seen is not None),
        mask=sum(mask.numel() for mask in seen if mask is not None),
    )


def kept_bytes(
    config: PretrainedConfig,
    layers: int,
    dtype: torch.dtype,
    mixed: bool,
    batch: MicroBatch,
    change: Callable[[PreTrainedModel], None],
) -> int:
    """What autograd keeps of a forward pass over a micro-batch, parameters aside; of a changed model."""
    config.num_hidden_layers = layers
    config.layer_types = ["full_attention"] * layers
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).train()
    take_plans(model)
    fuse_layers(model)
    change(model)
    own = {p.untyped_storage().data_ptr() for p in model.parameters() if not isinstance(p, DTensor)}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=mixed, cache_enabled=False),
    ):
        found = completion_logprobs(model, batch, temperature=1.0)
    assert found.logprobs.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def as_it_is(model: PreTrainedModel) -> None:
    """Changes nothing."""


def check_kept(
    config: PretrainedConfig, planned: Job, batch: MicroBatch, change: Callable[[PreTrainedModel], None] = as_it_is
) -> None:
    """Of a layer exactly, as the difference of three and two: under an adapter the first keeps less, because nothing
    before it trains.
    """
    kinds = getattr(torch, planned.dtype), planned.mixed, batch, change
    measured = kept_bytes(config, 3, *kinds) - kept_bytes(config, 2, *kinds)
    three, two = (replace(planned, shape=replace(shape_of(config), layers=layers)) for layers in (3, 2))
    load = load_of(batch)
    assert measured == stored_activations(three, load) - stored_activations(two, load)


LAYOUTS: dict[str, tuple[Layout, dict[int, int]]] = {
    "padded": ("padded", {3: 3}),
    "packed": ("packed", {3: 3}),
    "shared": ("shared", {3: 3}),
    "shared, prompts padded in one rectangle": ("shared", {3: 3, 6: 2}),
    "shared, prompts too unlike for one": ("shared", {3: 3, 30: 2}),
}
"""Layout, and how many completions each length of prompts has. 3 + 8 >= 6, but 3 x 1.25 + 8 < 30."""


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("dtype", "mixed"), [("float32", False), ("float32", True), ("bfloat16", False)])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(("layout", "groups"), LAYOUTS.values(), ids=list(LAYOUTS))
def test_activations_are_what_autograd_keeps(
    layout: Layout, groups: dict[int, int], family: str, dtype: str, mixed: bool, checkpointing: bool
) -> None:
    config = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}[family](**SMALL)

    def checkpointed(model: PreTrainedModel) -> None:
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})

    planned = job(**on_cpu(layout), dtype=dtype, mixed=mixed, checkpointing=checkpointing)
    check_kept(config, planned, micro_batch(layout, groups), checkpointed)


@pytest.fixture
def lonely() -> Iterator[DeviceMesh]:
    """A process group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def share(model: PreTrainedModel, mesh: DeviceMesh, mixed: bool) -> None:
    """As FSDP2 shards it, which frees the weights it has gathered, and in mixed precision casts what a layer gets."""
    how = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if mixed else MixedPrecisionPolicy()
    for part in [*layers_of(model), model]:
        fully_shard(part, mesh=mesh, mp_policy=how)
    model.__dict__["shards"] = Shards(model, layerwise=False)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_sharded_activations_are_what_autograd_keeps(
    lonely: DeviceMesh, layout: Layout, mixed: bool, checkpointing: bool
) -> None:
    def change(model: PreTrainedModel) -> None:
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        share(model, lonely, mixed)

    planned = job(**on_cpu(layout), mixed=mixed, checkpointing=checkpointing, fsdp=True)
    check_kept(Qwen3Config(**SMALL), planned, micro_batch(layout, {3: 3, 6: 2}), change)


@pytest.mark.parametrize("modules", [(), ("q_proj", "v_proj"), ("o_proj", "up_proj", "down_proj")])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_adapted_layers_keep_what_is_planned(
    layout: Layout, family: str, dtype: str, mixed: bool, modules: tuple[str, ...]
) -> None:
    """A float32 adapter on a layer in 16 bits has a copy of its input, and what is frozen keeps no input."""
    config = {"llama": LlamaConfig, "qwen3": Qwen3Config}[family](**SMALL)

    def adapt(model: PreTrainedModel) -> None:
        add_adapter(model, AdapterConfig(rank=3, modules=modules))

    planned = job(**on_cpu(layout), dtype=dtype, mixed=mixed, lora_rank=3, lora_modules=modules)
    check_kept(config, planned, micro_batch(layout, {3: 3, 6: 2}), adapt)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_sharded_adapters_keep_what_is_planned(lonely: DeviceMesh, layout: Layout, mixed: bool) -> None:
    """In mixed precision FSDP2 casts adapters, too, which then share the inputs that they have in common."""

    def change(model: PreTrainedModel) -> None:
        add_adapter(model, AdapterConfig(rank=3))
        share(model, lonely, mixed)

    planned = job(**on_cpu(layout), mixed=mixed, lora_rank=3, fsdp=True)
    check_kept(LlamaConfig(**SMALL), planned, micro_batch(layout, {3: 3, 6: 2}), change)


def test_what_adapters_keep_by_hand() -> None:
    """Rank 3 on queries, output and down, in and out of widths 4, 4 and 6. In float32 one input of 4 and that of 6
    beside 3 x 3, attention's result being kept anyway; on bfloat16 all three, in float32 or, mixed, 2 bytes.
    """
    adapted = {"lora_rank": 3, "lora_modules": ("q_proj", "o_proj", "down_proj")}
    assert input_bytes(job(**adapted)) == 4 * (4 + 6 + 9)
    assert input_bytes(job(**adapted, dtype="bfloat16")) == 4 * (4 + 4 + 6 + 9)
    assert input_bytes(job(**adapted, dtype="bfloat16", mixed=True)) == 2 * (4 + 4 + 6 + 9)


@pytest.mark.parametrize(("layout", "groups"), LAYOUTS.values(), ids=list(LAYOUTS))
def test_no_micro_batch_brings_more_than_is_planned(layout: Layout, groups: dict[int, int]) -> None:
    """Which is of the longest prompt alone; where all prompts are of one group, exactly that."""
    rows, size = sum(groups.values()), max(groups.values())
    planned = job(**on_cpu(layout), group_size=size, prompt_tokens=max(groups)).load(rows)
    found = load_of(micro_batch(layout, groups))
    if len(groups) == 1:
        assert found == planned
    for field in fields(Load):
        assert getattr(found, field.name) <= getattr(planned, field.name), field.name


def test_flash_attention_keeps_no_mask() -> None:
    """So sequences that are packed for it are as padded rows are: 14 x 14 x 4 bytes of mask, and 2 x 14 x 2 x 4 of keys
    and values for a second head, less.
    """
    packed = UpdateConfig(layout="packed")
    flash = job(update=packed, attention="flash_attention_2")
    assert flash.load(2) == job().load(2)
    masked = job(update=packed)
    more = layer_activations(masked, masked.load(2)) - layer_activations(flash, flash.load(2))
    assert more == 14 * 14 * 4 + 2 * 14 * 2 * 4


def test_a_layers_activations_by_hand() -> None:
    """Per token in float32: norms 2 x 4 x 4, inputs 4 x 8, attention 2 x 6 x 4, MLP 3 x 6 x 4, statistics 4 x 4. In
    bfloat16 half of it, but norms 2 x 4 x (4 + 2) and statistics 16.
    """
    assert layer_activations(job(), job().load(2)) == 14 * 200
    assert layer_activations(job(dtype="bfloat16"), job().load(2)) == 14 * (48 + 16 + 24 + 36 + 16)


SHARED = UpdateConfig(micro_batch_tokens=17)


def test_shared_prompts_by_hand() -> None:
    """Of one group 3 + 2 x 4 tokens are read, and 2 x 7 keys seen by 4 queries each, through one mask; of 3 sequences
    3 tokens more, a mask for each.

    Per token norms 32, inputs 32, MLP 72, two statistics 8, attention's result once more 16. Attention: queries and
    results 32 and statistics 8 for each query, 2 x 2 x 4 for each key. On a GPU, keys behind the mask are twice as
    wide. All layers share a mask of 1 + 4 bytes.
    """
    shared = job(update=SHARED, device="cpu")
    group = Load(tokens=11, completion=10, queries=11, keys=3, masked=14, mask=28)
    assert shared.load(2) == group
    assert shared.load(3) == Load(tokens=18, completion=15, queries=18, keys=6, masked=21, mask=84)
    layer = 11 * 160 + 11 * 40 + 17 * 16
    assert layer_activations(shared, group) == layer
    assert layer_activations(job(update=SHARED), group) == layer + 14 * 16
    assert stored_activations(shared, group) == 2 * layer + 5 * 28


def test_groups_that_are_cut_bring_a_prompt_and_masks_more() -> None:
    """3 sequences of groups of 4 are 1 of one group and 2 of another: 2 x 3 + 3 x 4 tokens, where 2 x 3 + 3 x 5 fit.
    A step on a single group cuts it, but brings no other.
    """
    cut = job(group_size=4, update=replace(SHARED, micro_batch_tokens=21)).load(3)
    assert (cut.tokens, cut.keys, cut.mask) == (18, 6, 3 * 28)
    short = job(group_size=4, update=replace(SHARED, micro_batch_tokens=20)).load(3)
    assert (short.tokens, short.keys, short.mask) == (15, 3, 3 * 28)
    alone = job(group_size=4, prompts=1, update=replace(SHARED, micro_batch_tokens=21)).load(3)
    assert (alone.tokens, alone.keys, alone.mask) == (15, 3, 28)


def test_micro_batches_by_hand() -> None:
    """17 tokens hold 2 sequences of 8, so 8 sequences make 4; a minibatch of 2 sequences is one; 5 tokens hold one."""
    assert (job().micro_batch_rows, planned_micro_batches(job())) == (2, 4)
    padded = replace(PADDED, micro_batch_tokens=64)
    assert job(update=padded).micro_batch_rows == 8
    assert job(update=replace(padded, minibatches=4)).micro_batch_rows == 2
    assert job(update=replace(padded, micro_batch_tokens=5)).micro_batch_rows == 1


def test_micro_batches_of_shared_prompts_by_hand() -> None:
    """A group is 3 + 2 x 5 tokens, and a sequence of another 8: 20 tokens hold 2 sequences, 21 hold 3, 26 hold 4."""
    rows = [job(update=replace(SHARED, micro_batch_tokens=tokens)).micro_batch_rows for tokens in (5, 20, 21, 26)]
    assert rows == [1, 2, 3, 4]
    assert job(update=UpdateConfig(), prompts=2000).micro_batch_rows == 2 * (16384 // 13)
    assert job(update=UpdateConfig(), prompts=2000, device="cpu").micro_batch_rows == 2 * (2048 // 13)


def test_a_gpu_in_16_bit_needs_no_mask_and_no_keys_for_each_head() -> None:
    """Queries and results 2 x 2 x 4 and statistics 8 for each of 11 queries, 2 x 2 x 2 for each of 3 + 14 keys; by
    rectangles 2 x 4 x 4 and 8, 2 x 4 x 2 for the prompt's, and 2 x 4 x 4 for the others.
    """
    rectangles, kernel = job(update=SHARED), job(update=SHARED, mixed=True)
    assert not rectangles.ragged
    assert rectangles.load(2).mask == 28
    assert attention_bytes(rectangles, rectangles.load(2)) == 11 * 40 + 3 * 16 + 14 * 32
    assert kernel.ragged
    assert kernel.load(2) == replace(rectangles.load(2), mask=0)
    assert attention_bytes(kernel, kernel.load(2)) == 11 * 24 + 17 * 8


def test_the_head_by_hand() -> None:
    """14 tokens, 10 of completions asked for: 14 x 4 x 8 + 10 x 4 x 4 of hidden states, 2 x 4 x 10 x 10 of logits, on a
    GPU once, beside a gradient of the head, 4 x 10 x 4.
    """
    assert head_bytes(job(device="cpu"), job().load(2)) == 448 + 160 + 800
    assert head_bytes(job(), job().load(2)) == 448 + 160 + 400 + 160


def test_a_head_in_16_bit_has_its_product_beside_the_logits() -> None:
    """2 bytes more for each of 10 x 10 logits, on a GPU alone; beside copies of 10 x 4 weights and hidden states."""
    assert head_bytes(job(mixed=True, device="cpu"), job().load(2)) == 448 + 160 + 800 + 200 + 2 * 80
    assert head_bytes(job(mixed=True), job().load(2)) == 448 + 160 + 200 + 160 + 2 * 80


def test_the_head_is_cut_into_chunks() -> None:
    """2^25 logits of 2^20 tokens are 32 rows: more of them do not hold more logits, but add up gradients of 2^24 bytes.
    A row is 2^22; of one alone, the gradient is the larger part, as it is beside 2^23 bytes of a piece.
    """
    wide = replace(TOY, vocabulary=2**20)

    def of(rows: int, device: str = "cpu") -> float:
        return head_bytes(job(shape=wide, device=device), Load(tokens=rows, completion=rows, queries=rows, keys=rows))

    one, full, more = of(1), of(32), of(100)
    hidden = 4 * 4 + 4 * 8  # float32 per completion token and token
    assert full == 32 * hidden + 2**27 + 2**24
    assert more - full == 68 * hidden + 2**24
    assert one == hidden + 2**22 + 2**24
    assert of(200, "cuda") - of(128, "cuda") == 72 * hidden, "a GPU holds 128 rows, and one gradient"
    assert of(128, "cuda") == 128 * hidden + 2**29 + 2**24


def test_an_update_by_hand() -> None:
    """Two sequences: stored 2 layers x 14 x 200 = 5600; a layer's backward pass, 2 x 14 x (6 + 4) x 4 + 4 x 6 x 4 =
    1216, is more than the head, 448 + 160 + 400 + 160. The first has the head's gradient beside it, 160; later ones
    all of before, 1200.
    """
    expected = {"gathered": 0, "gradients": 0, "activations": 5600, "working": 1376}
    assert update(job(prompts=1)) == held(job()) | expected
    assert update(job()) == held(job()) | expected | {"gradients": 1200, "working": 1216}


def test_gradients_of_attention_count_where_they_are_more_than_those_of_the_mlp() -> None:
    """With prompts of 100 tokens, a group of two has 100 + 2 x 104 keys for 108 tokens: 108 x 40 + 308 x 16 bytes of
    attention, less 2 x 108 x 4 of an MLP of width 1, are more than 2 x 108 x 4. Beside them 2 x 108 x 4 x 4 and 16.
    """
    long = job(update=SHARED, device="cpu", prompt_tokens=100, shape=replace(TOY, intermediate=1))
    assert backward_bytes(long, long.load(2)) == 108 * 40 + 308 * 16 - 864 + 3456 + 16
    assert backward_bytes(job(), job().load(2)) == 1216


def test_a_single_micro_batch_finds_no_gradients() -> None:
    """Its peak is at the head, when only the activations are there; or at the end, when only gradients are."""
    whole = job(update=replace(PADDED, micro_batch_tokens=64))
    assert update(whole)["gradients"] == 0
    few = micro_batch_peak(job(shape=replace(TOY, vocabulary=100_000)), 0, first=True)
    assert few == {"gradients": 4 * (400_000 + 260), "activations": 0, "working": 1_600_000}


def test_a_later_micro_batch_is_what_the_first_leaves() -> None:
    """4 sequences make two full ones, the second of which finds gradients, as it would of more. 3 sequences leave one:
    1200 + 2800 + 1216 bytes are less than the first one's 5600 + 1376.
    """
    assert update(job(update=replace(PADDED, minibatches=2))) == update(job())
    assert update(job(prompts=1, group_size=3))["gradients"] == 0


def test_checkpointing_keeps_the_stream_and_recomputes_one_layer() -> None:
    """2 layers x 14 tokens x 16 bytes; the backward pass then holds a layer of 2800 beside its gradients of 1216."""
    assert update(job(checkpointing=True)) == held(job()) | {
        "gathered": 0,
        "gradients": 1200,
        "activations": 448,
        "working": 2800 + 1216,
    }


def test_a_sharded_update_gathers_layer_by_layer() -> None:
    """Embedding and last norm, 44 weights, and two layers of 128. Gradients of a layer, and at the end of the
    embedding, are there as they are made and as they are added up: 4 + 4 bytes, mixed 2 + 4; adapters have hardly any.
    """
    shared = {"gpus": 2, "shards": 2}
    assert update(job())["gathered"] == 0
    assert update(job(**shared))["gathered"] == 4 * (44 + 2 * 128)
    assert update(job(**shared, mixed=True))["gathered"] == 2 * (44 + 2 * 128)
    assert (scattered(job(**shared)), scattered(job(**shared, mixed=True))) == (8 * 128, 6 * 128)
    assert (last_gradients(job(**shared)), last_gradients(job(**shared, mixed=True))) == (8 * 44, 6 * 44)
    assert scattered(job(**shared, lora_rank=3)) == last_gradients(job(**shared, lora_rank=3)) == 0
    assert (scattered(job(gpus=2)), last_gradients(job(gpus=2))) == (0, 160)


def test_a_sharded_micro_batch_makes_gradients_of_its_own() -> None:
    """A later one has beside the share of half of 296 x 4 the head's 144 anew; a layer's backward pass is 1216 + 1024
    of it, more than the head's 448 + 160 + 720.
    """
    later = micro_batch_peak(job(gpus=2, shards=2, shape=replace(TOY, vocabulary=9)), 2, first=False)
    assert later == {"gradients": 592, "activations": 5600, "working": 144 + 1216 + 1024}


def test_looking_at_the_rollout_is_a_phase_of_its_own() -> None:
    """For which a sharded model is gathered as for a rollout."""
    assert list(phases(job())) == ["rollout", "update"]
    assert list(phases(job(reference=True))) == list(phases(job(looks_again=True))) == ["rollout", "look", "update"]
    assert phases(job(gpus=2, shards=2, reference=True))["look"]["gathered"] == 1200
    assert embedding_gradient(job()) == 160


# --------------------------------------------------------------------------------------------------------------- timing


def test_flops_by_hand() -> None:
    """16 tokens in sequences of 8: matrices 2 x 240 x 16, attention 2 x 2 x 4 x 8 x 16, the head 2 x 40 x 10."""
    assert forward_flops(job(), 16, 8, 10) == 7680 + 2048 + 800


def test_a_pass_over_shared_prompts_by_hand() -> None:
    """4 prompts of 3 tokens and 8 completions of 4 that are read make 44: matrices 2 x 240 x 44, the head 2 x 40 x 40.
    Attention: 2 x 2 x 4 for each of 12 tokens in sequences of 3 and of 32 in those of 2 x 8, what is masked included.
    """
    shared = job(update=SHARED)
    assert pass_seconds(shared, replace(UNIT, bandwidth=1e18), PERFECT) == pytest.approx(
        21120 + 16 * (12 * 3 + 32 * 16) + 3200
    )


def test_decoding_by_hand() -> None:
    """A step reads (240 + 40) x 4 bytes of weights, of the cache 4 x 3 + 8 x 2.5 tokens of 32, and 2 x 960 of logits:
    4064 at a byte a second. In two rounds each reads the weights again and half of the rest. Casts are read as such.
    """
    fast = replace(UNIT, flops=1e9, flops32=1e9)
    assert decode_seconds(job(), fast, PERFECT) == 5 * (1120 + 1024 + 1920)
    two = job(sampling=SamplingConfig(max_tokens=5, max_rows=4))
    assert decode_seconds(two, fast, PERFECT) == 2 * 5 * (1120 + 512 + 960)
    slow = replace(PERFECT, layer_seconds=1.0)
    assert decode_seconds(job(), fast, slow) == 5 * (4064 + 2)
    assert decode_seconds(job(mixed=True), fast, PERFECT) == 5 * (560 + 512 + 1920)


def test_decoding_is_bound_by_flops_where_these_take_longer() -> None:
    """8 rows: 2 x 240 x 8 + 2 x 2 x 4 x 11 x 8 + 2 x 40 x 8 = 5888 per step."""
    assert decode_seconds(job(), replace(UNIT, bandwidth=1e9), PERFECT) == 5 * 5888


def test_passes_of_an_update() -> None:
    assert [update_passes(job(**kw)) for kw in ({}, {"checkpointing": True}, {"lora_rank": 3})] == [3, 4, 2]


def test_the_optimizer_by_hand() -> None:
    """7 x 1200 bytes a step, of which 2 iterations x 2 minibatches make 4; half on each of two shards."""
    four = UpdateConfig(num_iterations=2, minibatches=2)
    assert optimizer_seconds(job(update=four), UNIT, PERFECT) == 4 * 8400
    assert optimizer_seconds(job(update=four, gpus=2, shards=2), UNIT, PERFECT) == 4 * 4200
    resting = job(update=four, gpus=2, shards=2, offload=True)
    assert optimizer_seconds(resting, UNIT, PERFECT) == 4 * 4200 / 0.25


def test_exchange_by_hand() -> None:
    """Two shards move half of 1200 bytes three times with each of 2 micro-batches; mixed, gathers are half of that;
    from the host and back there are three times 600 bytes more. Two copies move 2 x 1 / 2 x 1200.
    """
    assert exchange_seconds(job(), UNIT, PERFECT) == 0
    assert exchange_seconds(job(gpus=2, shards=2), UNIT, PERFECT) == 2 * 3 * 600
    assert exchange_seconds(job(gpus=2, shards=2, mixed=True), UNIT, PERFECT) == 2 * (2 * 300 + 600)
    assert exchange_seconds(job(gpus=2, shards=2, offload=True), UNIT, PERFECT) == 2 * 3 * (600 + 600 / 0.25)
    assert exchange_seconds(job(gpus=2), UNIT, PERFECT) == 1200
    assert exchange_seconds(job(gpus=2), replace(UNIT, per_node=1), PERFECT) == 2400


def test_a_step_is_the_sum_of_its_parts() -> None:
    parts = seconds(job(reference=True), UNIT, PERFECT)
    assert set(parts) == {"gather", "prefill", "decode", "look", "update", "optimizer", "exchange"}
    assert parts["update"] == 3 * parts["look"]
    assert seconds(job(reference=True, looks_again=True), UNIT, PERFECT)["look"] == 2 * parts["look"]
    assert "decode" not in seconds(job(engine="nccl"), UNIT, PERFECT)


def test_layerwise_rollouts_gather_for_every_token() -> None:
    """5 tokens."""
    once, always = (job(gpus=2, shards=2, layerwise=layerwise) for layerwise in (False, True))
    times = [seconds(each, UNIT, PERFECT)["gather"] for each in (once, always)]
    assert times == [600, 5 * 600]


# --------------------------------------------------------------------------------------------------------------- advice


def test_advice_is_the_mildest_that_suffices() -> None:
    whole = job()
    assert advice(whole, 2 * peak(whole)) == []
    recomputed = peak(replace(whole, checkpointing=True))
    assert recomputed < peak(whole)
    assert advice(whole, recomputed / 0.9) == ["model.policy.gradient_checkpointing: true"]


def test_advice_names_a_change_under_which_it_fits() -> None:
    """Weights, gradients and moments of 7B in float32, 122 GB, are too many for 80 GB however short the sequences."""
    large = job(shape=SHAPES["7b"], gpus=1)
    assert not fits(large, 80e9)
    assert advice(large, 80e9) == ["trainer.strategy: fully_sharded over 4 devices"]
    assert advice(replace(large, gpus=4), 80e9) == ["trainer.strategy: fully_sharded over all 4 devices"]


def test_several_changes_are_no_more_than_needed() -> None:
    """70B: a whole copy is 282 GB in float32 and 141 in bfloat16, so that servers generate or nothing does."""
    large = job(shape=SHAPES["70b"], prompts=8, gpus=8, shards=8)
    changes = advice(large, 80e9)
    assert changes is not None
    assert "model.engine: VLLMServer with weights: nccl, its servers on other devices" in changes
    assert len(changes) >= 2
    assert advice(large, 1e9) is None


# -------------------------------------------------------------------------------------------------------------- command


def test_the_command_reads_the_trainers_configs(capsys: pytest.CaptureFixture[str]) -> None:
    """7B in float32: 30.46 GB of weights, 60.92 of moments."""
    main(["--config", str(ROOT / "configs" / "gsm8k-qwen2.5-0.5b.yaml"), "--shape", "7b"])
    shown = capsys.readouterr().out
    assert "7,615,616,512 parameters" in shown
    assert "| weights | 30.46 | 30.46 |" in shown
    assert "| optimizer | 60.92 | 60.92 |" in shown
    assert re.search(r"^does not fit: .*; set trainer.strategy: fully_sharded over \d devices$", shown, re.MULTILINE)


def test_later_configs_and_arguments_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded policy has 342,624 parameters; two devices on each of two nodes hold a quarter."""
    (tmp_path / "more.yaml").write_text("trainer: {devices: 2, num_nodes: 2, strategy: fully_sharded}")
    configs = ["--config", str(ROOT / "configs" / "quickstart.yaml"), "--config", str(tmp_path / "more.yaml")]
    main([*configs, "--model.objective.kl.beta", "0.1", "--prompt-tokens=9", "--gpu", "cpu"])
    shown = capsys.readouterr().out
    assert "342,624 parameters, 342,624 train; 4 x cpu, 4 shards" in shown
    assert "| reference |" in shown
    assert "fits: " in shown


OVERLAYS = {
    "cpu-offload": ("494,032,768 train; 1 x h100; 7.90 GB of the host", {"gathered": 0.99}),
    "ddp-8-gpus": ("494,032,768 train; 8 x h100\n", {"weights": 1.98, "buckets": 1.98}),
    "fsdp-2-nodes": ("494,032,768 train; 16 x h100, 16 shards", {"weights": 0.12, "gathered": 0.99}),
    "fsdp-8-gpus": ("494,032,768 train; 8 x h100, 8 shards", {"weights": 0.25, "gathered": 0.99}),
    "lora": ("17,596,416 train; 1 x h100\n", {"weights": 1.06, "optimizer": 0.14}),
    "qlora": ("17,596,416 train; 1 x h100\n", {"weights": 0.53, "optimizer": 0.14}),
    "vllm-server": ("494,032,768 train; 1 x h100\n", {"weights": 1.98, "optimizer": 3.95}),
}
"""494 M: in float32 1.98 GB, of which a sixteenth is 0.12; four times that with gradients and moments is 7.90; gathered
in 16 bits 0.99. 17.6 M adapters in float32 are 0.07 beside 0.99 of weights, or beside 358 M elements in matrices of
0.516 bytes, 0.18, and 136 M others, 0.27. Two moments are twice the weights, 3.95."""


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "scale").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_overlay_is_planned(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--config", str(ROOT / "configs" / "gsm8k-qwen2.5-0.5b.yaml"), "--config", str(path), "--shape", "0.5b"])
    shown = capsys.readouterr().out
    spread, parts = OVERLAYS[path.stem]
    assert spread in shown
    for part, size in parts.items():
        assert f"\n| {part} | {size:.2f} |" in shown


FSDP = ["--shape", "7b", "--trainer.strategy.class_path", "grpo_lightning.sharding.FullySharded"]


def planned(*words: str) -> Job:
    """The job that the command makes of its words."""
    given, rest = SCRIPT["arguments"]().parse_known_args(["--shape", "7b", *words])
    return SCRIPT["job_of"](SCRIPT["overrides"](rest), SHAPES["7b"], given, SCRIPT["device_of"](given))


def test_strategies_are_read() -> None:
    eight = planned(*FSDP, "--trainer.devices", "8", "--trainer.strategy.init_args.rollout", "layerwise")
    assert (eight.gpus, eight.shards, eight.layerwise, eight.offload) == (8, 8, True, False)
    assert planned("--trainer.strategy", "fully_sharded", "--gpus", "4").shards == 4
    alone = planned("--trainer.strategy", "fully_sharded", "--trainer.precision", "bf16-mixed")
    assert (alone.shards, alone.sharded, alone.working_bytes) == (1, True, 2)
    assert not planned("--trainer.strategy", "ddp", "--trainer.devices", "8").sharded


def test_the_type_of_the_device_is_read() -> None:
    assert planned().device == "cuda"
    assert planned("--gpu", "cpu").device == "cpu"


def test_adapters_are_read_and_options_win() -> None:
    config = ["--model.policy.adapter", "{rank: 8, modules: [q_proj]}"]
    assert (planned(*config).lora_rank, planned(*config).lora_modules) == (8, ("q_proj",))
    assert planned(*config, "--lora-rank", "4").lora_rank == 4
    assert planned(*config, "--lora-rank", "0").lora_rank == 0
    assert planned("--model.policy.adapter", "{}").lora_rank == AdapterConfig().rank
    assert planned("--model.policy.quantization", "nf4", "--lora-rank", "1").quantized


def test_engines_are_read() -> None:
    package = "grpo_lightning.generation"
    server, beside = f"{package}.vllm_server.VLLMServer", f"{package}.vllm_colocated.VLLMColocated"
    assert planned().engine == planned("--model.engine", "TransformersContinuousBatching").engine == "builtin"
    builtin = ("--model.engine.class_path", f"{package}.engine.Builtin", "--model.engine.init_args.dtype")
    assert [planned(*builtin, dtype).engine_rounds for dtype in ("bfloat16", "null")] == [True, False]
    assert planned("--servers").engine == "nccl"
    assert planned("--model.engine.class_path", server).engine == "folder"
    assert planned("--model.engine.class_path", server, "--model.engine.init_args.weights", "nccl").engine == "nccl"
    words = ["--model.engine.class_path", beside, "--model.engine.init_args.gpu_memory_utilization", "0.25"]
    colocated = planned(*words, "--model.engine.init_args.sleep", "false")
    assert (colocated.engine, colocated.engine_memory, colocated.engine_sleeps) == ("colocated", 20e9, False)
    assert planned("--model.mismatch.correction", "token").looks_again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--shape", "7b", "--model.sampling.temprature", "1"],
            "model.sampling.temprature: no such setting; known are",
        ),
        (["--shape", "7b", "--model.sampling.max_tokens", "0"], "sampling.max_tokens: 0 is refused"),
        (["--shape", "7b", "--model.group_size", "many"], "model.group_size: 'many' is no number"),
        (["--shape", "7b", "--colour", "1"], "--colour: not known"),
        (["--shape", "7b", "--model.group_size"], "--model.group_size: a value is missing"),
        ([], "model.policy.pretrained: not given; name a model, or take --shape"),
        (["--config", "nowhere.yaml"], "No such file or directory: 'nowhere.yaml'"),
        (["--model.policy.pretrained", "/nowhere/at/all"], "model.policy.pretrained: no config.json could be read"),
        (["--shape", "7b", "--gpus", "8", "--shards", "3"], "shards: 3 is refused"),
        (["--shape", "7b", "--trainer.strategy", "deepspeed"], "trainer.strategy: deepspeed is not planned; use auto"),
        (
            [*FSDP, "--trainer.strategy.init_args.cpu_ofload", "true"],
            "trainer.strategy.init_args.cpu_ofload: no such setting; known are cpu_offload",
        ),
        (
            ["--shape", "7b", "--model.policy.adapter.r", "8"],
            "model.policy.adapter.r: no such setting; known are alpha",
        ),
        (["--shape", "7b", "--model.engine", "SGLang"], "model.engine: SGLang is not planned; planned are Builtin"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert str(left.value).startswith("plan: ")
    assert message in str(left.value)
    assert "\n" not in str(left.value)


def test_the_docs_hold_the_commands_tables(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--table"])
    page = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() in page


def test_figures_of_a_device_can_be_given() -> None:
    given = SCRIPT["arguments"]().parse_args(["--gpu", "a100", "--memory-gb", "40", "--tflops", "2", "--link-gb", "3"])
    device = SCRIPT["device_of"](given)
    assert (device.memory, device.flops, device.link, device.bandwidth) == (40e9, 2e12, 3e9, 2039e9)


# ------------------------------------------------------------------------------------------------------------- measured

TOLERANCE = 0.1

RUN = {
    "shape": {
        "vocab_size": 20480,
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 8,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
    },
    "group_size": 4,
    "prompts": 4,
    "sampling": {"max_tokens": 48},
    "update": {"micro_batch_tokens": 400},
}
"""20 M parameters; 16 sequences of about 56 tokens, 7 in a micro-batch, or 8 where they share prompts."""

GIVES_BACK = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0",
    "MKL_DISABLE_FAST_MM": "1",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0",
    "OMP_NUM_THREADS": "1",
}
"""What is freed goes back to the system at once, and libraries keep no buffers: what is counted is what is in use."""


def laid_over(settings: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    merge: Callable[[dict[str, object], dict[str, object]], dict[str, object]] = SCRIPT["merged"]
    return merge(settings, changes)


def measured_and_planned(settings: dict[str, object], folder: Path) -> dict[str, tuple[float, float]]:
    """Of each phase, the peak of a real run and of the plan, in MB."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.measure_plan", str(folder), json.dumps(settings)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | GIVES_BACK,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    policy: dict[str, object] = settings.get("policy", {})
    planned = Job(
        shape=shape_of(
            {"qwen2": Qwen2Config, "qwen3": Qwen3Config}[settings.get("family", "qwen3")](**settings["shape"])
        ),
        sampling=SamplingConfig(**settings["sampling"]),
        update=UpdateConfig(**settings["update"]),
        group_size=settings["group_size"],
        prompts=settings["prompts"],
        prompt_tokens=found["width"],
        mixed=settings.get("precision") == "bf16-mixed",
        checkpointing=bool(policy.get("gradient_checkpointing")),
        reference=bool(settings.get("beta")),
        fsdp="strategy" in settings,
        layerwise=settings.get("strategy", {}).get("rollout") == "layerwise",
        device="cpu",
    )
    assert found["length"] == planned.sampling.max_tokens
    sums = {"held": sum(held(planned).values())}
    sums |= {phase: sum(parts.values()) for phase, parts in phases(planned).items()}
    return {phase: (found[phase] / 1e6, size / 1e6) for phase, size in sums.items()}


needs_proc = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of a process is read from Linux's /proc"
)


def check_measured(settings: dict[str, object], folder: Path) -> None:
    for phase, (measured, planned) in measured_and_planned(settings, folder).items():
        print(f"{phase}: measured {measured:.0f} MB, planned {planned:.0f} MB, {planned / measured - 1:+.1%}")
        assert abs(planned / measured - 1) <= TOLERANCE, phase


@needs_proc
@pytest.mark.parametrize("layout", ["shared", "padded", "packed"])
def test_memory_is_as_planned(layout: Layout, tmp_path: Path) -> None:
    check_measured(laid_over(RUN, {"update": {"layout": layout}}), tmp_path)


WIDE = {"hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 4, "num_attention_heads": 4}
LARGE = {
    "vocab_size": 8192,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
}


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"policy": {"gradient_checkpointing": True}, "beta": 0.05}, id="checkpointed"),
        pytest.param({"precision": "bf16-mixed"}, id="mixed"),
        pytest.param(
            {
                "shape": WIDE | {"num_key_value_heads": 4, "vocab_size": 4096},
                "sampling": {"max_tokens": 200},
                "group_size": 16,
                "prompts": 2,
                "update": {"micro_batch_tokens": 640},
            },
            id="long completions",
        ),
        pytest.param({"prompts": 2, "update": {"micro_batch_tokens": 4096}}, id="one micro-batch"),
        pytest.param(
            {"family": "qwen2", "shape": WIDE | {"tie_word_embeddings": False}, "beta": 0.05, "prompts": 3},
            id="untied qwen2 with a reference",
        ),
        pytest.param(
            {
                "shape": WIDE | {"vocab_size": 65536, "hidden_size": 128},
                "sampling": {"top_p": 0.9},
                "prompts": 8,
                "update": {"micro_batch_tokens": 2048},
            },
            id="chunks of logits, top_p",
        ),
        pytest.param(
            {"shape": LARGE, "sampling": {"max_tokens": 24}, "prompts": 2, "update": {"micro_batch_tokens": 100}},
            id="82 M",
        ),
    ],
)
def test_memory_is_as_planned_everywhere(changes: dict[str, object], tmp_path: Path) -> None:
    check_measured(laid_over(RUN, changes), tmp_path)
