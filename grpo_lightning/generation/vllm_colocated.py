"""vLLM within the training process, one engine for each rank, on the rank's own GPU; it sleeps while the policy trains.

Written for vLLM 0.33.0, and imported only when a run starts it. Not run on a GPU by us: the tests have a stand-in with
the same calls. A policy that one GPU cannot hold beside its training state wants `VLLMServer`.
"""

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.generation.completions import Endings
from grpo_lightning.generation.contract import Engine, Rollout, SamplingConfig
from grpo_lightning.generation.vllm_terms import check_sampling, log_prob_modes, sampling_terms
from grpo_lightning.generation.weights import Mark, checkpoint_weights, mark
from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Completion, Group, Prompt

MEMORY = ("weights", "kv_cache")
"""What of vLLM sleeps, by its names; the weights wake first, so that new ones fit beside the training state."""


@dataclass(frozen=True, kw_only=True)
class VLLMColocated(Engine):
    """vLLM on the GPU of each rank."""

    gpu_memory_utilization: float = 0.3
    """Share of the GPU's memory that vLLM takes while it generates: its copy of the weights and its cache."""
    max_model_len: int | None = None
    """Longest prompt and completion together; null: what the model allows, which may be more than the cache holds."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Of vLLM's copy of the weights; auto: what the model's config says."""
    enforce_eager: bool = False
    """No CUDA graphs: starts sooner, generates slower."""
    sleep: bool = True
    """Give the cache back, and move vLLM's weights to the host's memory, after each generation."""

    def __post_init__(self) -> None:
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(
                f"engine.gpu_memory_utilization: {self.gpu_memory_utilization} is refused; it must be above 0 and at "
                "most 1"
            )
        if self.max_model_len is not None and self.max_model_len < 2:
            raise ValueError(f"engine.max_model_len: {self.max_model_len} is refused; use at least 2")

    def check(self, sampling: SamplingConfig) -> None:
        check_sampling(sampling)

    def start(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, sampling: SamplingConfig, ranks: Ranks
    ) -> "VLLMColocatedGenerator":
        # In one process tensors reach the engine as they are; vLLM reads this where it is imported.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        try:
            import vllm
        except ImportError as error:
            raise ValueError(
                f"model.engine: VLLMColocated needs vLLM: pip install 'grpo-lightning[vllm]' ({error})"
            ) from error
        llm = vllm.LLM(
            model=policy.config._name_or_path,
            tokenizer=tokenizer.name_or_path,
            load_format="dummy",
            dtype=self.dtype,
            max_model_len=self.max_model_len,
            max_num_seqs=sampling.max_rows,
            gpu_memory_utilization=self.gpu_memory_utilization,
            enforce_eager=self.enforce_eager,
            enable_sleep_mode=self.sleep,
            logprobs_mode=log_prob_modes(sampling)[0],
            generation_config="vllm",
            distributed_executor_backend="external_launcher" if ranks.size > 1 else None,
        )
        return VLLMColocatedGenerator(llm, policy, tokenizer, sleep=self.sleep)


class VLLMColocatedGenerator:
    """Sample j draws from vLLM's stream for the seed of (seed, prompt.uid) plus j."""

    def __init__(self, llm: Any, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, sleep: bool) -> None:
        self.llm, self.policy, self.tokenizer, self.sleep = llm, policy, tokenizer, sleep
        self.mark: Mark | None = None
        self.asleep: set[str] = set()

    def use_weights(self, version: int) -> None:
        """Each rank loads the whole weights into its own engine."""
        state = mark(self.policy, version)
        if state == self.mark:
            return
        self._wake("weights")
        weights = checkpoint_weights(self.policy, keep=True)
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
        self.llm.reset_prefix_cache()
        self.mark = state

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
        count = 1 if sampling.temperature == 0 else group_size
        groups: dict[int, Group] = {}
        self._wake(*MEMORY)
        names = self._enqueue(prompts, sampling, endings, seed=seed, count=count)
        places = {_number(name): place for place, name in enumerate(names)}
        try:
            while self.llm.llm_engine.has_unfinished_requests():
                for output in self.llm.llm_engine.step():
                    if output.finished:
                        place = places[_number(output.request_id)]
                        completions = tuple(_completion(each, endings) for each in output.outputs)
                        groups[place] = Group(prompt=prompts[place], completions=completions * (group_size // count))
                        if finished is not None:
                            finished(place, groups[place])
        finally:
            if len(groups) < len(prompts):
                self.llm.llm_engine.abort_request(names, internal=True)
            if self.sleep:
                self.llm.sleep(level=1)
                self.asleep = set(MEMORY)
        return Rollout(
            groups=tuple(groups[place] for place in range(len(prompts))),
            prefill_seconds=0.0,
            decode_seconds=time.perf_counter() - started,
            truncation_gap=float("nan") if sampling.truncates else 0.0,
        )

    def _enqueue(
        self, prompts: Sequence[Prompt], sampling: SamplingConfig, endings: Endings, *, seed: int, count: int
    ) -> list[str]:
        """Hands all prompts over; the name of each one's request."""
        from vllm import SamplingParams

        requests = [{"prompt_token_ids": [*prompt.token_ids, *endings.forced]} for prompt in prompts]
        terms = [sampling_terms(sampling, endings, seed=seed, uid=prompt.uid, count=count) for prompt in prompts]
        names: list[str] = self.llm.enqueue(requests, [SamplingParams(**each) for each in terms], use_tqdm=False)
        return names

    def _wake(self, *parts: str) -> None:
        sleeping = [part for part in parts if part in self.asleep]
        if sleeping:
            self.llm.wake_up(tags=sleeping)
            self.asleep -= set(sleeping)


def _number(name: str) -> str:
    """vLLM counts requests, and puts a random part behind the number that a request is queued by."""
    found = re.match(r"\d+", name)
    if found is None:
        raise RuntimeError(
            f"engine: vLLM names a request {name!r}; this was written for 0.33, which begins with a number"
        )
    return found[0]


def _completion(output: Any, endings: Endings) -> Completion:
    logprobs = [float(step[token].logprob) for step, token in zip(output.logprobs, output.token_ids, strict=True)]
    return endings.completion(list(output.token_ids), logprobs)
