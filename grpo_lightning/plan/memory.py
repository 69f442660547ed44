"""Bytes on each device, part by part, in each phase of a step: rollout, the reference's look at it, update.

Letters: P parameters, V vocabulary, D hidden width, I width of the MLP, Q and K widths of all query and of all key
heads, L layers; T tokens that the model reads of a micro-batch, padding included, and N completion tokens that it is
asked for; B rows generated at once, C tokens of room in each. w bytes of a weight, c of what matrices compute in, r of
the residual stream and of a weight to be used. c = r = w, but c = 2 under mixed precision, and r = 2, too, where FSDP2
gathers in it.

Follows what this package does at its peak. That is the state after the first optimizer step, a micro-batch of the
longest sequences, and completions that all reach the limit.
"""

from grpo_lightning.generation import SamplingConfig
from grpo_lightning.generation.sampling import BLOCK
from grpo_lightning.generation.shared_cache import PREFILL_TOKENS
from grpo_lightning.head import PIECE_LOGITS, chunk_logits
from grpo_lightning.plan.job import Job, Load
from grpo_lightning.plan.shape import (
    LINEARS,
    embedding_parameters,
    layer_matrices,
    layer_parameters,
    linears,
    parameters,
)

Parts = dict[str, float]
"""Bytes by what they hold."""

FLOAT = 4
"""Bytes of a float32: log-probs, logits, statistics of norms."""


SHARING = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("down_proj",))
"""Matrices that get the same input, those of it that nothing else keeps."""


def shares(job: Job) -> Parts:
    """A device's share of what is kept from step to step, of n.

    weights P w / n, AdamW's two moments 2 P w / n, the reference P w / n. With adapters of A parameters, in float32:
    weights (P w + 4 A) / n, moments 8 A / n, and no reference, which is the policy without them.
    """
    whole, trained = job.stored(job.weight_bytes), job.trainable * job.trainable_bytes
    return {
        "weights": whole / job.shards,
        "optimizer": 2 * trained / job.shards,
        "reference": whole / job.shards if job.reference and not job.lora_rank else 0.0,
    }


def gradient_bytes(job: Job) -> float:
    """P w / n, or 4 A / n: from a step's first micro-batch to its end."""
    return job.trainable * job.trainable_bytes / job.shards


def on_host(job: Job) -> float:
    """Bytes for each device in the memory of its host: with `cpu_offload` all shares, those of gradients, too."""
    return sum(shares(job).values()) + gradient_bytes(job) if job.offload else 0.0


def held(job: Job) -> Parts:
    """What stays through all phases: the shares, unless they are on the host; DDP's buckets, P w, which hold all
    gradients once more and are never freed; and an engine that does not sleep.
    """
    copies = job.gpus > 1 and not job.sharded
    return {name: 0.0 if job.offload else size for name, size in shares(job).items()} | {
        "buckets": gradient_bytes(job) if copies else 0.0,
        "engine": 0.0 if job.engine_sleeps else job.engine_memory,
    }


def gathered(job: Job) -> float:
    """Of a sharded model while no gradient is needed: all of it, P r; layerwise, what two layers and those outside of
    them are.
    """
    if not job.sharded:
        return 0.0
    return two_layers(job) if job.layerwise else job.stored(job.working_bytes)


def two_layers(job: Job) -> float:
    """Embeddings and head whole, and two layers: one works, the next arrives."""
    r, layers = job.working_bytes, job.shape.layers
    outside = embedding_parameters(job.shape) * r
    return outside + 2 * (job.stored(r) - outside) / layers


# ------------------------------------------------------------------------------------------------------------- rollout


def cached_tokens(job: Job, prompt: float, own: float) -> float:
    """P prompt + B own: a prompt is kept once for its group; for each row where attention is not `sdpa`."""
    return (job.prompts_at_once if job.attention == "sdpa" else job.rows) * prompt + job.rows * own


def kept(job: Job) -> int:
    """k, bytes of a number that the cache keeps: c, but 4 on a CPU where prompts are shared."""
    shared_on_cpu = job.device == "cpu" and job.attention == "sdpa"
    return max(job.compute_bytes, FLOAT) if shared_on_cpu else job.compute_bytes


def cache_bytes(job: Job) -> float:
    """2 L K k for each token that is kept: of all prompts, and of completions as if all reached the limit."""
    tokens = cached_tokens(job, job.prompt_tokens, job.sampling.max_tokens)
    return 2 * job.shape.layers * tokens * job.shape.keys * kept(job)


