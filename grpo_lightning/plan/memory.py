"""Bytes on each device, part by part, in each phase of a step: rollout, the reference's look at it, update.

Letters: P parameters, V vocabulary, D hidden width, I width of the MLP, Q and K widths of all query and of all key
heads, L layers; T tokens of a micro-batch, padding included, N of them completion tokens; B rows generated at once, C
tokens of room in each. w bytes of a weight, c of what matrices compute in, r of the residual stream.

Follows what this package does at its peak. That is the state after the first optimizer step, a micro-batch of the
longest sequences, and completions that all reach the limit.
"""

from grpo_lightning.generation import SamplingConfig
from grpo_lightning.logprobs import CHUNK_LOGITS
from grpo_lightning.plan.job import Job
from grpo_lightning.plan.shape import embedding_parameters, layer_matrices, layer_parameters, parameters

Parts = dict[str, float]
"""Bytes by what they hold."""

FLOAT = 4
"""Bytes of a float32: log-probs, logits, statistics of norms, adapters."""


def held(job: Job) -> Parts:
    """What stays through both phases, on each of n shards.

    weights P w / n, gradients P w / n (they live until the next step clears them), AdamW's two moments 2 P w / n, the
    reference P w / n. With adapters of A parameters in float32: weights (P w + 4 A) / n, gradients 4 A / n, moments
    8 A / n, and no reference, which is the policy without them.
    """
    whole, trained = parameters(job.shape) * job.weight_bytes, job.trainable * job.trainable_bytes
    return {
        "weights": (whole + (trained if job.lora_rank else 0)) / job.shards,
        "gradients": trained / job.shards,
        "optimizer": 2 * trained / job.shards,
        "reference": whole / job.shards if job.reference and not job.lora_rank else 0.0,
    }


# ------------------------------------------------------------------------------------------------------------- rollout


def cache_bytes(job: Job) -> float:
    """L B C K (key bytes + value bytes): a full buffer for every row.

    Rotary embeddings are of the residual stream's type and so are the keys they turn; values are of the matrices'.
    """
    s = job.shape
    return s.layers * job.rows * job.sequence * s.keys * (max(job.weight_bytes, job.compute_bytes) + job.compute_bytes)


def sampling_copies(sampling: SamplingConfig) -> float:
    """How many times B x V floats are alive while a token is drawn.

    Logits, scaled logits, log-probs, probabilities and their cumulative sum are 5. top_p holds beside the first four
    the sorted values, their order (8 bytes), the sum before each, the zeros and what is scattered into them: 10. Other
    truncation adds a mask (1 byte) to the 5, a repetition penalty the mask of tokens seen.
    """
    copies = 10.0 if sampling.top_p < 1 else 5.0 + 0.25 * (sampling.top_k > 0 or sampling.min_p > 0)
    return copies + 0.25 * (sampling.repetition_penalty != 1)


def rows_bytes(job: Job) -> float:
    """Per row: token 8, log-prob 4 and uniform number 4 for each completion token, a mask of 8 for each of all C."""
    return job.rows * (16 * job.sampling.max_tokens + 8 * job.sequence)


def sampling_bytes(job: Job) -> float:
    """copies x 4 B V."""
    return sampling_copies(job.sampling) * FLOAT * job.rows * job.shape.vocabulary


def prefill_bytes(job: Job) -> float:
    """3 I c + 3 D r for each prompt token: the MLP's gate, up and product, beside the stream and its norm."""
    tokens, s = job.prompts_at_once * job.prompt_tokens, job.shape
    return tokens * (3 * s.intermediate * job.compute_bytes + 3 * s.hidden * job.weight_bytes)


def repeat_bytes(job: Job) -> float:
    """When a group's rows get their prompt's state: logits 4 B V, one layer's filled cache of B rows once more, and
    what it was copied from.
    """
    layer = cache_bytes(job) / job.shape.layers
    copied = layer * job.prompt_tokens / job.sequence + layer / job.group_size
    return FLOAT * job.rows * job.shape.vocabulary + copied


def decode_bytes(job: Job) -> float:
    """The last logits, 4 B V, beside the next: 4 B V, and B V c where they are not float32 at first. Mixed precision
    also casts the head to the matrices' type, V D c, and one layer's keys, B C K c, of which the larger counts.
    """
    s, c = job.shape, job.compute_bytes
    logits = job.rows * s.vocabulary
    head = FLOAT * logits + (logits * c if c == 2 else 0) + (s.vocabulary * s.hidden * c if job.casts else 0)
    keys = job.rows * job.sequence * s.keys * c if job.casts else 0
    return FLOAT * logits + max(head, keys)


WORK = (prefill_bytes, repeat_bytes, decode_bytes, sampling_bytes)


def rollout(job: Job) -> Parts:
    """While completions are generated: what is held, a whole copy of sharded weights, the cache, and the largest of
    prefill, its repetition, decoding and drawing a token.
    """
    if not job.colocated:
        return held(job)
    return held(job) | {
        "gathered": parameters(job.shape) * job.weight_bytes if job.shards > 1 else 0.0,
        "cache": cache_bytes(job),
        "working": rows_bytes(job) + max(work(job) for work in WORK),
    }


# -------------------------------------------------------------------------------------------------------------- update


