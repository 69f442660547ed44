"""The built-in engine's loop: groups of rows are admitted, draw a token at a time, and leave as they end.

The device holds what the next token needs, of each row; which completion that is, what it has said so far and whether
it has ended is known here, from one small read at each step.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grpo_lightning.generation.cache import Cache
from grpo_lightning.generation.completions import Endings
from grpo_lightning.generation.recorder import Recorder
from grpo_lightning.generation.sampling import sample, uniforms
from grpo_lightning.types import Completion

FEWEST = 4
"""Rows of a step, finished ones among them, as long as any is alive: for fewer a CPU's products take longer."""

ADMIT_AT = 0.25
"""Share of `max_rows` that is free before prompts that wait are admitted: each time all that is held is copied."""


@dataclass(slots=True)
class Row:
    """One completion."""

    place: int
    """Of its prompt."""
    steps: int = 0
    """Tokens drawn while it is held, also those behind its end."""
    ended: bool = False
    stopped: bool = False
    """By a stop string."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class Decoding:
    """One rollout. Prompts are admitted in their order, as many at once as `max_rows` has place for."""

    def __init__(
        self,
        cache: Cache,
        endings: Endings,
        prompts: Sequence[Sequence[int]],
        uids: Sequence[int],
        group_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.cache, self.endings, self.sampling, self.device = cache, endings, endings.sampling, device
        self.prompts, self.uids, self.seed = prompts, uids, seed
        self.group_size = group_size
        self.groups = [[Row(place) for _ in range(group_size)] for place in range(len(prompts))]
        self.waiting = 0
        """The first prompt that waits."""
        self.held: list[Row] = []
        self.uniform = torch.empty((0, self.sampling.max_tokens), device=device)
        self.steps = torch.empty(0, dtype=torch.long, device=device)
        self.seen: Bool[Tensor, "B V"] | None = None
        self.prefill_seconds = self.truncation_gap = 0.0
        self.recorder = Recorder()

    def run(self) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Each prompt's place and completions, as soon as the last of them has ended."""
        tokens = self.steps
        while (drawn := self._advance(tokens)) is not None:
            tokens, told = drawn
            for place in sorted(self._note(told)):
                if all(row.ended for row in self.groups[place]):
                    yield place, tuple(self._record(row) for row in self.groups[place])
                    self.groups[place] = []

    def _advance(self, tokens: Int[Tensor, " held"]) -> tuple[Int[Tensor, " B"], Float[Tensor, "B _"]] | None:
        """Drops rows, takes in these tokens of the others and admits more. Returns what all draw next; None at the end.

        A row that has ended goes at the latest when there is no more room for it.
        """
        live = [i for i, row in enumerate(self.held) if not row.ended]
        count = self._admissible(len(live))
        full = any(row.steps == self.sampling.max_tokens for row in self.held)
        kept = live if count else self._filled_up(live)
        if self.held and (count or full or len(kept) <= self.cache.compact_at * len(self.held)):
            tokens = self._drop(kept, tokens)
        if self.held:
            self.cache.begin()
        if not count:
            return self._next(tokens) if self.held else None
        logits = [self.cache.step(tokens)] if self.held else []
        logits.append(self._admit(count))
        return self._draw(torch.cat(logits) if len(logits) > 1 else logits[0])

    def _next(self, tokens: Int[Tensor, " B"]) -> tuple[Int[Tensor, " B"], Float[Tensor, "B _"]]:
        """Takes in these tokens and draws the next: replayed, where nothing else was done since."""
        if self.cache.records:
            drawn, told = self.recorder(self._step, tokens, self.cache.arranged)
            return drawn, told
        return self._step(tokens)

    def _step(self, tokens: Int[Tensor, " B"]) -> tuple[Int[Tensor, " B"], Float[Tensor, "B _"]]:
        return self._draw(self.cache.step(tokens))

    def _filled_up(self, live: Sequence[int]) -> list[int]:
        """Where fewer than `FEWEST` rows are alive, finished ones beside them, in order."""
        ended = [i for i, row in enumerate(self.held) if row.ended and row.steps < self.sampling.max_tokens]
        return sorted([*live, *ended[: FEWEST - len(live)]]) if 0 < len(live) < FEWEST else list(live)

    def _admissible(self, live: int) -> int:
        """How many of the waiting prompts are admitted now; a group larger than `max_rows` by itself."""
        waiting, most = len(self.prompts) - self.waiting, self.sampling.max_rows
        if live == 0:
            return min(waiting, max(1, most // self.group_size))
        if not self.cache.joins or most - live < ADMIT_AT * most:
            return 0
        return min(waiting, (most - live) // self.group_size)

    def _admit(self, count: int) -> Float[Tensor, "B V"]:
        """Prefills the next prompts; returns the logits of their rows."""
        started = time.perf_counter()
        places = range(self.waiting, self.waiting + count)
        self.waiting += count
        prompts = [self.prompts[place] for place in places]
        logits = self.cache.admit(prompts, self.group_size).repeat_interleave(self.group_size, 0)
        self.held += [row for place in places for row in self.groups[place]]
        keys = [(self.uids[place], sample) for place in places for sample in range(self.group_size)]
        uniform = uniforms(self.seed, keys, self.sampling.max_tokens).to(self.device)
        self.uniform = torch.cat([self.uniform, uniform])
        self.steps = torch.cat([self.steps, self.steps.new_zeros(len(keys))])
        if self.sampling.repetition_penalty != 1:
            seen = torch.zeros((count, logits.shape[1]), dtype=torch.bool, device=self.device)
            for row, prompt in zip(seen, prompts, strict=True):
                row[torch.tensor(prompt, device=self.device)] = True
            seen = seen.repeat_interleave(self.group_size, 0)
            self.seen = seen if self.seen is None else torch.cat([self.seen, seen])
        self.prefill_seconds += time.perf_counter() - started
        return logits

    def _drop(self, kept: Sequence[int], tokens: Int[Tensor, " held"]) -> Int[Tensor, " kept"]:
        """Keeps these rows only; returns their tokens."""
        self.cache.keep(kept)
        self.held = [self.held[i] for i in kept]
        index = torch.tensor(kept, dtype=torch.long, device=self.device)
        self.uniform, self.steps = self.uniform[index], self.steps[index]
        self.seen = None if self.seen is None else self.seen[index]
        return tokens[index]

    def _draw(self, logits: Float[Tensor, "B V"]) -> tuple[Int[Tensor, " B"], Float[Tensor, "B _"]]:
        """The next token of each row; and for the host that token, its log-prob and, where there is one, its gap."""
        uniform = self.uniform.gather(1, self.steps[:, None]).squeeze(1)
        drawn = sample(logits, uniform, self.seen, self.sampling)
        self.steps += 1
        if self.seen is not None:
            self.seen.scatter_(1, drawn.tokens[:, None], True)
        told = [drawn.tokens.to(drawn.logprobs.dtype), drawn.logprobs]
        if drawn.gaps is not None:
            told.append(drawn.gaps)
        return drawn.tokens, torch.stack(told, dim=1)

    def _note(self, told: Float[Tensor, "B _"]) -> set[int]:
        """Writes down what was drawn; returns the prompts of which a completion ends with it."""
        live = []
        for row, (token, logprob, *gap) in zip(self.held, told.tolist(), strict=True):
            row.steps += 1
            if not row.ended:
                row.tokens.append(int(token))
                row.logprobs.append(logprob)
                self.truncation_gap += sum(gap)
                live.append(row)
        stopped = self.endings.at_stop_string([row.tokens for row in live])
        for row, row.stopped in zip(live, stopped, strict=True):
            row.ended = row.stopped or row.tokens[-1] in self.endings.final_ids or row.steps == self.sampling.max_tokens
        return {row.place for row in live if row.ended}

    def _record(self, row: Row) -> Completion:
        return self.endings.completion(row.tokens, row.logprobs, stopped=row.stopped)