def sampling_copies(sampling: SamplingConfig, vocabulary: int) -> float:
    """How many times B x V floats are alive while a token is drawn.

    Logits and probabilities are 2; a temperature adds the scaled logits, a repetition penalty a mask of tokens seen (1
    byte) and the penalised logits, also scaled. Beside them are the cumulative sums of a small vocabulary, 1; for top_k
    and min_p a mask and what it leaves, 1.25; for top_p the sorted values, their order (8 bytes), the sum before each,
    the zeros and what is scattered into them, 6.
    """
    scaled = sampling.temperature not in (0, 1)
    copies = 2.0 + scaled + (sampling.repetition_penalty != 1) * (1.25 + scaled)
    truncating = 6.0 if sampling.top_p < 1 else 1.25 * (sampling.top_k > 0 or sampling.min_p > 0)
    return copies + max(truncating, 1.0 * (vocabulary < 2 * BLOCK))


def rows_bytes(job: Job) -> float:
    """A uniform number, 4, for each token to come."""
    return job.rows * 4 * job.sampling.max_tokens


def sampling_bytes(job: Job) -> float:
    """copies x 4 B V."""
    return sampling_copies(job.sampling, job.shape.vocabulary) * FLOAT * job.rows * job.shape.vocabulary


def prefill_bytes(job: Job) -> float:
    """3 I c + 3 D r for each prompt token at once: the MLP's gate, up and product, beside the stream and its norm."""
    s = job.shape
    tokens = min(job.prompts_at_once * job.prompt_tokens, max(PREFILL_TOKENS, job.prompt_tokens))
    return tokens * (3 * s.intermediate * job.compute_bytes + 3 * s.hidden * job.working_bytes)


def decode_bytes(job: Job) -> float:
    """The next logits: 4 B V, and B V c where they are not float32 at first; or one layer's scores and their softmax,
    2 B H C k, H heads, or its completions, B T K k, twice, as their room grows. The largest counts.
    """
    s, c = job.shape, job.compute_bytes
    logits = job.rows * s.vocabulary * (FLOAT + (c if c == 2 else 0))
    scores = 2 * job.rows * s.heads * job.sequence * kept(job)
    growing = 2 * job.rows * job.sampling.max_tokens * s.keys * kept(job)
    return max(logits, scores, growing)


def kept_casts(job: Job) -> float:
    """2 bytes for each element of matrices, adapters and head that autocast casts: once for the rollout."""
    if not job.casts:
        return 0.0
    s = job.shape
    whole = 0 if job.quantized else s.layers * layer_matrices(s) + s.vocabulary * s.hidden
    return 2.0 * (job.adapters + whole)


def packed(job: Job) -> int:
    """On a CPU, c for each element of a matrix, which decoding has in another layout, unless it is cast anyway: see
    `kept_casts`.
    """
    if job.device != "cpu" or job.quantized or job.casts:
        return 0
    s = job.shape
    return job.compute_bytes * (s.layers * layer_matrices(s) + s.vocabulary * s.hidden)


WORK = (prefill_bytes, decode_bytes, sampling_bytes)


def rollout(job: Job) -> Parts:
    """While completions are generated: what is held, the weights that are gathered or cast, the cache, and the largest
    of prefill, decoding and drawing a token. For an engine with weights of its own: see `elsewhere`.
    """
    if not job.colocated:
        return held(job) | elsewhere(job)
    drawing = job.drawing
    return held(job) | {
        "gathered": gathered(drawing) + kept_casts(drawing) + packed(drawing),
        "cache": cache_bytes(drawing),
        "working": rows_bytes(drawing) + max(work(drawing) for work in WORK) + dequantized(drawing),
    }


def elsewhere(job: Job) -> Parts:
    """Sharded weights are gathered as they are stored to be sent: one after another, of which the embedding's, V D w,
    is the largest, or for a folder (on rank 0) and for a colocated engine all, P w. The latter then wakes, if it
    slept, with 2 P for its own copy; or, when those are gone, has all its memory.
    """
    tensor = job.shape.vocabulary * job.shape.hidden * job.weight_bytes
    sent = tensor if job.engine == "nccl" else parameters(job.shape) * job.weight_bytes
    sent *= job.sharded and not job.offload
    if job.engine != "colocated":
        return {"gathered": sent}
    own = 2 * parameters(job.shape) if job.engine_sleeps else job.engine_memory
    if sent + own > job.engine_memory:
        return {"gathered": sent, "engine": own}
    return {"engine": job.engine_memory}


def dequantized(job: Job) -> float:
    """D I c: one matrix of those in 4 bits, as it is multiplied."""
    return job.shape.hidden * job.shape.intermediate * job.compute_bytes if job.quantized else 0.0


# -------------------------------------------------------------------------------------------------------------- update


