"""Says what a run needs before it runs: memory of each device by part and phase, and seconds of a step. By calculation.

    python scripts/plan.py --config configs/gsm8k-qwen2.5-0.5b.yaml
    python scripts/plan.py --config configs/gsm8k-qwen2.5-0.5b.yaml --config configs/scale/fsdp-8-gpus.yaml --shape 7b
    python scripts/plan.py --config FILE --model.sampling.max_tokens 4096      # any key of the config
    python scripts/plan.py --table                                             # the tables of docs/plan.md

Reads the same configs as the trainer, several from left to right, and of the model no more than its config.json.
Options such as `--gpus` and `--lora-rank` win over what the configs say.
"""

import argparse
import inspect
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import yaml  # type: ignore[import-untyped]
from transformers import AutoConfig

from grpo_lightning.adapters import AdapterConfig
from grpo_lightning.generation import SamplingConfig
from grpo_lightning.generation.continuous_batching import TransformersContinuousBatching
from grpo_lightning.generation.engine import Builtin
from grpo_lightning.generation.vllm_colocated import VLLMColocated
from grpo_lightning.generation.vllm_server import VLLMServer
from grpo_lightning.optimization import UpdateConfig
from grpo_lightning.plan.advice import USABLE, advice, fits, peak
from grpo_lightning.plan.job import Job
from grpo_lightning.plan.memory import Parts, on_host, phases
from grpo_lightning.plan.shape import Shape, parameters, shape_of
from grpo_lightning.plan.timing import Hardware, seconds
from grpo_lightning.policy import resolve
from grpo_lightning.sharding import FullySharded

Settings = dict[str, object]

GB, TERA = 1e9, 1e12


def qwen(vocabulary: int, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, head: int) -> Shape:
    """Of Qwen2.5, whose small ones have a vocabulary of their own, and share it with the head."""
    return Shape(
        vocabulary=vocabulary,
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head,
        tied=vocabulary == 151936,
        qkv_bias=True,
    )


SHAPES = {
    "0.5b": qwen(151936, 896, 4864, 24, 14, 2, 64),
    "1.5b": qwen(151936, 1536, 8960, 28, 12, 2, 128),
    "3b": qwen(151936, 2048, 11008, 36, 16, 2, 128),
    "7b": qwen(152064, 3584, 18944, 28, 28, 4, 128),
    "14b": qwen(152064, 5120, 13824, 48, 40, 8, 128),
    "32b": qwen(152064, 5120, 27648, 64, 40, 8, 128),
    "70b": Shape(
        vocabulary=128256,
        hidden=8192,
        intermediate=28672,
        layers=80,
        heads=64,
        kv_heads=8,
        head_dim=128,
        tied=False,
    ),
}
"""Qwen2.5 up to 32b, Llama-3 for 70b, from their published config.json."""


def hardware(
    memory: float, flops: float, flops32: float, bandwidth: float, link: float, network: float, host: float
) -> Hardware:
    """From GB, TFLOP/s, TFLOP/s, and four of GB/s."""
    return Hardware(
        memory=memory * GB,
        flops=flops * TERA,
        flops32=flops32 * TERA,
        bandwidth=bandwidth * GB,
        link=link * GB,
        network=network * GB,
        host=host * GB,
    )


HARDWARE = {
    "h100": hardware(80, 989, 67, 3350, 450, 50, 64),
    "h200": hardware(141, 989, 67, 4800, 450, 50, 64),
    "a100": hardware(80, 312, 19.5, 2039, 300, 25, 32),
    "4090": hardware(24, 165, 82.6, 1008, 32, 3, 32),
    "cpu": hardware(16, 0.2, 0.1, 40, 10, 1, 40),
}
"""NVIDIA's datasheets for H100 SXM, H200 SXM, A100 SXM 80 GB and RTX 4090: dense bfloat16 with float32 sums, float32,
memory, and half of what NVLink (PCIe 4.0 x16 for the 4090) carries in both directions. `network`, of a device to other
nodes, is 400, 200 and 25 Gbit/s of a usual machine; `host` is PCIe 5.0 x16, or 4.0 for A100 and 4090. `cpu` stands for
two cores of a server, not for a datasheet."""

PLANNED_STRATEGIES = ("auto", "ddp", "DDPStrategy", "SingleDeviceStrategy", "fully_sharded", "FullySharded")

