"""The built-in engine: any transformers causal model, in this process.

A prompt is prefilled once and kept once for its whole group, finished rows leave and waiting groups take their place,
and the log-probs come from the pass that samples. It is not a server: no paging, no requests from elsewhere.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from grpo_lightning.attention import Plan, no_mask, takes_plans
from grpo_lightning.compiling import compiles
from grpo_lightning.generation.cache import Cache
from grpo_lightning.generation.completions import Endings
from grpo_lightning.generation.contract import Engine, Rollout, SamplingConfig
from grpo_lightning.generation.decoding import Decoding
from grpo_lightning.generation.lean import LENGTH_BOUND, LeanPolicy, lean
from grpo_lightning.generation.packed_weights import packed_weights
from grpo_lightning.generation.padded_cache import PaddedCache
from grpo_lightning.generation.shared_cache import SharedCache
from grpo_lightning.policy import project
from grpo_lightning.ranks import Ranks
from grpo_lightning.sharding import as_forward, inference, shards_of
from grpo_lightning.types import Group, Prompt


class BuiltinGenerator:
    """Generates with the module's own policy."""

    def __init__(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype | None = None
    ) -> None:
        self.policy = policy
        self.tokenizer = tokenizer
        self.dtype = dtype
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
        started = time.perf_counter()
        endings = Endings(self.policy, self.tokenizer, sampling, prefix)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
        groups: dict[int, Group] = {}
        room = sampling.max_tokens
        with _drawing(self.policy), inference(self.policy), open_cache(self.policy, room, self.dtype) as cache:
            decoding = Decoding(
                cache,
                endings,
                [[*prompts[i].token_ids, *endings.forced] for i in order],
                [prompts[i].uid for i in order],
                group_size=group_size,
                seed=seed,
                device=self.policy.device,
            )
            for place, completions in decoding.run():
                i = order[place]
                groups[i] = Group(prompt=prompts[i], completions=completions)
                if finished is not None:
                    finished(i, groups[i])
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
def open_cache(policy: PreTrainedModel, max_tokens: int, dtype: torch.dtype | None) -> Iterator[Cache]:
    """An empty cache for a policy that is not changed within, multiplied in this type, or as it is outside."""
    kind, shares = policy.device.type, _shares(policy)
    if dtype is None and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    if shares and (quick := lean(policy, dtype)) is not None:
        here = torch.cuda.device_of(next(policy.parameters()))  # where kernels of Triton and recordings are
        with torch.inference_mode(), torch.autocast(kind, enabled=False), here:
            yield _cache_of(quick, max_tokens, policy.device)
        return
    with _casting(kind, dtype), packed_weights(policy), ExitStack() as stack:
        if shards_of(policy) is None and dtype is None:  # in inference mode autocast casts all weights for each token
            stack.enter_context(torch.inference_mode())
        if not shares:
            yield PaddedCache(policy, max_tokens)
            return
        yield SharedCache(lambda *call: as_forward(policy, next_logits)(*call), max_tokens, policy.device)


def _cache_of(policy: LeanPolicy, max_tokens: int, device: torch.device) -> SharedCache:
    """One that records its steps, where kernels can be built and the policy reads nothing back within a step."""
    if not compiles(device.type) or policy.rotary.rope_type in LENGTH_BOUND:
        return SharedCache(policy, max_tokens, device)
    from grpo_lightning.generation.graphed_cache import GraphedCache

    return GraphedCache(policy, max_tokens, device)


@contextmanager
def _drawing(policy: PreTrainedModel) -> Iterator[None]:
    """Out of training mode, and free to add up probabilities under `trainer.deterministic`; as before again behind it.

    torch refuses a GPU's running sums of floats as a whole, but those of a draw are short enough for one block of
    threads, so their order is always the same.
    """
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    trains = policy.training
    torch.use_deterministic_algorithms(False)
    policy.eval()
    try:
        yield
    finally:
        policy.train(trains)
        torch.use_deterministic_algorithms(strict, warn_only=warns)


@contextmanager
def _casting(kind: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Autocast to this type, if there is one, which keeps what it casts of weights until the end."""
    if dtype is None:
        yield
        return
    try:
        with torch.autocast(kind, dtype, cache_enabled=True):
            yield
    finally:
        torch.clear_autocast_cache()


def next_logits(
    policy: PreTrainedModel,
    ids: Int[Tensor, "B T"],
    positions: Int[Tensor, "B T"],
    last: Int[Tensor, " B"],
    plan: Plan,
) -> Float[Tensor, "B V"]:
    """Of the token behind the `last` of each row."""
    output = policy.base_model(
        input_ids=ids, position_ids=positions, attention_mask=no_mask(ids.device), use_cache=False, plan=plan
    )
    return project(policy, output[0][torch.arange(len(ids), device=ids.device), last])


@dataclass(frozen=True, kw_only=True)
class Builtin(Engine):
    """The policy itself in a decode loop of this project: nothing to install, start or keep in step."""

    dtype: Literal["bfloat16"] | None = None
    """What completions are computed in, with weights, and but on a CPU the cache, of half the size; null: what training
    computes in. The log-probs of a float32 policy are then not quite those of its sampler: see `model.mismatch`."""

    @property
    def rounds(self) -> bool:
        return self.dtype is not None

    def check(self, sampling: SamplingConfig) -> None:
        """Draws everything that a `SamplingConfig` says."""

    def start(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, sampling: SamplingConfig, ranks: Ranks
    ) -> BuiltinGenerator:
        if self.dtype is not None and policy.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"engine.dtype: 'bfloat16' is for a policy in float32, not {policy.dtype}; set it to null")
        return BuiltinGenerator(policy, tokenizer, torch.bfloat16 if self.dtype else None)
