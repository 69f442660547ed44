"""The built-in engine: any transformers causal model, in this process.

A prompt is prefilled once and kept once for its whole group, finished rows leave and waiting groups take their place,
and the log-probs come from the pass that samples. It is not a server: no paging, no requests from elsewhere.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from grpo_lightning.attention import takes_plans
from grpo_lightning.generation.completions import Endings
from grpo_lightning.generation.contract import Engine, Rollout, SamplingConfig
from grpo_lightning.generation.decoding import Decoding
from grpo_lightning.generation.packed_weights import packed_weights
from grpo_lightning.generation.padded_cache import PaddedCache
from grpo_lightning.generation.shared_cache import SharedCache
from grpo_lightning.ranks import Ranks
from grpo_lightning.sharding import inference, shards_of
from grpo_lightning.types import Group, Prompt


class BuiltinGenerator:
    """Generates with the module's own policy."""

    def __init__(self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.policy = policy
        self.tokenizer = tokenizer
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
        started = time.perf_counter()
        endings = Endings(self.policy, self.tokenizer, sampling, prefix)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
        cache = (SharedCache if _shares(self.policy) else PaddedCache)(self.policy, sampling.max_tokens)
        decoding = Decoding(
            cache,
            endings,
            [[*prompts[i].token_ids, *endings.forced] for i in order],
            [prompts[i].uid for i in order],
            group_size=group_size,
            seed=seed,
            device=self.policy.device,
        )
        groups: dict[int, Group] = {}
        with ExitStack() as stack:
            stack.enter_context(inference(self.policy))
            stack.enter_context(packed_weights(self.policy))
            stack.enter_context(torch.inference_mode(shards_of(self.policy) is None))
            stack.enter_context(_cast_once(self.policy))
            for place, completions in decoding.run():
                i = order[place]
                groups[i] = Group(prompt=prompts[i], completions=completions)
                if finished is not None:
                    finished(i, groups[i])
        self.policy.train(was_training)
        return Rollout(
            groups=tuple(groups[i] for i in range(len(prompts))),
            prefill_seconds=decoding.prefill_seconds,
            decode_seconds=time.perf_counter() - started - decoding.prefill_seconds,
            truncation_gap=decoding.truncation_gap,
        )


def _shares(policy: PreTrainedModel) -> bool:
    """Whether the policy can be told who sees whom, and needs to be told no more than `SharedCache` knows."""
    kinds = getattr(policy.config.get_text_config(decoder=True), "layer_types", None) or ()
    return takes_plans(policy) and set(kinds) <= {"full_attention", "sliding_attention"}


@contextmanager
def _cast_once(policy: PreTrainedModel) -> Iterator[None]:
    """Where autocast casts weights for each product, it keeps what it cast, here until the end."""
    kind = policy.device.type
    if not torch.is_autocast_enabled(kind):
        yield
        return
    try:
        with torch.autocast(kind, torch.get_autocast_dtype(kind), cache_enabled=True):
            yield
    finally:
        torch.clear_autocast_cache()


@dataclass(frozen=True, kw_only=True)
class Builtin(Engine):
    """The policy itself in a decode loop of this project: nothing to install, start or keep in step."""

    def check(self, sampling: SamplingConfig) -> None:
        """Draws everything that a `SamplingConfig` says."""

    def start(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, sampling: SamplingConfig, ranks: Ranks
    ) -> BuiltinGenerator:
        return BuiltinGenerator(policy, tokenizer)