def input_bytes(job: Job) -> float:
    """Per token, what a layer's matrices keep of their inputs for gradients of their own, attention's result aside.

    All weights: D i + I c, i = 2 c where inputs are shared (queries, keys and values one; gate and up one) and 5 c in
    mixed precision, where each matrix casts its own. Adapters of rank k: a of each shared input that any of them has,
    or, where each has a copy, of all their inputs, attention's result included; and k a each, of what lies between
    their two matrices.
    """
    s, c = job.shape, job.compute_bytes
    if not job.lora_rank:
        return s.hidden * (5 if job.casts else 2) * c + s.intermediate * c
    adapted = job.lora_modules or LINEARS
    width = {name: size for name, (size, _) in zip(LINEARS, linears(s), strict=True)}
    inputs = adapted if job.adapters_copy else [names[0] for names in SHARING if set(names) & set(adapted)]
    return job.adapted_bytes * (sum(width[name] for name in inputs) + job.lora_rank * len(adapted))


def cast_bytes(job: Job) -> int:
    """Where autocast casts: matrices and adapters of a layer once more, 2 bytes for each element."""
    matrices = layer_matrices(job.shape) if job.casts else 0
    adapters = job.adapters // job.shape.layers if job.mixed and not job.sharded else 0
    return 2 * (matrices + adapters)


def attention_bytes(job: Job, load: Load) -> float:
    """What attention keeps in a layer, with h heads: 2 Q c + 4 h for each query, which are itself, its result and a
    statistic of its softmax; 2 K c for each key, with its value; but 2 Q c where there is a mask, for which keys are
    copied for every head, only not on a CPU where prompts are shared. Where sequences are packed each layer has a mask
    of its own, c for each element.
    """
    s, c = job.shape, job.compute_bytes
    width = s.keys if job.ragged or (job.shared and job.device == "cpu") else s.queries
    own = 0 if job.shared else load.mask * c
    kept = load.queries * (2 * s.queries * c + FLOAT * s.heads)
    return kept + 2 * c * (load.keys * s.keys + load.masked * width) + own


def normed(job: Job, size: int) -> int:
    """What a norm of elements of this size keeps of each beside its input: to train, what it multiplies by its weight,
    but in float32, where it is made again.
    """
    return 0 if size == FLOAT or job.lora_rank else size


def layer_activations(job: Job, load: Load) -> float:
    """What a layer keeps for the backward pass; with h heads, k key heads:

    T [2 D (4 + n) + inputs + q + o + 2 I c + 8] + attention + casts

    Its two norms keep their input in float32 and a statistic of 4 bytes each, and n: see `normed`; the matrices their
    inputs; the MLP gate and up. A norm of queries and keys adds q = (Q + K) (4 + n) + 4 (h + k). Where prompts are
    shared by rectangles, attention's result is kept once more, in the order of the tokens, where the matrix behind it
    or its adapter trains: o = Q c.
    """
    s, c, trains = job.shape, job.compute_bytes, not job.lora_rank
    token = 2 * s.hidden * (FLOAT + normed(job, job.working_bytes)) + input_bytes(job)
    token += 2 * s.intermediate * c + 2 * FLOAT
    if s.qk_norm:
        token += (s.queries + s.keys) * (FLOAT + normed(job, c)) + FLOAT * (s.heads + s.kv_heads)
    adapted = "o_proj" in (job.lora_modules or LINEARS) and not job.adapters_copy
    if job.shared and not job.ragged and (trains or adapted):
        token += s.queries * c
    return load.tokens * token + attention_bytes(job, load) + cast_bytes(job)


def stored_activations(job: Job, load: Load) -> float:
    """L layers; checkpointed, only the residual stream that enters each: L T D r. Once for all layers, a mask: a byte
    for each element, and where prompts are shared c, which is added to the scores. Where tokens stand is neglected: 8
    bytes for each query and key.
    """
    mask = load.mask * (1 + job.shared * job.compute_bytes)
    if job.checkpointing:
        return mask + job.shape.layers * load.tokens * job.shape.hidden * job.working_bytes
    return mask + job.shape.layers * layer_activations(job, load)


