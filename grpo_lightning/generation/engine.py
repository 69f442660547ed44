"""The built-in engine: any transformers causal model, one decode loop.

A prompt is prefilled once for its whole group, the cache is allocated once, finished rows leave the batch, and the
log-probs come from the pass that samples. It is not a server: no paging, no continuous batching.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from grpo_lightning.generation.cache import preallocated_cache
from grpo_lightning.generation.contract import Engine, Rollout, SamplingConfig
from grpo_lightning.generation.sampling import draw, penalise_repetition, truncate, uniforms
from grpo_lightning.policy import project
from grpo_lightning.ranks import Ranks
from grpo_lightning.sharding import as_forward, inference, shards_of
from grpo_lightning.types import Completion, Group, Prompt, StopReason

COMPACT_AT = 0.8
"""Finished rows leave the cache when this share or less is still alive: copying costs, and so do dead rows."""

STOP_WINDOW = 16
"""Tokens decoded to look for a stop string, besides one for each of its characters."""


class BuiltinGenerator:
    """Generates with the module's own policy, in its process."""

    def __init__(self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.policy = policy
        self.tokenizer = tokenizer
        self.end_ids = frozenset(end_token_ids(policy, tokenizer))
        for layer in DynamicCache(config=policy.config).layers:
            if not isinstance(layer, DynamicLayer):
                raise ValueError(
                    f"policy.pretrained: {type(policy).__name__} keeps a {type(layer).__name__}, which the built-in "
                    "engine cannot share within a group; use a model with attention only"
                )

    def use_weights(self, version: int) -> None:
        """Nothing to do: it generates with the policy itself."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        group_size: int,
        sampling: SamplingConfig,
        seed: int,
        prefix: str = "",
        finished: Callable[[int, Group], None] | None = None,
    ) -> Rollout:
        was_training = self.policy.training
        self.policy.eval()
        forced = tuple(self.tokenizer.encode(prefix, add_special_tokens=False)) if prefix else ()
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
        step = max(1, sampling.max_rows // group_size)
        groups: dict[int, Group] = {}
        prefill = decode = gap = 0.0
        with inference(self.policy), torch.inference_mode(shards_of(self.policy) is None):
            for start in range(0, len(order), step):
                part = order[start : start + step]
                decoding = _Decoding(self, [prompts[i] for i in part], forced, group_size, sampling, seed)
                prefill += decoding.prefill()
                started = time.perf_counter()
                for place, completions in decoding.run(prefix):
                    i = part[place]
                    groups[i] = Group(prompt=prompts[i], completions=completions)
                    if finished is not None:
                        finished(i, groups[i])
                decode += time.perf_counter() - started
                gap += float(decoding.truncation_gap)
        self.policy.train(was_training)
        return Rollout(
            groups=tuple(groups[i] for i in range(len(prompts))),
            prefill_seconds=prefill,
            decode_seconds=decode,
            truncation_gap=gap,
        )


def end_token_ids(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that end a text: the tokenizer's, and all that the model's generation config names."""
    named = policy.generation_config.eos_token_id if policy.generation_config is not None else None
    ends = named if isinstance(named, list) else [named]
    return {end for end in [*ends, tokenizer.eos_token_id] if end is not None}


def stop_token_ids(tokenizer: PreTrainedTokenizerBase, sampling: SamplingConfig) -> set[int]:
    """The configured stop tokens, and those stop strings that are one special token, which decoding would not show."""
    special = {token: i for token, i in zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)}
    return set(sampling.stop_token_ids) | {special[stop] for stop in sampling.stop if stop in special}


@dataclass(frozen=True, kw_only=True)
class Builtin(Engine):
    """The policy itself in a decode loop of this project: nothing to install, start or keep in step."""

    def check(self, sampling: SamplingConfig) -> None:
        """Draws everything that a `SamplingConfig` says."""

    def start(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, sampling: SamplingConfig, ranks: Ranks
    ) -> BuiltinGenerator:
        return BuiltinGenerator(policy, tokenizer)


