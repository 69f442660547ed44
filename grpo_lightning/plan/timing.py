"""Seconds of a step, part by part, from what hardware can do. Calculated, never measured: it tells what a step is bound
by and how it grows, and is no benchmark. Scoring is left out, and nothing overlaps.

Letters as in `memory`; M elements of all matrices of the layers, S tokens of a sequence, n shards, m copies.
"""

from dataclasses import dataclass

from grpo_lightning.plan.job import NF4_BYTES, Job
from grpo_lightning.plan.memory import Parts, cache_bytes, cached_tokens, kept_casts, sampling_bytes
from grpo_lightning.plan.shape import layer_matrices, parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One device and how it is linked, in bytes, FLOP/s and bytes/s."""

    memory: float
    flops: float
    """Of dense matrices in bfloat16."""
    flops32: float
    """In float32, without TF32, which PyTorch does not use by default."""
    bandwidth: float
    link: float
    """To devices of the same node, in one direction."""
    network: float
    """To those of other nodes."""
    host: float
    """To the memory of its host; also what the optimizer has there."""
    per_node: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of the datasheet's figures that are reached. Assumptions."""

    flops: float = 0.4
    bandwidth: float = 0.7
    link: float = 0.7
    layer_seconds: float = 7e-4
    """Of a decoding step in each layer, for Python to launch its kernels, however small they are."""