def head_bytes(job: Job, load: Load) -> float:
    """The last norm T D (4 + n), its result T D r, the completion's part of it N D r, and n V floats for a chunk of n
    tokens, with half as many bytes of what is multiplied in 16 bit: in the forward pass beside a piece of as many
    probabilities, in the backward pass beside the gradient of the head, V D r, which is more; of several chunks, the
    gradient of those before once more. On a GPU a chunk is n V c, and no gradient is beside it but one of the head.
    """
    s, r = job.shape, job.working_bytes
    rows = min(load.completion, max(1, chunk_logits(job.device) // s.vocabulary))
    logits, gradient = FLOAT * rows * s.vocabulary, embedding_gradient(job)
    copies = (s.vocabulary + load.completion) * s.hidden * 2 if job.casts else 0
    hidden = load.tokens * s.hidden * (FLOAT + normed(job, r) + r) + load.completion * s.hidden * r
    if job.device == "cuda":
        return hidden + copies + job.compute_bytes * rows * s.vocabulary + gradient
    chunk = logits if job.compute_bytes == FLOAT else logits + logits // 2
    before = gradient if load.completion > rows else 0.0
    return hidden + copies + before + chunk + max(min(logits, FLOAT * PIECE_LOGITS), gradient)


def backward_bytes(job: Job, load: Load) -> float:
    """In a layer: gradients of the MLP's insides, 2 T I c beyond what they replace, or of all that attention keeps,
    when the MLP's 2 T I c are gone; of the stream, 2 T D r; and of one matrix, D I r. Checkpointed, also all that a
    layer keeps.
    """
    s, inside = job.shape, load.tokens * job.shape.intermediate * job.compute_bytes
    gradients = max(2 * inside, attention_bytes(job, load) - 2 * inside)
    gradients += 2 * load.tokens * s.hidden * job.working_bytes
    matrix = dequantized(job) if job.lora_rank else s.hidden * s.intermediate * job.working_bytes
    return gradients + matrix + (layer_activations(job, load) if job.checkpointing else 0)


def embedding_gradient(job: Job) -> float:
    """V D r, when all else is freed: the gradient before it is added up."""
    return 0.0 if job.lora_rank else job.shape.vocabulary * job.shape.hidden * job.working_bytes


def last_gradients(job: Job) -> float:
    """At the end of a backward pass: the embedding's. Sharded, those of all that is outside of the layers, whole, and
    once more in the type they are added up in.
    """
    if job.lora_rank or not job.sharded:
        return embedding_gradient(job)
    return embedding_parameters(job.shape) * (job.working_bytes + job.reduced_bytes)


def scattered(job: Job) -> float:
    """Of a sharded model: one layer's gradients, whole, and once more in the type they are added up in."""
    if job.lora_rank or not job.sharded:
        return 0.0
    return layer_parameters(job.shape) * (job.working_bytes + job.reduced_bytes)


def micro_batch_peak(job: Job, rows: int, *, first: bool) -> Parts:
    """While so many sequences pass forward and back: gradients, activations, and the largest of head, the last layer's
    backward pass and the embedding's. The first micro-batch of a step finds no gradients: they come as activations go.
    Sharded, each makes whole ones of its own, a layer at a time.
    """
    load, gradients = job.load(rows), 0.0 if job.offload else gradient_bytes(job)
    stored = stored_activations(job, load)
    before = 0.0 if first else gradients
    head = embedding_gradient(job) if first or job.sharded else 0.0
    peaks = {
        "head": before + stored + head_bytes(job, load),
        "layer": before + stored + head + backward_bytes(job, load) + scattered(job),
        "embedding": gradients + last_gradients(job),
    }
    most = max(peaks, key=lambda name: peaks[name])
    there = gradients if most == "embedding" else before
    kept = 0.0 if most == "embedding" else stored
    return {"gradients": there, "activations": kept, "working": peaks[most] - there - kept}


def update(job: Job) -> Parts:
    """What is held, layers as they are gathered, and the larger of a step's first micro-batch and a later one. A later
    one is full where there are sequences for two.
    """
    rows, all_rows = job.micro_batch_rows, job.minibatch_rows
    passes = [micro_batch_peak(job, rows, first=True)]
    if all_rows > rows:
        passes.append(micro_batch_peak(job, min(rows, all_rows - rows), first=False))
    most = max(passes, key=lambda parts: sum(parts.values()))
    return held(job) | {"gathered": two_layers(job) if job.sharded else 0.0} | most


def look(job: Job) -> Parts:
    """While the reference, or the policy itself, reads the rollout without gradients: beside what is held and gathered,
    the largest of a layer's MLP, T (3 I c + 3 D r), its attention, T ((Q + 2 K) c + 3 D r) and what it would keep, and
    the head.
    """
    load, s, c = job.load(job.micro_batch_rows), job.shape, job.compute_bytes
    stream = 3 * load.tokens * s.hidden * job.working_bytes + dequantized(job)
    mlp = 3 * load.tokens * s.intermediate * c
    attention = load.tokens * (s.queries + 2 * s.keys) * c + attention_bytes(job, load)
    working = max(stream + mlp, stream + attention, head_bytes(job, load))
    return held(job) | {"gathered": gathered(job), "working": working}


def phases(job: Job) -> dict[str, Parts]:
    """Every phase of a step, in order."""
    looks = {"look": look(job)} if job.reference or job.looks_again else {}
    return {"rollout": rollout(job)} | looks | {"update": update(job)}