def layer_activations(job: Job, tokens: int) -> float:
    """What a layer keeps for the backward pass; with t = T, h heads, k key heads:

    t [2 D (4 + r) + D i + q + 2 (Q + K) c + 4 I c + 4 (2 + h)]

    Its two norms keep their input in float32 and the normed; the matrices their inputs, i = 2 c where they share them
    (queries, keys and values one; gate and up one) and 5 c in mixed precision, where each casts its own; attention its
    queries, keys, values and result; the MLP gate, its activation, up and product; norms and softmax 4 bytes per token
    and head. A norm of queries and keys adds q = (Q + K) (4 + c) + 4 (h + k). In mixed precision the matrices are kept,
    too, as cast: 2 bytes for each element. Packed sequences in sdpa need a mask, T T c, and with it keys and values as
    wide as the queries: 2 (Q - K) c more.
    """
    s, c = job.shape, job.compute_bytes
    token = 2 * s.hidden * (FLOAT + job.weight_bytes) + s.hidden * (5 if job.casts else 2) * c
    token += 2 * (s.queries + s.keys) * c + 4 * s.intermediate * c + FLOAT * (2 + s.heads)
    if s.qk_norm:
        token += (s.queries + s.keys) * (FLOAT + c) + FLOAT * (s.heads + s.kv_heads)
    if job.masked:
        token += tokens * c + 2 * (s.queries - s.keys) * c
    return tokens * token + (2 * layer_matrices(s) if job.casts else 0)


def stored_activations(job: Job, tokens: int) -> float:
    """L layers; checkpointed, only the residual stream that enters each: L T D r."""
    if job.checkpointing:
        return job.shape.layers * tokens * job.shape.hidden * job.weight_bytes
    return job.shape.layers * layer_activations(job, tokens)


def head_bytes(job: Job, tokens: int, completion: int) -> float:
    """The last norm T D (4 + r), its result T D r, the completion's part of it N D r, and n V floats for a chunk of n
    tokens: 4 of them in the forward pass (logits, log-probs, and two for the entropy), or, in the backward pass, one
    beside the gradient of the head, V D.
    """
    s, r = job.shape, job.weight_bytes
    chunk = FLOAT * min(completion, max(1, CHUNK_LOGITS // s.vocabulary)) * s.vocabulary
    gradient = 0 if job.lora_rank else s.vocabulary * s.hidden * r
    cast = (s.vocabulary + completion) * s.hidden * 2 if job.casts else 0
    hidden = tokens * s.hidden * (FLOAT + 2 * r) + completion * s.hidden * r
    return hidden + cast + max(4 * chunk, chunk + gradient)


def backward_bytes(job: Job, tokens: int) -> float:
    """In a layer: gradients of the MLP's insides, 2 T I c beyond what they replace, of the stream, 2 T D r, and of one
    matrix, D I w; checkpointed, also all that a layer keeps.
    """
    s = job.shape
    gradients = 2 * tokens * (s.intermediate * job.compute_bytes + s.hidden * job.weight_bytes)
    matrix = 0 if job.lora_rank else s.hidden * s.intermediate * job.weight_bytes
    return gradients + matrix + (layer_activations(job, tokens) if job.checkpointing else 0)


def embedding_gradient(job: Job) -> float:
    """V D w, when all else is freed: the gradient before it is added up."""
    return 0.0 if job.lora_rank else job.shape.vocabulary * job.shape.hidden * job.weight_bytes


def unsharded(job: Job) -> float:
    """Of a sharded model: embeddings and head whole, two layers (one works, the next arrives), and one layer's
    gradients twice, before and after they are scattered.
    """
    if job.shards == 1:
        return 0.0
    layer = layer_parameters(job.shape) * job.weight_bytes
    gradients = 0 if job.lora_rank else 2 * layer
    return embedding_parameters(job.shape) * job.weight_bytes + 2 * layer + gradients


def micro_batch_peak(job: Job, rows: int, *, first: bool) -> Parts:
    """While so many sequences pass forward and back: gradients, activations, and the largest of head, the last layer's
    backward pass and the embedding's. The first micro-batch of a step finds no gradients: they come as activations go.
    """
    tokens, gradients = rows * job.sequence, held(job)["gradients"]
    stored = stored_activations(job, tokens)
    before = 0.0 if first else gradients
    head = embedding_gradient(job) if first else 0.0
    peaks = {
        "head": before + stored + head_bytes(job, tokens, rows * job.sampling.max_tokens),
        "layer": before + stored + head + backward_bytes(job, tokens),
        "embedding": gradients + embedding_gradient(job),
    }
    most = max(peaks, key=lambda name: peaks[name])
    there = gradients if most == "embedding" else before
    kept = 0.0 if most == "embedding" else stored
    return {"gradients": there, "activations": kept, "working": peaks[most] - there - kept}


def update(job: Job) -> Parts:
    """What is held, layers as they are gathered, DDP's copy of the gradients, and the larger of a step's first
    micro-batch and a later one. A later one is full where there are sequences for two.
    """
    rows, all_rows = job.micro_batch_rows, job.minibatch_rows
    passes = [micro_batch_peak(job, rows, first=True)]
    if all_rows > rows:
        passes.append(micro_batch_peak(job, min(rows, all_rows - rows), first=False))
    most = max(passes, key=lambda parts: sum(parts.values()))
    buckets = job.trainable * job.trainable_bytes if job.gpus > 1 and job.shards == 1 else 0.0
    return held(job) | {"gathered": unsharded(job), "buckets": buckets} | most


def look(job: Job) -> Parts:
    """While the reference reads the rollout, without gradients of its own: beside what is held, the larger of a layer,
    T (3 I c + 3 D r), and the head.
    """
    rows, s = job.micro_batch_rows, job.shape
    tokens = rows * job.sequence
    layer = tokens * (3 * s.intermediate * job.compute_bytes + 3 * s.hidden * job.weight_bytes)
    head = head_bytes(job, tokens, rows * job.sampling.max_tokens)
    return held(job) | {"gathered": unsharded(job), "working": max(layer, head)}


def phases(job: Job) -> dict[str, Parts]:
    """Every phase of a step, in order."""
    return {"rollout": rollout(job)} | ({"reference": look(job)} if job.reference else {}) | {"update": update(job)}
