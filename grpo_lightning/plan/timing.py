"""Seconds of a step, part by part, from what hardware can do. Calculated, never measured: it tells what a step is bound
by and how it grows, and is no benchmark. Scoring is left out, and nothing overlaps.

Letters as in `memory`; M elements of all matrices of the layers, S tokens of a sequence, n shards, m copies.
"""

from dataclasses import dataclass

from grpo_lightning.plan.job import Job
from grpo_lightning.plan.memory import Parts, cache_bytes, sampling_bytes
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
    """Bytes to read all matrices and the head once: w each; in mixed precision w + 2 + 2, because the cast to bfloat16
    is made anew each time.
    """
    elements = matrices(job) + job.shape.vocabulary * job.shape.hidden
    return elements * (job.weight_bytes + (4 if job.casts else 0))


def prefill_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """Forward of the device's prompts, once for each group: FLOPs / rate."""
    prompts = job.share
    flops = forward_flops(job, prompts * job.prompt_tokens, job.prompt_tokens, prompts)
    return flops / rate(job, hardware, efficiency)


def decode_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """rounds x tokens x (max(bytes / bandwidth, FLOPs / rate) + L x launch).

    A step reads all weights, the cache as it is filled on average (the prompt and half the completion), and writes and
    reads each of the B x V copies. A round is as many prompts as are generated at once.
    """
    tokens = job.sampling.max_tokens
    filled = job.prompt_tokens + tokens / 2
    traffic = weight_traffic(job) + cache_bytes(job) * filled / job.sequence + 2 * sampling_bytes(job)
    flops = forward_flops(job, job.rows, 2 * filled, job.rows)
    step = max(traffic / (efficiency.bandwidth * hardware.bandwidth), flops / rate(job, hardware, efficiency))
    rounds = -(-job.share // job.prompts_at_once)
    return rounds * tokens * (step + job.shape.layers * efficiency.layer_seconds)


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
    """One forward pass over the whole rollout: FLOPs / rate + micro-batches x weight traffic / bandwidth."""
    count = sequences(job)
    flops = forward_flops(job, count * job.sequence, job.sequence, count * job.sampling.max_tokens)
    reading = micro_batches(job) * weight_traffic(job) / (efficiency.bandwidth * hardware.bandwidth)
    return flops / rate(job, hardware, efficiency) + reading


def optimizer_steps(job: Job) -> int:
    return job.update.num_iterations * job.update.minibatches


def optimizer_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """steps x 7 A w / n / bandwidth: AdamW reads weight, gradient and two moments, and writes all but the gradient."""
    traffic = 7 * job.trainable * job.trainable_bytes / job.shards
    return optimizer_steps(job) * traffic / (efficiency.bandwidth * hardware.bandwidth)


def gather_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """(n - 1) / n P w / wire: every device gets what it does not have of the weights."""
    away = (job.shards - 1) / job.shards * parameters(job.shape) * job.weight_bytes
    return away / wire(hardware, efficiency, job.shards)


def exchange_seconds(job: Job, hardware: Hardware, efficiency: Efficiency) -> float:
    """With each micro-batch, gathers for forward and backward, and gradients scattered, (n - 1) / n A w; with each
    optimizer step 2 (m - 1) / m of a shard's gradients between m copies.
    """
    trained = job.trainable * job.trainable_bytes
    scatter = (job.shards - 1) / job.shards * trained / wire(hardware, efficiency, job.shards)
    copies = job.gpus // job.shards
    reduce = 2 * (copies - 1) / copies * trained / job.shards / wire(hardware, efficiency, job.gpus)
    each = 2 * gather_seconds(job, hardware, efficiency) + scatter
    return job.update.num_iterations * micro_batches(job) * each + optimizer_steps(job) * reduce


def seconds(job: Job, hardware: Hardware, efficiency: Efficiency = Efficiency()) -> Parts:
    """Of each part of a step; without the rollout's where servers generate it."""
    one_pass = pass_seconds(job, hardware, efficiency)
    generating = {
        "gather": gather_seconds(job, hardware, efficiency),
        "prefill": prefill_seconds(job, hardware, efficiency),
        "decode": decode_seconds(job, hardware, efficiency),
    }
    look = one_pass + micro_batches(job) * gather_seconds(job, hardware, efficiency)
    return (generating if job.colocated else {}) | {
        "reference": look if job.reference else 0.0,
        "update": job.update.num_iterations * update_passes(job) * one_pass,
        "optimizer": optimizer_seconds(job, hardware, efficiency),
        "exchange": exchange_seconds(job, hardware, efficiency),
    }