PLANNED_ENGINES = {kind.__name__: kind for kind in (Builtin, TransformersContinuousBatching, VLLMColocated, VLLMServer)}

TABLE_GPUS = (1, 2, 4, 8, 16, 32, 64)


# ------------------------------------------------------------------------------------------------------------ settings


def merged(one: Settings, other: Settings) -> Settings:
    """`other` laid over `one`, mapping by mapping."""
    result = dict(one)
    for key, value in other.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def overrides(words: Sequence[str]) -> Settings:
    """--a.b.c VALUE or --a.b.c=VALUE, as the trainer's command line has them."""
    result: Settings = {}
    rest = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if len(rest) % 2:
        raise ValueError(f"{rest[-1]}: a value is missing")
    for flag, text in zip(rest[::2], rest[1::2], strict=True):
        if not flag.startswith("--") or "." not in flag:
            raise ValueError(f"{flag}: not known; settings of a config look like --model.group_size 8")
        value: object = yaml.safe_load(text)
        for key in reversed(flag[2:].split(".")):
            value = {key: value}
        result = merged(result, cast(Settings, value))
    return result


def at(settings: Settings, path: str, default: object) -> object:
    """The setting at `a.b.c`; the default where it is absent or null."""
    found: object = settings
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return default if found is None else found


