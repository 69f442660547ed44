"""transformers' continuous batching: a paged cache, and waiting completions take the place of finished ones.

Its own sampler draws from one stream for all requests, so that a completion would depend on its company, and its
log-probs are those of the truncated distribution. Both promises of the contract are kept here by drawing inside a
logits processor, with the pure functions of the built-in engine: the engine is left one possible token.

Written for transformers 5.23 (its processors for continuous batching are not yet public). Run here on the CPU with
`sdpa`; CUDA graphs and asynchronous batching stay off, since the draw reads the state of the requests.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.generation.continuous_batching import ContinuousBatchingManager
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState

from grpo_lightning.attention import without_plans
from grpo_lightning.generation.completions import Endings
from grpo_lightning.generation.contract import Engine, Rollout, SamplingConfig
from grpo_lightning.generation.sampling import draw, truncate, uniforms
from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Completion, Group, Prompt

CHILD = "__child#"
"""What transformers puts between a request's name and the number of a copy of it."""


@dataclass(frozen=True, kw_only=True)
class TransformersContinuousBatching(Engine):
    """The policy itself, in transformers' scheduler. Pays off where completions differ much in length."""

    page_size: int = 256
    """Tokens in a page of the cache."""
    num_blocks: int | None = None
    """Pages of the cache; null: as many as free GPU memory holds, or, on the CPU, as all completions need."""
    max_batch_tokens: int | None = None
    """Tokens of one forward pass; null: what transformers thinks fit."""

    def __post_init__(self) -> None:
        for name, least in (("page_size", 4), ("num_blocks", 1), ("max_batch_tokens", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"engine.{name}: {value} is refused; use at least {least}")

    def check(self, sampling: SamplingConfig) -> None:
        if sampling.repetition_penalty != 1:
            raise ValueError(
                f"sampling.repetition_penalty: {sampling.repetition_penalty} is not known to "
                "TransformersContinuousBatching; set it to 1 or take the built-in engine"
            )

    def start(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, sampling: SamplingConfig, ranks: Ranks
    ) -> "ContinuousBatchingGenerator":
        return ContinuousBatchingGenerator(self, policy, tokenizer)


class ContinuousBatchingGenerator:
    """One manager for each call, so that nothing of it takes memory or keeps old states while the policy trains."""

    def __init__(
        self, engine: TransformersContinuousBatching, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.engine, self.policy, self.tokenizer = engine, policy, tokenizer

    def use_weights(self, version: int) -> None:
        """Nothing to do: it generates with the policy itself, if that is whole."""
        if any(isinstance(parameter, DTensor) for parameter in self.policy.parameters()):
            raise ValueError(
                "engine: TransformersContinuousBatching runs the ranks out of step, which a sharded policy cannot; "
                "take VLLMServer or the built-in engine"
            )

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
        self.engine.check(sampling)
        started = time.perf_counter()
        endings = Endings(self.policy, self.tokenizer, sampling, prefix)
        requests = [[*prompt.token_ids, *endings.forced] for prompt in prompts]
        keys = [(prompt.uid, sample) for prompt in prompts for sample in range(group_size)]
        drawing = _Drawing(sampling, uniforms(seed, keys, sampling.max_tokens), group_size, self.policy.device)
        was_training = self.policy.training
        left = [group_size] * len(prompts)
        ids: list[list[int]] = [[] for _ in keys]
        groups: dict[int, Group] = {}
        with ExitStack() as stack:
            stack.callback(self.policy.train, was_training)
            stack.enter_context(without_plans(self.policy))
            manager = self._manager(drawing, requests, group_size, sampling, endings)
            stack.callback(manager.destroy)
            stack.callback(manager.stop, hard_stop=True)
            manager.start()
            for place, request in enumerate(requests):
                manager.add_request(request, request_id=str(place), eos_token_id=endings.final_ids)
            while len(groups) < len(prompts):
                row, ids_of_row = self._next(manager, group_size)
                ids[row], place = ids_of_row, row // group_size
                left[place] -= 1
                if left[place] == 0:
                    own = range(place * group_size, (place + 1) * group_size)
                    completions = tuple(drawing.completion(row, ids[row], endings) for row in own)
                    groups[place] = Group(prompt=prompts[place], completions=completions)
                    if finished is not None:
                        finished(place, groups[place])
        return Rollout(
            groups=tuple(groups[place] for place in range(len(prompts))),
            prefill_seconds=0.0,
            decode_seconds=time.perf_counter() - started,
            truncation_gap=drawing.gap,
        )

    def _manager(
        self,
        drawing: "_Drawing",
        requests: Sequence[Sequence[int]],
        group_size: int,
        sampling: SamplingConfig,
        endings: Endings,
    ) -> ContinuousBatchingManager:
        blocks = self.engine.num_blocks
        if blocks is None and self.policy.device.type == "cpu":
            lengths = (len(request) + sampling.max_tokens for request in requests)
            blocks = group_size * sum(-(-length // self.engine.page_size) + 1 for length in lengths)
        manager: ContinuousBatchingManager = self.policy.init_continuous_batching(  # type: ignore[operator]
            generation_config=GenerationConfig(
                max_new_tokens=sampling.max_tokens, do_sample=False, eos_token_id=endings.final_ids
            ),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=self.engine.page_size,
                num_blocks=blocks,
                max_batch_tokens=self.engine.max_batch_tokens,
                max_requests_per_batch=sampling.max_rows,
                use_async_batching=False,
                use_cuda_graph=False,
                auto_switch_to_flash=False,
            ),
        )
        manager.num_return_sequences = group_size
        manager.logit_processor = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([drawing]))
        manager.logit_processor.tensors_required = 1
        return manager

    def _next(self, manager: ContinuousBatchingManager, group_size: int) -> tuple[int, list[int]]:
        """The row and the tokens of the next completion that has ended."""
        while (result := manager.get_result(timeout=1)) is None:
            if not manager.is_running() or manager.background_thread_status.fatal_error is not None:
                error = manager.background_thread_status.fatal_error
                raise RuntimeError(f"engine: continuous batching ended before its completions: {error}") from error
        if result.error is not None:
            raise RuntimeError(f"engine: continuous batching failed on a request: {result.error}")
        return _row(result.request_id, group_size), result.generated_tokens


class _Drawing(ContinuousBatchingLogitsProcessor):
    """Draws each request's next token from its own stream, and notes its log-prob."""

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(
        self, sampling: SamplingConfig, uniform: Float[Tensor, "B T"], group_size: int, device: torch.device
    ) -> None:
        self.sampling, self.group_size = sampling, group_size
        self.uniform = uniform.to(device)
        self.logprobs = torch.full_like(self.uniform, torch.nan)
        self.gaps = torch.zeros_like(self.uniform)
        self.slots: list[tuple[int, int]] = []
        self.gap = 0.0

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[FutureRequestState]) -> Tensor:
        """Row and step of the tokens to come; what travels as a tensor is not used."""
        states = [request.state for request in requests_with_new_token]
        self.slots = [(_row(state.request_id, self.group_size), _step(state)) for state in states]
        return torch.zeros(len(states), dtype=torch.int32)

    def __call__(self, scores: Float[Tensor, "N V"], tensor_arg: Int[Tensor, " M"]) -> Float[Tensor, "N V"]:
        """Leaves each request one token; scores behind the last request are padding."""
        if not self.slots:
            return scores
        rows, steps = torch.tensor(self.slots, device=scores.device).unbind(1)
        greedy = self.sampling.temperature == 0
        logits = scores[: len(self.slots)].float()
        logprobs = torch.log_softmax(logits if greedy else logits / self.sampling.temperature, dim=-1)
        probs = truncate(logprobs.exp(), self.sampling)
        token = logits.argmax(dim=-1) if greedy else draw(probs, self.uniform[rows, steps])
        self.logprobs[rows, steps] = logprobs.gather(1, token[:, None]).squeeze(1)
        if self.sampling.truncates and not greedy:
            drawn = (probs.gather(1, token[:, None]).squeeze(1) / probs.sum(dim=-1)).log()
            self.gaps[rows, steps] = drawn - self.logprobs[rows, steps]
        only = torch.full_like(scores, -torch.inf)
        only[: len(token)].scatter_(1, token[:, None], 0.0)
        return only

    def completion(self, row: int, ids: Sequence[int], endings: Endings) -> Completion:
        """The record of one row; what was generated behind a stop string, which transformers does not know, is cut."""
        length = endings.length(ids)
        self.gap += float(self.gaps[row, :length].double().sum())
        return endings.completion(ids[:length], self.logprobs[row, :length].tolist())


def _row(request_id: str, group_size: int) -> int:
    """`3` is sample 0 of prompt 3, `3__child#0` its sample 1."""
    place, _, child = request_id.partition(CHILD)
    return int(place) * group_size + (int(child) + 1 if child else 0)


def _step(state: RequestState) -> int:
    """How many tokens the request has; where the cache was full, those of before count as its prompt."""
    again = len(state.initial_tokens) - state._true_initial_tokens if state._true_initial_tokens else 0
    return again + len(state.generated_tokens)
