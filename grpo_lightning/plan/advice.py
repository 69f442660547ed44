"""Whether a job fits a device, and what to change where it does not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from grpo_lightning.plan.job import Job
from grpo_lightning.plan.memory import on_host, phases

USABLE = 0.9
"""Of a device's memory: the rest is the driver's, the libraries', and what falls between blocks."""

MOST_GPUS = 64

RANK = 16
"""Of the adapters that are proposed."""

Change = tuple[str, Job]
"""What to set, and the job that results."""


def peak(job: Job) -> float:
    """Bytes at the largest phase."""
    return max(sum(parts.values()) for parts in phases(job).values())


def fits(job: Job, memory: float) -> bool:
    """Whether its peak is within what is usable of a device's memory."""
    return peak(job) <= USABLE * memory


def checkpointed(job: Job) -> Iterator[Change]:
    if not job.checkpointing:
        yield "model.policy.gradient_checkpointing: true", replace(job, checkpointing=True)


def smaller_micro_batches(job: Job) -> Iterator[Change]:
    """Half as many tokens, again and again, down to one sequence."""
    tokens = job.update.tokens_on(job.device)
    while tokens > job.sequence:
        tokens = max(tokens // 2, job.sequence)
        shrunk = replace(job.update, micro_batch_tokens=tokens)
        yield f"model.update.micro_batch_tokens: {tokens}", replace(job, update=shrunk)


def fewer_rows(job: Job) -> Iterator[Change]:
    """Half as many prompts at once, again and again, down to one group."""
    prompts = job.prompts_at_once
    while job.colocated and prompts > 1:
        prompts //= 2
        rows = prompts * job.group_size
        fewer = replace(job.sampling, max_rows=rows)
        yield f"model.sampling.max_rows: {rows}", replace(job, sampling=fewer)


def sharded(job: Job) -> Iterator[Change]:
    """Over the devices there are, then over twice as many, again and again."""
    if job.shards < job.gpus:
        yield f"trainer.strategy: fully_sharded over all {job.gpus} devices", replace(job, shards=job.gpus)
    gpus = job.gpus * 2
    while gpus <= min(MOST_GPUS, job.prompts):
        yield f"trainer.strategy: fully_sharded over {gpus} devices", replace(job, gpus=gpus, shards=gpus)
        gpus *= 2


def offloaded(job: Job) -> Iterator[Change]:
    if not job.offload:
        resting = replace(job, shards=job.gpus, fsdp=True, offload=True)
        need = f"{on_host(resting) / 1e9:.0f} GB of the host for each device"
        yield f"trainer.strategy: fully_sharded with cpu_offload: true ({need})", resting


def adapted(job: Job) -> Iterator[Change]:
    if not job.lora_rank and job.colocated:
        yield f"model.policy.adapter: {{rank: {RANK}}}", replace(job, lora_rank=RANK)


def halved(job: Job) -> Iterator[Change]:
    if job.weight_bytes == 4:
        half = replace(job, dtype="bfloat16", mixed=False)
        yield "model.policy.dtype: bfloat16 with trainer.precision: 32-true", half


def elsewhere(job: Job) -> Iterator[Change]:
    if job.colocated and not job.lora_rank:
        yield "model.engine: VLLMServer with weights: nccl, its servers on other devices", replace(job, engine="nccl")


CHANGES: tuple[Callable[[Job], Iterator[Change]], ...] = (
    checkpointed,
    fewer_rows,
    smaller_micro_batches,
    sharded,
    offloaded,
    adapted,
    halved,
    elsewhere,
)
"""From what costs only time to what changes the training or needs more machines."""


def advice(job: Job, memory: float) -> list[str] | None:
    """The fewest changes, mildest first, after which the job fits; none if it does already, None if none suffice.

    One change where one is enough; else several, without those that the milder ones make needless.
    """
    if fits(job, memory):
        return []
    for change in CHANGES:
        for text, changed in change(job):
            if fits(changed, memory):
                return [text]
    taken = list(reversed(CHANGES))
    if _apply(job, taken, memory) is None:
        return None
    for change in reversed(CHANGES):
        fewer = [each for each in taken if each is not change]
        if _apply(job, fewer, memory) is not None:
            taken = fewer
    return _apply(job, taken, memory)


def _apply(job: Job, changes: Sequence[Callable[[Job], Iterator[Change]]], memory: float) -> list[str] | None:
    """What to set when these are made one after the other, each as far as needed; None if that is not enough."""
    texts: list[str] = []
    for change in changes:
        found = job, ""
        for text, changed in change(job):
            if peak(changed) < peak(found[0]):
                found = changed, text
            if fits(changed, memory):
                break
        job, text = found
        texts += [text] if text else []
        if fits(job, memory):
            return texts
    return None
