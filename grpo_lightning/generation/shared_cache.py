"""Keys and values of a rollout: a prompt's once for its group, a completion's for its own row.

A row's query sees two parts: the prompt of its group, and the tokens of its own. All rows of a group ask their prompt
in one matrix product, and one softmax goes over both parts. So nothing of a prompt is repeated for each row, no padding
mask is handed to the model, and rows come and go without a copy of the prompt.

Letters beside those of the project: G groups held, B rows; J key heads, H = J R query heads; L tokens of the longest
prompt held, O tokens of room for a completion, C = L + O. A slot is a row's place in its group, S those of the largest
group: scores are kept by slots, and what the slots behind a group's last row hold is never read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from grpo_lightning.attention import Plan
from grpo_lightning.generation.cache import Cache

PREFILL_TOKENS = 2**14
"""Prompt tokens, padding included, that go through the model at once."""

Forward = Callable[[Tensor, Tensor, Tensor, Plan], Tensor]
"""Ids and positions, B x T, where each row's last token stands, and who sees whom -> the logits behind it, B x V."""

States = tuple[Tensor, Tensor]
"""Keys and values of one layer, each of rows x J x tokens x width."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Which row is where, in G groups of S slots."""

    groups: int
    size: int
    row: Int[Tensor, " GS"] | None
    """Of each slot; of one that is not taken, any. None: rows and slots are the same."""
    slot: Int[Tensor, " B"] | None
    """Of each row."""

    def spread(self, rows: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "G S ..."]:
        """From rows to slots."""
        return (rows if self.row is None else rows.index_select(0, self.row)).unflatten(0, (self.groups, self.size))

    def gather(self, slots: Shaped[Tensor, "G S ..."]) -> Shaped[Tensor, "B ..."]:
        """From slots to rows."""
        rows = slots.flatten(0, 1)
        return rows if self.slot is None else rows.index_select(0, self.slot)


def slots_of(groups: Sequence[int], count: int, device: torch.device) -> Slots:
    """`groups`: of each row, in order."""
    taken = [0] * count
    places = []
    for group in groups:
        places.append((group, taken[group]))
        taken[group] += 1
    size = max(taken, default=0)
    if len(groups) == count * size:
        return Slots(count, size, None, None)
    slot = torch.tensor([group * size + place for group, place in places], device=device)
    row = torch.zeros(count * size, dtype=torch.long, device=device)
    row[slot] = torch.arange(len(groups), device=device)
    return Slots(count, size, row, slot)


