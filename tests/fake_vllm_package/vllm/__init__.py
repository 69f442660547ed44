"""A stand-in for the package vLLM 0.33, put on PYTHONPATH by a test: the calls that VLLMColocated makes.

They are answered by the tiny policy with weights of its own, and it insists on what vLLM insists on.
"""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from grpo_lightning.generation import BuiltinGenerator
from grpo_lightning.generation import SamplingConfig as Sampling
from grpo_lightning.types import Prompt
from tests.tiny import tiny_policy, tiny_tokenizer

__version__ = "0.33.0"

CALLS: list[str] = []
"""What was asked of the engine, in order."""


@dataclass
class SamplingParams:
    n: int = 1
    seed: int | None = None
    max_tokens: int = 16
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    include_stop_str_in_output: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.temperature == 0 and self.n != 1:
            raise ValueError(f"n must be 1 when using greedy sampling, got {self.n}.")


@dataclass
class Logprob:
    logprob: float


@dataclass
class CompletionOutput:
    token_ids: tuple[int, ...]
    logprobs: list[dict[int, Logprob]]
    finish_reason: str = "stop"


@dataclass
class RequestOutput:
    request_id: str
    outputs: list[CompletionOutput]
    finished: bool = True


class LLM:
    def __init__(self, model: str, *, tokenizer: str, load_format: str, enable_sleep_mode: bool, **settings: object):
        assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
        assert load_format == "dummy"
        assert settings["logprobs_mode"] == "raw_logprobs"
        self.may_sleep, self.asleep = enable_sleep_mode, set[str]()
        self.policy = tiny_policy(seed=9)
        self.generator = BuiltinGenerator(self.policy, tiny_tokenizer())
        self.llm_engine = self
        self.counter, self.waiting = 0, list[tuple[str, list[int], SamplingParams]]()

    def enqueue(
        self, prompts: list[dict[str, list[int]]], params: list[SamplingParams], *, use_tqdm: bool
    ) -> list[str]:
        assert not self.asleep, f"asked while {self.asleep} sleeps"
        names = []
        for request, each in zip(prompts, params, strict=True):
            self.waiting.append((str(self.counter), request["prompt_token_ids"], each))
            names.append(f"{self.counter}-{uuid.uuid4().hex[:8]}")
            self.counter += 1
        CALLS.append("enqueue")
        return names

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting)

    def step(self) -> list[RequestOutput]:
        """The last one first: requests end in any order."""
        name, ids, params = self.waiting.pop()
        return [RequestOutput(request_id=name, outputs=list(self.outputs(ids, params)))]

    def outputs(self, ids: list[int], params: SamplingParams) -> Iterator[CompletionOutput]:
        prompt = Prompt(uid=0, text="", token_ids=tuple(ids), answer=None, row={})
        assert params.include_stop_str_in_output
        assert params.logprobs == 0
        sampling = Sampling(
            max_tokens=params.max_tokens,
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
            min_p=params.min_p,
            repetition_penalty=params.repetition_penalty,
            stop=tuple(params.stop),
            stop_token_ids=tuple(params.stop_token_ids),
        )
        for j in range(params.n):
            rollout = self.generator.generate([prompt], group_size=1, sampling=sampling, seed=(params.seed or 0) + j)
            drawn = rollout.groups[0].completions[0]
            logprobs = [{t: Logprob(p)} for t, p in zip(drawn.token_ids, drawn.sampler_logprobs, strict=True)]
            yield CompletionOutput(token_ids=drawn.token_ids, logprobs=logprobs)

    def abort_request(self, names: list[str], internal: bool = False) -> None:
        assert internal
        gone = {name.split("-")[0] for name in names}
        self.waiting = [each for each in self.waiting if each[0] not in gone]
        CALLS.append("abort")

    def collective_rpc(self, method: str, *, kwargs: dict[str, Iterator[tuple[str, torch.Tensor]]]) -> list[None]:
        assert method == "reload_weights"
        assert "weights" not in self.asleep
        self.policy.load_state_dict(dict(kwargs["weights_iterator"]), strict=False)
        CALLS.append("reload")
        return [None]

    def reset_prefix_cache(self) -> bool:
        CALLS.append("reset")
        return True

    def sleep(self, level: int) -> None:
        assert self.may_sleep
        assert level == 1
        assert not self.waiting
        self.asleep = {"weights", "kv_cache"}
        CALLS.append("sleep")

    def wake_up(self, tags: list[str]) -> bool:
        assert set(tags) <= self.asleep, f"{tags} are not all among the sleeping {self.asleep}"
        self.asleep -= set(tags)
        CALLS.append("wake " + " ".join(tags))
        return not self.asleep
