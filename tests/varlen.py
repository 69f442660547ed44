"""torch's `varlen_attn` for a CPU, which has no kernel for it: sequences end to end, which see what is before."""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.attention import varlen as of_torch


def pieces(queries_until: Tensor, keys_until: Tensor) -> Iterator[tuple[slice, slice]]:
    """Where the queries and the keys of each sequence are."""
    assert queries_until.dtype == keys_until.dtype == torch.int32
    ends = zip(pairwise(queries_until.tolist()), pairwise(keys_until.tolist()), strict=True)
    return ((slice(*queries), slice(*keys)) for queries, keys in ends)


def weights(query: Tensor, key: Tensor, scale: float, window: tuple[int, int]) -> Tensor:
    """Of heads x queries x keys; the last query sees the last key, those before it one less each."""
    behind = torch.arange(key.shape[1]) - torch.arange(query.shape[1])[:, None] - key.shape[1] + query.shape[1]
    hidden = (behind > window[1]) | (behind < -window[0] if window[0] >= 0 else False)
    return torch.softmax((scale * query @ key.mT).masked_fill(hidden, -torch.inf), dim=-1)


def heads(states: Tensor, part: slice, ratio: int = 1) -> Tensor:
    return states[part].transpose(0, 1).repeat_interleave(ratio, 0)


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries_until: Tensor,
    keys_until: Tensor,
    most_queries: int,
    most_keys: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """Differentiable; checks what the kernel is told."""
    ratio = query.shape[1] // key.shape[1]
    assert enable_gqa == (ratio > 1)
    found = []
    for own, seen in pieces(queries_until, keys_until):
        assert own.stop - own.start <= most_queries
        assert seen.stop - seen.start <= most_keys
        shares = weights(heads(query, own), heads(key, seen, ratio), scale, window_size)
        found.append((shares @ heads(value, seen, ratio)).transpose(0, 1))
    return torch.cat(found)


@cache
def take_the_cpu() -> None:
    """From now on torch's own function runs here, too, forward and back."""
    of_torch._varlen_attn.register_kernel("cpu")(_forward)
    of_torch._varlen_attn_backward.register_kernel("cpu")(_backward)


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries_until: Tensor,
    keys_until: Tensor,
    most_queries: int,
    most_keys: int,
    is_causal: bool = False,
    scale: float | None = None,
    window_size: list[int] | None = None,
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
    block_table: Tensor | None = None,
    num_splits: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Its result, and in place of the logarithms of sums and the state of a generator nothing."""
    assert scale is not None
    assert window_size is not None
    where = queries_until, keys_until, most_queries, most_keys
    window = window_size[0], window_size[1]
    mixed = varlen(query, key, value, *where, scale=scale, window_size=window, enable_gqa=enable_gqa)
    nothing = query.new_zeros((query.shape[1], query.shape[0]), dtype=torch.float32)
    return mixed.contiguous(), nothing, torch.zeros(2, dtype=torch.uint64)


def _backward(
    of_mixed: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixed: Tensor,
    log_sums: Tensor,
    queries_until: Tensor,
    keys_until: Tensor,
    most_queries: int,
    most_keys: int,
    is_causal: bool,
    state: Tensor,
    scale: float | None = None,
    window_size: list[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """dV = P^T dO; with dP = dO V^T, dS = P (dP - sum dP P): dQ = scale dS K, dK = scale dS^T Q."""
    assert scale is not None
    assert window_size is not None
    ratio = query.shape[1] // key.shape[1]
    of_query, of_key, of_value = (torch.zeros_like(states) for states in (query, key, value))
    for own, seen in pieces(queries_until, keys_until):
        q, k, v = heads(query, own), heads(key, seen, ratio), heads(value, seen, ratio)
        shares, of_own = weights(q, k, scale, (window_size[0], window_size[1])), heads(of_mixed, own)
        of_shares = of_own @ v.mT
        of_scores = scale * shares * (of_shares - (of_shares * shares).sum(dim=-1, keepdim=True))
        of_query[own] = (of_scores @ k).transpose(0, 1)
        of_key[seen] = (of_scores.mT @ q).unflatten(0, (-1, ratio)).sum(dim=1).transpose(0, 1)
        of_value[seen] = (shares.mT @ of_own).unflatten(0, (-1, ratio)).sum(dim=1).transpose(0, 1)
    return of_query, of_key, of_value