class SharedCache(Plan, Cache):
    """Rows lie in the order of their groups, groups in the order in which they were admitted."""

    joins = True
    growth = 16
    """Tokens by which the room for completions grows, or an eighth, if that is more: rows end all the while, so few
    ever need all of it; and all of it is multiplied, for memory with gaps is read at half the speed."""

    def __init__(self, forward: Forward, max_tokens: int, device: torch.device) -> None:
        self.forward, self.device, self.max_tokens = forward, device, max_tokens
        self.prompts: dict[nn.Module, States] = {}
        """Of each layer; those of shorter prompts are at the front of L."""
        self.completions: dict[nn.Module, States] = {}
        """Of each layer; those of a row are at the front of `room`."""
        self.room = 0
        self.level: int | None = None
        """The place of all rows' new tokens, if it is one."""
        self.since: Int[Tensor, "B C"] | None = None
        """How many of its own tokens a row has before the one that first sees a place; made when it is asked for."""
        self.masks: dict[int | None, Bool[Tensor, "G 1 S 1 C"]] = {}
        """What is not seen in this step, by the layers' window."""
        self.lengths: list[int] = []
        """Of each group, its prompt's tokens."""
        self.groups: list[int] = []
        """Of each row, its group's place."""
        self.filled: list[int] = []
        """Of each row, its own tokens."""
        self._arrange()

    def admit(self, prompts: Sequence[Sequence[int]], group_size: int) -> Float[Tensor, "P V"]:
        """Adds a group of rows for each of these prompts; returns the logits behind the prompts."""
        found = [self._prefill(some) for some in _portions(prompts)]
        states = [part for _, part in found]
        for module in list(states[0]):
            held = [self.prompts.pop(module)] if module in self.prompts else []
            pieces = [*held, *(part.pop(module) for part in states)]
            self.prompts[module] = _stacked([keys for keys, _ in pieces]), _stacked([values for _, values in pieces])
        rows = len(prompts) * group_size
        self._extend(len(self.filled) + rows, max(self.room, min(self.growth, self.max_tokens)))
        self.groups += [len(self.lengths) + row // group_size for row in range(rows)]
        self.lengths += map(len, prompts)
        self.filled += [0] * rows
        self._arrange()
        return torch.cat([logits for logits, _ in found])

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all other rows, and the prompts that have none left."""
        if not rows:
            self.prompts, self.completions, self.room = {}, {}, 0
        left = sorted({self.groups[row] for row in rows})
        if len(left) < len(self.lengths):
            index = torch.tensor(left, dtype=torch.long, device=self.device)
            for module, (keys, values) in self.prompts.items():
                self.prompts[module] = keys.index_select(0, index), values.index_select(0, index)
        index = torch.tensor(rows, dtype=torch.long, device=self.device)
        for module, (keys, values) in self.completions.items():
            self.completions[module] = keys.index_select(0, index), values.index_select(0, index)
        place = {group: i for i, group in enumerate(left)}
        self.lengths = [self.lengths[group] for group in left]
        self.groups = [place[self.groups[row]] for row in rows]
        self.filled = [self.filled[row] for row in rows]
        self._arrange()

    def begin(self) -> None:
        """Makes room for one token more of each row; before each step."""
        if max(self.filled) == self.room:
            more = max(self.growth, self.room // 64 * 8)
            self._extend(len(self.filled), min(self.room + more, self.max_tokens))
        self.filled = [length + 1 for length in self.filled]
        self.level = self.filled[0] - 1 if min(self.filled) == max(self.filled) else None
        self.masks.clear()

    def step(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Takes in the next token of each row; returns the logits behind it."""
        positions = self.prompt_lengths + self.columns
        logits = self.forward(tokens[:, None], positions[:, None], torch.zeros_like(tokens), self)
        self.columns += 1
        return logits

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[Float[Tensor, "P V"], dict[nn.Module, States]]:
        plan, width = _Prefill(), max(map(len, prompts))
        ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=self.device)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)
        positions = torch.arange(width, device=self.device).expand_as(ids)
        return self.forward(ids, positions, last, plan), plan.states

    # Its tensors grow with each token; compiled, it would be so for each length.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "B H 1 D"],
        key: Float[Tensor, "B J 1 D"],
        value: Float[Tensor, "B J 1 E"],
        *,
        scaling: float | None,
        window: int | None,
    ) -> Float[Tensor, "B 1 H E"]:
        """softmax(scaling q [K_prompt, K_own]^T) [V_prompt, V_own], in the type of the values."""
        scaling, dtype = query.shape[-1] ** -0.5 if scaling is None else scaling, value.dtype
        value = _kept(value)
        own_keys, own_values = self._take_in(module, key, value)
        keys, values = (states.flatten(0, 1) for states in self.prompts[module])
        (batch, heads), width = key.shape[:2], key.shape[-1]
        queries = query.to(value.dtype).view(batch, heads, -1, width)
        asked = self.slots.spread(queries).transpose(1, 2)
        of_prompt = _products(asked.reshape(len(keys), -1, width), keys, scaling).view(*asked.shape[:-1], -1)
        of_own = _products(queries.flatten(0, 1), own_keys, scaling).unflatten(0, (batch, heads))
        scores = torch.cat([of_prompt, self.slots.spread(of_own).transpose(1, 2)], dim=-1)
        length = keys.shape[1]
        scores.masked_fill_(self._mask(window, length), -torch.inf)
        weights = torch.softmax(scores, dim=-1).to(value.dtype)
        shared = torch.bmm(weights[..., :length].flatten(2, 3).flatten(0, 1), values).view(*scores.shape[:-1], -1)
        of_own = self.slots.gather(weights[..., length:].transpose(1, 2)).flatten(0, 1)
        mixed = self.slots.gather(shared.transpose(1, 2)) + torch.bmm(of_own, own_values).unflatten(0, (batch, heads))
        return mixed.reshape(batch, 1, -1, value.shape[-1]).to(dtype)

    def _take_in(self, module: nn.Module, key: Float[Tensor, "B J 1 D"], value: Float[Tensor, "B J 1 E"]) -> States:
        """Notes what each row's new token says; returns what all of its own say, as B J x O x width."""
        if module not in self.completions:
            shapes = ((len(new), new.shape[1], self.room, new.shape[3]) for new in (key, value))
            keys, values = (value.new_zeros(shape) for shape in shapes)
            self.completions[module] = keys, values
        for states, new in zip(self.completions[module], (key, value), strict=True):
            if self.level is not None:
                states[:, :, self.level] = new[:, :, 0]
            else:
                states[self.rows, :, self.columns] = new[:, :, 0].to(states.dtype)
        keys, values = (states.flatten(0, 1) for states in self.completions[module])
        return keys, values

    def _mask(self, window: int | None, length: int) -> Bool[Tensor, "G 1 S 1 C"]:
        """What is behind a shorter prompt or a row's own tokens, and what lies before the window.

        Layers of the same window share it.
        """
        if window is not None and max(self.lengths) + self.room <= window:
            window = None
        if window not in self.masks:
            self.since = self._since(length) if self.since is None else self.since
            hidden = self.since > self.columns[:, None]
            if window is not None:
                own = self.columns[:, None]
                place = torch.arange(length + self.room, device=self.device)
                position = torch.where(place < length, place - self.prompt_lengths[:, None], place - length)
                hidden |= position <= own - window
            self.masks[window] = self.slots.spread(hidden)[:, None, :, None]
        return self.masks[window]

    def _since(self, length: int) -> Int[Tensor, "B C"]:
        """`max_tokens`, which no row has before its last, for a place behind its prompt."""
        place = torch.arange(length, device=self.device)
        prompt = torch.where(place < self.prompt_lengths[:, None], 0, self.max_tokens)
        own = torch.arange(self.room, device=self.device).expand(len(prompt), -1)
        return torch.cat([prompt, own], dim=1)

    def _extend(self, rows: int, room: int) -> None:
        """Moves what is held into buffers for so many rows and tokens: zeros, for a weight of 0 times NaN is NaN."""
        longest, self.room, self.since = max(self.filled, default=0), room, None
        self.arranged += 1
        for module, pair in self.completions.items():
            keys, values = (states.new_empty((rows, states.shape[1], room, states.shape[3])) for states in pair)
            for states, new in zip(pair, (keys, values), strict=True):
                new[: len(self.filled), :, :longest] = states[:, :, :longest]
                new[: len(self.filled), :, longest:] = 0
                new[len(self.filled) :] = 0
            self.completions[module] = keys, values

    def _arrange(self) -> None:
        """What follows from `lengths`, `groups` and `filled`, on the device."""
        self.arranged += 1
        self.since = None
        self.slots = slots_of(self.groups, len(self.lengths), self.device)
        self.rows = torch.arange(len(self.groups), device=self.device)
        lengths = [self.lengths[group] for group in self.groups]
        self.columns: Int[Tensor, " B"] = torch.tensor(self.filled, dtype=torch.long, device=self.device)
        self.prompt_lengths: Int[Tensor, " B"] = torch.tensor(lengths, dtype=torch.long, device=self.device)


