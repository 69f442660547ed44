"""Tokens that an engine drew -> the records of the contract: where they end, why, and the text they make."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.generation.contract import SamplingConfig
from grpo_lightning.types import Completion, StopReason

STOP_WINDOW = 16
"""Tokens decoded to look for a stop string, besides one for each of its characters."""


def end_token_ids(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that end a text: the tokenizer's, and all that the model's generation config names."""
    named = policy.generation_config.eos_token_id if policy.generation_config is not None else None
    ends = named if isinstance(named, list) else [named]
    return {end for end in [*ends, tokenizer.eos_token_id] if end is not None}


def stop_token_ids(tokenizer: PreTrainedTokenizerBase, sampling: SamplingConfig) -> set[int]:
    """The configured stop tokens, and those stop strings that are one special token, which decoding would not show."""
    special = {token: i for token, i in zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)}
    return set(sampling.stop_token_ids) | {special[stop] for stop in sampling.stop if stop in special}


class Endings:
    """How completions end under one `SamplingConfig`."""

    def __init__(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: SamplingConfig, prefix: str
    ) -> None:
        self.tokenizer, self.sampling, self.prefix = tokenizer, sampling, prefix
        self.end_ids = frozenset(end_token_ids(policy, tokenizer))
        self.stop_ids = frozenset(stop_token_ids(tokenizer, sampling))
        self.final_ids = sorted(self.end_ids | self.stop_ids)
        """Every token that ends a completion."""
        self.window = max(map(len, sampling.stop), default=0) + STOP_WINDOW
        self.forced = list(tokenizer.encode(prefix, add_special_tokens=False)) if prefix else []

    def at_stop_string(self, rows: Sequence[Sequence[int]]) -> list[bool]:
        """Of each completion so far, whether a stop string shows in its last tokens."""
        if not self.sampling.stop:
            return [False] * len(rows)
        tails = [list(row[-self.window :]) for row in rows]
        texts = self.tokenizer.batch_decode(tails, skip_special_tokens=True)
        return [any(stop in text for stop in self.sampling.stop) for text in texts]

    def length(self, token_ids: Sequence[int]) -> int:
        """How many of these tokens the completion has: up to the first stop string."""
        ends = range(1, len(token_ids) + 1)
        shown = self.at_stop_string([token_ids[max(0, end - self.window) : end] for end in ends])
        return shown.index(True) + 1 if True in shown else len(token_ids)

    def completion(self, token_ids: Sequence[int], logprobs: Sequence[float], *, stopped: bool = False) -> Completion:
        """The record of these tokens; ValueError where they end in a way that the settings do not explain.

        `stopped`: a stop string has shown, though perhaps not in the text of all tokens.
        """
        if len(token_ids) != len(logprobs):
            raise ValueError(f"{len(token_ids)} tokens came with {len(logprobs)} log-probs")
        if not token_ids:
            raise ValueError("a completion without a token came")
        [text] = self.tokenizer.batch_decode([list(token_ids)], skip_special_tokens=True)
        return Completion(
            token_ids=tuple(token_ids),
            sampler_logprobs=tuple(logprobs),
            text=self.prefix + text,
            stop_reason="stop" if stopped and token_ids[-1] not in self.end_ids else self._stop_reason(token_ids, text),
        )

    def _stop_reason(self, token_ids: Sequence[int], text: str) -> StopReason:
        if token_ids[-1] in self.end_ids:
            return "eos"
        if token_ids[-1] in self.stop_ids or any(stop in text for stop in self.sampling.stop):
            return "stop"
        if len(token_ids) != self.sampling.max_tokens:
            raise ValueError(
                f"a completion ended after {len(token_ids)} of sampling.max_tokens {self.sampling.max_tokens} tokens "
                f"with token {token_ids[-1]}, which ends nothing here"
            )
        return "length"