class _Decoding:
    """One batch from prefill to the last token: B = prompts x group_size rows, of which the live ones are computed."""

    def __init__(
        self,
        engine: BuiltinGenerator,
        prompts: Sequence[Prompt],
        forced: tuple[int, ...],
        group_size: int,
        sampling: SamplingConfig,
        seed: int,
    ) -> None:
        self.engine, self.sampling, self.group_size = engine, sampling, group_size
        self.policy, self.device = engine.policy, engine.policy.device
        self.prompt_ids = [prompt.token_ids + forced for prompt in prompts]
        self.stop_ids = stop_token_ids(engine.tokenizer, sampling)
        self.ends = torch.tensor(sorted(engine.end_ids | self.stop_ids), device=self.device)
        batch = len(prompts) * group_size
        keys = [(prompt.uid, sample) for prompt in prompts for sample in range(group_size)]
        self.uniform = uniforms(seed, keys, sampling.max_tokens).to(self.device)
        self.tokens = torch.zeros((batch, sampling.max_tokens), dtype=torch.long, device=self.device)
        self.logprobs = torch.zeros((batch, sampling.max_tokens), device=self.device)
        self.truncation_gap = torch.zeros((), dtype=torch.float64, device=self.device)
        self.lengths = torch.full((batch,), sampling.max_tokens, device=self.device)
        self.rows = torch.arange(batch, device=self.device)
        self.alive = torch.ones(batch, dtype=torch.bool, device=self.device)

    def prefill(self) -> float:
        """Runs the prompts, left-padded, once each, and hands their state to every row of their group."""
        started = time.perf_counter()
        width = max(map(len, self.prompt_ids))
        ids = torch.zeros((len(self.prompt_ids), width), dtype=torch.long, device=self.device)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(self.prompt_ids):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        self.cache: DynamicCache = preallocated_cache(self.policy.config, width + self.sampling.max_tokens)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        padded = bool((mask == 0).any())
        self.logits = self._forward(ids, positions, mask if padded else None).repeat_interleave(self.group_size, 0)
        self.cache.batch_repeat_interleave(self.group_size)
        self.position = (positions[:, -1] + 1).repeat_interleave(self.group_size)
        self.mask = None
        if padded:
            room = mask.new_ones((len(mask), self.sampling.max_tokens))
            self.mask = torch.cat([mask, room], dim=1).repeat_interleave(self.group_size, 0)
        self.seen = self._seen(ids, mask) if self.sampling.repetition_penalty != 1 else None
        self.width = width
        return time.perf_counter() - started

    def run(self, prefix: str) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Decodes until every row has stopped or reached the length limit. Yields each group by its place, as it ends.

        Which rows live is looked up only where their number, which each step reads, has fallen.
        """
        unfinished = set(range(len(self.prompt_ids)))
        alive = len(self.alive)
        for step in range(self.sampling.max_tokens):
            token = self._sample(step)
            self._stop(token, step)
            before, alive = alive, int(self.alive.sum())
            if step == self.sampling.max_tokens - 1:
                alive = 0
            if alive < before:
                live = set((self.rows[self.alive] // self.group_size).tolist()) if alive else set()
                for place in sorted(unfinished - live):
                    yield place, self._completions(place, prefix)
                unfinished = live
            if alive == 0:
                break
            if alive <= COMPACT_AT * len(self.alive):
                token = self._compact(token)
            mask = None if self.mask is None else self.mask[:, : self.width + step + 1]
            self.logits = self._forward(token[:, None], self.position[:, None], mask)
            self.position = self.position + 1

    def _completions(self, place: int, prefix: str) -> tuple[Completion, ...]:
        """A finished group's rows as records."""
        own = slice(place * self.group_size, (place + 1) * self.group_size)
        lengths = self.lengths[own].tolist()
        tokens, logprobs = (rows[own, : max(lengths)].tolist() for rows in (self.tokens, self.logprobs))
        ids = [tuple(row[:length]) for row, length in zip(tokens, lengths, strict=True)]
        texts = self.engine.tokenizer.batch_decode([list(row) for row in ids], skip_special_tokens=True)
        return tuple(
            Completion(
                token_ids=row,
                sampler_logprobs=tuple(logprob[: len(row)]),
                text=prefix + text,
                stop_reason=self._stop_reason(row, text),
            )
            for row, logprob, text in zip(ids, logprobs, texts, strict=True)
        )

    def _forward(
        self, ids: Int[Tensor, "B S"], positions: Int[Tensor, "B S"], mask: Int[Tensor, "B C"] | None
    ) -> Float[Tensor, "B V"]:
        return as_forward(self.policy, _next_logits)(ids, positions, mask, self.cache)

    def _sample(self, step: int) -> Int[Tensor, " B"]:
        """Draws the next token of each row, and writes it and its log-prob down for the rows still alive."""
        greedy = self.sampling.temperature == 0
        scaled = self.logits if greedy else self.logits / self.sampling.temperature
        logprobs = torch.log_softmax(scaled, dim=-1)
        if self.seen is not None:
            penalised = penalise_repetition(self.logits, self.seen, self.sampling.repetition_penalty)
            scaled = penalised if greedy else penalised / self.sampling.temperature
        if greedy:
            token = scaled.argmax(dim=-1)
        else:
            probs = truncate(logprobs.exp() if self.seen is None else torch.softmax(scaled, dim=-1), self.sampling)
            token = draw(probs, self.uniform[self.rows, step])
        live = self.rows[self.alive]
        self.tokens[live, step] = token[self.alive]
        self.logprobs[live, step] = logprobs.gather(1, token[:, None]).squeeze(1)[self.alive].float()
        if self.sampling.truncates and not greedy:
            drawn = (probs.gather(1, token[:, None]).squeeze(1) / probs.sum(dim=-1)).log()[self.alive]
            self.truncation_gap += (drawn - self.logprobs[live, step]).sum()
        if self.seen is not None:
            self.seen.scatter_(1, token[:, None], True)
        return token

    def _stop(self, token: Int[Tensor, " B"], step: int) -> None:
        """Marks the rows that end with this token and notes their length."""
        stopped = torch.isin(token, self.ends)
        if self.sampling.stop:
            stopped = stopped | self._ends_with_stop_string(step)
        ended = self.alive & stopped
        self.lengths[self.rows[ended]] = step + 1
        self.alive = self.alive & ~stopped

    def _ends_with_stop_string(self, step: int) -> Bool[Tensor, " B"]:
        window = max(map(len, self.sampling.stop)) + STOP_WINDOW
        tails = self.tokens[self.rows, max(0, step + 1 - window) : step + 1].tolist()
        texts = self.engine.tokenizer.batch_decode(tails, skip_special_tokens=True)
        found = [any(stop in text for stop in self.sampling.stop) for text in texts]
        return torch.tensor(found, device=self.device)

    def _compact(self, token: Int[Tensor, " B"]) -> Int[Tensor, " alive"]:
        """Drops the finished rows; returns the tokens of those that stay."""
        keep = self.alive.nonzero().squeeze(1)
        self.cache.batch_select_indices(keep)
        self.rows, self.alive, self.position = self.rows[keep], self.alive[keep], self.position[keep]
        self.mask = None if self.mask is None else self.mask[keep]
        self.seen = None if self.seen is None else self.seen[keep]
        return token[keep]

    def _seen(self, ids: Int[Tensor, "P L"], mask: Int[Tensor, "P L"]) -> Bool[Tensor, "B V"]:
        counts = torch.zeros((len(ids), self.logits.shape[-1]), dtype=torch.long, device=self.device)
        return (counts.scatter_add_(1, ids, mask) > 0).repeat_interleave(self.group_size, 0)

    def _stop_reason(self, token_ids: tuple[int, ...], text: str) -> StopReason:
        if token_ids[-1] in self.engine.end_ids:
            return "eos"
        if token_ids[-1] in self.stop_ids or any(stop in text for stop in self.sampling.stop):
            return "stop"
        return "length"


def _next_logits(
    policy: PreTrainedModel,
    ids: Int[Tensor, "B S"],
    positions: Int[Tensor, "B S"],
    mask: Int[Tensor, "B C"] | None,
    cache: DynamicCache,
) -> Float[Tensor, "B V"]:
    """Of the token behind the last one; `cache` takes in what is new."""
    output = policy.base_model(
        input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
    )
    return project(policy, output[0][:, -1])