class _Prefill(Plan):
    """Each prompt by itself, padded behind its end, where no token of it looks; keeps what the layers say of it."""

    def __init__(self) -> None:
        self.states: dict[nn.Module, States] = {}

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "P H L D"],
        key: Float[Tensor, "P J L D"],
        value: Float[Tensor, "P J L E"],
        *,
        scaling: float | None,
        window: int | None,
    ) -> Float[Tensor, "P L H E"]:
        kept = _kept(value)
        self.states[module] = key.to(kept.dtype).contiguous(), kept.contiguous()
        length, mask = key.shape[2], None
        if window is not None and window < length:
            place = torch.arange(length, device=key.device)
            ago = place[:, None] - place
            mask = ((ago >= 0) & (ago < window))[None, None]
        output: Tensor = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, is_causal=True)[0]
        return output


def _kept(states: Tensor) -> Tensor:
    """In float32 on a CPU, whose products of 16 bit are compiled, and kept, for each number of rows and tokens."""
    sixteen = states.dtype in (torch.bfloat16, torch.float16)
    return states.float() if sixteen and states.device.type == "cpu" else states


def _products(queries: Float[Tensor, "N Q D"], keys: Float[Tensor, "N C D"], scaling: float) -> Float[Tensor, "N Q C"]:
    scores = queries.new_empty((*queries.shape[:2], keys.shape[1]))
    return torch.baddbmm(scores, queries, keys.mT, beta=0, alpha=scaling)


def _portions(prompts: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """In order, as many at once as `PREFILL_TOKENS` allow."""
    start = 0
    for end in range(1, len(prompts) + 1):
        longest = max(map(len, prompts[start : end + 1]))
        if end == len(prompts) or longest * (end + 1 - start) > PREFILL_TOKENS:
            yield prompts[start:end]
            start = end


def _stacked(pieces: Sequence[Tensor]) -> Float[Tensor, "G J L D"]:
    """One behind the other, with zeros behind the shorter ones: a weight of nothing times NaN would be NaN."""
    if len(pieces) == 1:
        return pieces[0]
    length = max(piece.shape[2] for piece in pieces)
    return torch.cat([pad(piece, (0, 0, 0, length - piece.shape[2])) for piece in pieces])