def number(settings: Settings, path: str, default: float) -> float:
    value = at(settings, path, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{path}: {value!r} is no number; give one, or the option of this command that stands for it")
    return value


def known(settings: Settings, path: str, kind: type) -> Settings:
    """The settings at `path`, as far as `kind` has them; an unknown one is refused."""
    given = cast(Settings, at(settings, path, {}))
    names = set(inspect.signature(kind).parameters)
    if unknown := sorted(set(given) - names):
        raise ValueError(f"{path}.{unknown[0]}: no such setting; known are {', '.join(sorted(names))}")
    return given


def devices_of(settings: Settings) -> int:
    """trainer.devices x num_nodes; `auto` and -1, which ask the machine, stand for 1."""
    devices = at(settings, "trainer.devices", 1)
    if isinstance(devices, str) and "," in devices:
        devices = devices.split(",")
    count = len(devices) if isinstance(devices, list) else 1 if devices in ("auto", -1, "-1") else devices
    if isinstance(count, str) and count.isdigit():
        count = int(count)
    if not isinstance(count, int):
        raise ValueError(f"trainer.devices: {devices!r} is no number of devices; give one, or --gpus")
    return count * int(number(settings, "trainer.num_nodes", 1))


def named(settings: Settings, path: str, default: str) -> str:
    """The class at `path`, without its package; given by its name or its class_path."""
    found = at(settings, path, default)
    name = at(settings, f"{path}.class_path", default) if isinstance(found, dict) else found
    return str(name).rpartition(".")[2]


def spread_of(settings: Settings, given: argparse.Namespace) -> Settings:
    """Devices, and how they share a policy."""
    gpus = given.gpus or devices_of(settings)
    name = named(settings, "trainer.strategy", "auto")
    if name not in PLANNED_STRATEGIES:
        raise ValueError(f"trainer.strategy: {name} is not planned; use {', '.join(PLANNED_STRATEGIES)}")
    fsdp = name in ("FullySharded", "fully_sharded")
    how = known(settings, "trainer.strategy.init_args", FullySharded) if fsdp else {}
    return {
        "gpus": gpus,
        "shards": given.shards or (gpus if fsdp else 1),
        "fsdp": fsdp,
        "layerwise": how.get("rollout") == "layerwise",
        "offload": bool(how.get("cpu_offload", False)),
    }


def adapter_of(settings: Settings, given: argparse.Namespace) -> Settings:
    """LoRA, and the weights below it."""
    how = known(settings, "model.policy.adapter", AdapterConfig)
    none = at(settings, "model.policy.adapter", None) is None
    rank = 0 if none else int(number(settings, "model.policy.adapter.rank", AdapterConfig.rank))
    return {
        "lora_rank": rank if given.lora_rank is None else given.lora_rank,
        "lora_modules": tuple(cast(Sequence[str], how.get("modules", ()))),
        "quantized": at(settings, "model.policy.quantization", "none") == "nf4",
    }


def engine_of(settings: Settings, given: argparse.Namespace, device: Hardware) -> Settings:
    """What generates. Continuous batching is planned as the built-in engine."""
    name = named(settings, "model.engine", "Builtin")
    if name not in PLANNED_ENGINES:
        raise ValueError(f"model.engine: {name} is not planned; planned are {', '.join(PLANNED_ENGINES)}")
    kind = PLANNED_ENGINES[name]
    how = known(settings, "model.engine.init_args", kind)
    if kind is VLLMColocated and not given.servers:
        share = number(settings, "model.engine.init_args.gpu_memory_utilization", VLLMColocated.gpu_memory_utilization)
        sleeps = bool(how.get("sleep", True))
        return {"engine": "colocated", "engine_memory": share * device.memory, "engine_sleeps": sleeps}
    if kind is VLLMServer:
        return {"engine": str(how.get("weights", "folder"))}
    rounds = kind is Builtin and how.get("dtype") is not None and not given.servers
    return {"engine": "nccl" if given.servers else "builtin", "engine_rounds": rounds}


def job_of(settings: Settings, shape: Shape, given: argparse.Namespace, device: Hardware) -> Job:
    """What the settings say, and the command line over them."""
    again = at(settings, "model.mismatch.correction", "none") != "none"
    parts = spread_of(settings, given) | adapter_of(settings, given) | engine_of(settings, given, device)
    return Job(
        shape=shape,
        sampling=SamplingConfig(**known(settings, "model.sampling", SamplingConfig)),  # type: ignore[arg-type]
        update=UpdateConfig(**known(settings, "model.update", UpdateConfig)),  # type: ignore[arg-type]
        group_size=int(number(settings, "model.group_size", 8)),
        prompts=int(number(settings, "data.prompts_per_step", 32)),
        prompt_tokens=given.prompt_tokens or int(number(settings, "data.max_prompt_tokens", 512)),
        dtype=str(at(settings, "model.policy.dtype", "float32")),
        mixed=at(settings, "trainer.precision", "32-true") == "bf16-mixed",
        attention=str(at(settings, "model.policy.attention", "sdpa")),
        checkpointing=bool(at(settings, "model.policy.gradient_checkpointing", False)),
        reference=number(settings, "model.objective.kl.beta", 0.0) > 0,
        looks_again=again or number(settings, "model.objective.entropy.top_share", 1.0) < 1,
        device="cpu" if given.gpu == "cpu" else "cuda",
        **parts,  # type: ignore[arg-type]
    )


def read_shape(settings: Settings, given: argparse.Namespace) -> Shape:
    """A built-in one, or that of the policy's config.json."""
    if given.shape:
        return SHAPES[given.shape]
    pretrained = at(settings, "model.policy.pretrained", None)
    if pretrained is None:
        raise ValueError("model.policy.pretrained: not given; name a model, or take --shape")
    try:
        return shape_of(AutoConfig.from_pretrained(resolve(str(pretrained))))
    except OSError as error:
        cause = " ".join(str(error).split())[:200]
        raise ValueError(
            f"model.policy.pretrained: no config.json could be read from {pretrained!r}: {cause}"
        ) from None


def device_of(given: argparse.Namespace) -> Hardware:
    """The named device, with those figures replaced that are given."""
    device = HARDWARE[given.gpu]
    factors = {"memory": GB, "flops": TERA, "bandwidth": GB, "link": GB, "network": GB, "host": GB}
    values = {name: getattr(given, name) * factor for name, factor in factors.items() if getattr(given, name)}
    return replace(device, **values)


# -------------------------------------------------------------------------------------------------------------- output


def memory_table(job: Job) -> str:
    """GB of each part, in every phase."""
    columns = phases(job)
    lines = ["| GB on each device | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for part in dict.fromkeys(part for parts in columns.values() for part in parts):
        values = [parts.get(part, 0.0) for parts in columns.values()]
        if any(values):
            lines.append(f"| {part} | " + " | ".join(f"{value / GB:.2f}" for value in values) + " |")
    totals = " | ".join(f"{sum(parts.values()) / GB:.2f}" for parts in columns.values())
    return "\n".join([*lines, f"| **all** | {totals} |"])


def time_table(parts: Parts) -> str:
    """Seconds of each part of a step."""
    lines = ["| seconds of a step | calculated |", "|---|---|"]
    lines += [f"| {part} | {value:.2f} |" for part, value in parts.items() if value]
    return "\n".join([*lines, f"| **all** | {sum(parts.values()):.2f} |"])


def verdict(job: Job, device: Hardware) -> str:
    """One line: whether it fits, and what to change."""
    usable = f"{USABLE * device.memory / GB:.1f} of {device.memory / GB:g} GB"
    if fits(job, device.memory):
        return f"fits: {peak(job) / GB:.2f} GB at the peak, usable are {usable}"
    changes = advice(job, device.memory)
    if changes is None:
        how = "nothing here makes it fit; take a smaller model, shorter sequences or larger devices"
    else:
        how = "set " + ", and ".join(changes)
    return f"does not fit: {peak(job) / GB:.2f} GB at the peak, usable are {usable}; {how}"


def table_job(shape: Shape, gpus: int, lora_rank: int) -> Job:
    """What the tables of the docs plan: 64 prompts of up to 512 tokens, 8 completions of up to 1024 tokens each."""
    return Job(
        shape=shape,
        sampling=SamplingConfig(max_tokens=1024, max_rows=128),
        update=UpdateConfig(minibatches=1, micro_batch_tokens=8192),
        group_size=8,
        prompts=64,
        prompt_tokens=512,
        mixed=not lora_rank,
        dtype="bfloat16" if lora_rank else "float32",
        checkpointing=True,
        gpus=gpus,
        shards=gpus,
        lora_rank=lora_rank,
    )


def cell(job: Job, device: Hardware) -> str:
    """rollout / update in GB; bold what does not fit; seconds of a step where both do."""
    sizes = [sum(parts.values()) for parts in phases(job).values()]
    shown = [f"{size / GB:.0f}" if size <= USABLE * device.memory else f"**{size / GB:.0f}**" for size in sizes]
    time = f", {sum(seconds(job, device).values()):.0f} s" if fits(job, device.memory) else ""
    return " / ".join(shown) + time


def docs_table(lora_rank: int) -> str:
    """Every shape on every number of H100s."""
    header = "| | parameters | " + " | ".join(f"{gpus} GPU" + "s" * (gpus > 1) for gpus in TABLE_GPUS) + " |"
    lines = [header, "|---|" + "---|" * (len(TABLE_GPUS) + 1)]
    for name, shape in SHAPES.items():
        cells = [cell(table_job(shape, gpus, lora_rank), HARDWARE["h100"]) for gpus in TABLE_GPUS]
        lines.append(f"| {name} | {parameters(shape) / 1e9:.2f} B | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", action="append", type=Path, default=[], help="a config of the trainer; repeatable")
    parser.add_argument("--shape", choices=SHAPES, help="a built-in model instead of the config's")
    parser.add_argument("--gpus", type=int, default=0, help="devices in all")
    parser.add_argument("--shards", type=int, default=0, help="devices that share one copy (FSDP2)")
    parser.add_argument("--lora-rank", type=int, help="adapters of this rank; 0: none")
    parser.add_argument("--servers", action="store_true", help="rollouts come from servers on other devices")
    parser.add_argument("--prompt-tokens", type=int, default=0, help="longest prompt, if below data.max_prompt_tokens")
    parser.add_argument("--gpu", choices=HARDWARE, default="h100")
    for name in ("memory", "flops", "bandwidth", "link", "network", "host"):
        flag = "--tflops" if name == "flops" else f"--{name}-gb"
        parser.add_argument(flag, dest=name, type=float, default=0, help=f"instead of the device's {name}")
    parser.add_argument("--table", action="store_true", help="print the tables of docs/plan.md")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    given, rest = arguments().parse_known_args(words)
    if given.table:
        print(f"All weights:\n\n{docs_table(0)}\n\nLoRA of rank 16:\n\n{docs_table(16)}")
        return
    try:
        settings: Settings = {}
        for path in given.config:
            settings = merged(settings, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        settings = merged(settings, overrides(rest))
        device = device_of(given)
        job = job_of(settings, read_shape(settings, given), given, device)
    except (ValueError, OSError, yaml.YAMLError) as error:
        sys.exit(f"plan: {' '.join(str(error).split())}")
    spread = f"{job.gpus} x {given.gpu}" + (f", {job.shards} shards" if job.shards > 1 else "")
    spread += f"; {on_host(job) / GB:.2f} GB of the host for each" if job.offload else ""
    print(f"{parameters(job.shape):,} parameters, {job.trainable:,} train; {spread}\n")
    print(f"{memory_table(job)}\n\n{time_table(seconds(job, device))}\n\n{verdict(job, device)}")


if __name__ == "__main__":
    main()