def rate(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """FLOP/s of matrices in the type the job computes in."""
    return efficiency.flops * (hardware.flops if job.compute_bytes == 2 else hardware.flops32)


def wire(hardware: Hardware, efficiency: Efficiency, devices: int) -> float:
    """Bytes/s of a collective over so many devices: the link's within a node, the network's past it."""
    return efficiency.link * (hardware.link if devices <= hardware.per_node else hardware.network)


def matrices(job: Job) -> int:
    """M."""
    return job.shape.layers * layer_matrices(job.shape)


def forward_flops(job: Job, tokens: float, sequence: float, projected: float) -> float:
    """2 M t + 2 L Q S t + 2 V D h: matrices, causal attention in sequences of S, and the head at h of the t tokens."""
    s = job.shape
    attention = 2 * s.layers * s.queries * sequence * tokens
    return 2 * matrices(job) * tokens + attention + 2 * s.vocabulary * s.hidden * projected


def weight_traffic(job: Job) -> float:
    """Bytes to read all matrices and the head once: r each; where they are cast to bfloat16, which is made anew each
    time, r + 2 + 2, and in 4 bits, which are spread out each time, that and 2 c.
    """
    head = job.shape.vocabulary * job.shape.hidden * job.working_bytes
    if job.quantized:
        return head + matrices(job) * (NF4_BYTES + 2 * job.compute_bytes)
    read = head + matrices(job) * job.working_bytes
    return read + 4 * (matrices(job) + job.shape.vocabulary * job.shape.hidden) * job.casts


def prefill_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """Forward of the device's prompts, once for each group: FLOPs / rate."""
    prompts = job.share
    flops = forward_flops(job, prompts * job.prompt_tokens, job.prompt_tokens, prompts)
    return flops / rate(job, hardware, efficiency)


def decode_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """rounds x tokens x (max(bytes / bandwidth, FLOPs / rate) + L x launch).

    A step reads all weights, the cache as it is filled on average (the prompt and half the completion), and writes and
    reads each of the B x V copies. A round is as many prompts as are generated at once. vLLM launches a step at once,
    and reads its weights in 16 bits; weights that are cast for the whole rollout are read so, too.
    """
    tokens = job.sampling.max_tokens
    filled = job.prompt_tokens + tokens / 2
    weights = (kept_casts(job) or weight_traffic(job)) if job.colocated else 2 * parameters(job.shape)
    read = cached_tokens(job, job.prompt_tokens, tokens / 2) / cached_tokens(job, job.prompt_tokens, tokens)
    traffic = weights + cache_bytes(job) * read + 2 * sampling_bytes(job)
    flops = forward_flops(job, job.rows, 2 * filled, job.rows)
    step = max(traffic / (efficiency.bandwidth * hardware.bandwidth), flops / rate(job, hardware, efficiency))
    launch = job.shape.layers * efficiency.layer_seconds if job.colocated else 0.0
    return rounds(job) * tokens * (step + launch)


def rounds(job: Job) -> int:
    """Of a rollout on each device."""
    return -(-job.share // job.prompts_at_once)


def update_passes(job: Job) -> int:
    """In forward passes: forward 1, gradients of activations 1, of weights 1 (adapters: none), recomputing 1."""
    return 2 + (0 if job.lora_rank else 1) + job.checkpointing


def sequences(job: Job) -> int:
    """Of a step on each device."""
    return job.share * job.group_size


def micro_batches(job: Job) -> int:
    """Of one pass over a rollout, on each device."""
    return -(-sequences(job) // job.micro_batch_rows)


def pass_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """One forward pass over the whole rollout, as so many micro-batches as are full: FLOPs / rate + weight traffic /
    bandwidth, the latter for each that is begun.

    Where prompts are shared by rectangles, a completion's attention has a mask, and so computes what it hides, too:
    that of twice S.
    """
    load, full = job.load(job.micro_batch_rows), sequences(job) / job.micro_batch_rows
    prompts = load.keys if job.shared else 0
    sequence = job.sequence * (2 if job.shared and not job.ragged else 1)
    flops = forward_flops(job, prompts, job.prompt_tokens, 0)
    flops += forward_flops(job, load.tokens - prompts, sequence, load.completion)
    reading = micro_batches(job) * weight_traffic(job) / (efficiency.bandwidth * hardware.bandwidth)
    return full * flops / rate(job, hardware, efficiency) + reading


def optimizer_steps(job: Job) -> int:
    return job.update.num_iterations * job.update.minibatches


def optimizer_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """steps x 7 P w / n / bandwidth, or 28 A / n: AdamW reads weight, gradient and two moments, and writes all but the
    gradient.
    """
    traffic = 7 * job.trainable * job.trainable_bytes / job.shards
    bandwidth = hardware.host if job.offload else hardware.bandwidth
    return optimizer_steps(job) * traffic / (efficiency.bandwidth * bandwidth)


def gather_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """(n - 1) / n P r / wire: every device gets what it does not have of the weights; from the host, its share P w / n
    first.
    """
    away = (job.shards - 1) / job.shards * job.stored(job.working_bytes)
    share = job.stored(job.weight_bytes) / job.shards if job.offload else 0.0
    return away / wire(hardware, efficiency, job.shards) + share / (efficiency.link * hardware.host)


def rollout_gathers(job: Job) -> int:
    """How often a rollout gathers all weights: once, or layerwise with every forward pass."""
    return rounds(job) * job.sampling.max_tokens if job.colocated and job.layerwise else 1


def exchange_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """With each micro-batch, gathers for forward and backward, and gradients scattered, (n - 1) / n P, or A, of the
    type they are added up in, and put on the host, P w / n, or 4 A / n; with each optimizer step 2 (m - 1) / m of a
    shard's gradients between m copies.
    """
    trained = job.trainable * job.trainable_bytes
    scatter = (job.shards - 1) / job.shards * job.trainable * job.reduced_bytes / wire(hardware, efficiency, job.shards)
    scatter += trained / job.shards / (efficiency.link * hardware.host) if job.offload else 0.0
    copies = job.gpus // job.shards
    reduce = 2 * (copies - 1) / copies * trained / job.shards / wire(hardware, efficiency, job.gpus)
    each = 2 * gather_seconds(job, hardware, efficiency) + scatter
    return job.update.num_iterations * micro_batches(job) * each + optimizer_steps(job) * reduce


def seconds(job: Job, hardware: Hardware, efficiency: Efficiency = Efficiency()) -> Parts:
    """Of each part of a step; without the rollout's where servers generate it, which are sent the weights."""
    one_pass = pass_seconds(job, hardware, efficiency)
    gather = gather_seconds(job, hardware, efficiency)
    generating = {
        "prefill": prefill_seconds(job.drawing, hardware, efficiency),
        "decode": decode_seconds(job.drawing, hardware, efficiency),
    }
    look = one_pass + (micro_batches(job) if job.layerwise else 1) * gather
    here = generating if job.engine in ("builtin", "colocated") else {}
    return {"gather": rollout_gathers(job) * gather, **here} | {
        "look": (job.reference + job.looks_again) * look,
        "update": job.update.num_iterations * update_passes(job) * one_pass,
        "optimizer": optimizer_seconds(job, hardware, efficiency),
        "exchange": exchange_seconds(job, hardware, efficiency),
    }
