"""Tokens that another engine drew -> the records of the contract: where they end, why, and the text they make."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.generation.contract import SamplingConfig
from grpo_lightning.generation.engine import STOP_WINDOW, end_token_ids, stop_token_ids
from grpo_lightning.types import Completion, StopReason


class Endings:
    """How completions end under one `SamplingConfig`, by the rules of the built-in engine."""

    def __init__(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: SamplingConfig, prefix: str
    ) -> None:
        self.tokenizer, self.sampling, self.prefix = tokenizer, sampling, prefix
        self.end_ids = frozenset(end_token_ids(policy, tokenizer))
        self.stop_ids = frozenset(stop_token_ids(tokenizer, sampling))
        self.forced = list(tokenizer.encode(prefix, add_special_tokens=False)) if prefix else []

    @property
    def final_ids(self) -> list[int]:
        """Every token that ends a completion."""
        return sorted(self.end_ids | self.stop_ids)

    def length(self, token_ids: Sequence[int]) -> int:
        """How many of these tokens the completion has: up to the first stop string, that of the built-in engine."""
        stops = self.sampling.stop
        if stops:
            window = max(map(len, stops)) + STOP_WINDOW
            tails = [list(token_ids[max(0, end - window) : end]) for end in range(1, len(token_ids) + 1)]
            for end, text in enumerate(self.tokenizer.batch_decode(tails, skip_special_tokens=True), 1):
                if any(stop in text for stop in stops):
                    return end
        return len(token_ids)

    def completion(self, token_ids: Sequence[int], logprobs: Sequence[float]) -> Completion:
        """The record of these tokens; ValueError where they end in a way that the settings do not explain."""
        if len(token_ids) != len(logprobs):
            raise ValueError(f"{len(token_ids)} tokens came with {len(logprobs)} log-probs")
        if not token_ids:
            raise ValueError("a completion without a token came")
        [text] = self.tokenizer.batch_decode([list(token_ids)], skip_special_tokens=True)
        return Completion(
            token_ids=tuple(token_ids),
            sampler_logprobs=tuple(logprobs),
            text=self.prefix + text,
            stop_reason=self._stop_reason(token_ids, text),
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
