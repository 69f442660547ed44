"""vLLM as one or several servers, on GPUs of their own: prompts and tokens by HTTP, new weights after each update.

Written for vLLM 0.33.0. A server must be started with VLLM_SERVER_DEV_MODE=1, which opens what changes weights to
whoever reaches its port, so keep it within the cluster; docs/engines.md has the commands. Nothing of vLLM is imported
here, except to send weights by NCCL.
"""

import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.generation.completions import Endings
from grpo_lightning.generation.contract import Engine, Rollout, SamplingConfig
from grpo_lightning.generation.vllm_http import Answer, Http
from grpo_lightning.generation.vllm_sync import FolderSync, NCCLSync
from grpo_lightning.generation.vllm_terms import check_sampling, log_prob_modes, sampling_terms
from grpo_lightning.generation.weights import Mark, mark
from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Completion, Group, Prompt
from grpo_lightning.waiting import waiting

OLDEST = (0, 33)
"""The first vLLM whose answers are known to say which weights drew them."""


@dataclass(frozen=True, kw_only=True)
class VLLMServer(Engine):
    """vLLM servers that run beside the training."""

    runs_apart: ClassVar[bool] = True

    urls: tuple[str, ...]
    """Where the servers listen, as in `http://node2:8000`; prompts go to them in turn."""
    weights: Literal["folder", "nccl"] = "folder"
    """How new weights travel: by a safetensors file in `folder`, or from GPU to GPU (needs vLLM where we train)."""
    folder: str | None = None
    """A folder that this process and all servers see under this path; only for `weights: folder`."""
    timeout: float = 600.0
    """Seconds that one answer may take: the longest group of completions, or loading the weights."""
    retries: int = 5
    """Further tries after a failure that may pass, each at the next server."""
    backoff: float = 1.0
    """Seconds before the second try; each further pause is twice as long, up to 30."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "urls", tuple(url.rstrip("/") for url in self.urls))
        wrong = [url for url in self.urls if not re.match(r"https?://[^/]", url)]
        if not self.urls or wrong or len(set(self.urls)) < len(self.urls):
            raise ValueError(
                f"engine.urls: {list(self.urls)} is refused; give one or more different addresses such as "
                "http://127.0.0.1:8000"
            )
        if (self.folder is None) == (self.weights == "folder"):
            wanted = "needs engine.folder" if self.folder is None else "has no use for engine.folder"
            raise ValueError(f"engine.weights: {self.weights!r} {wanted}")
        if not (self.timeout > 0 and self.retries >= 0 and self.backoff >= 0):
            raise ValueError(
                f"engine.timeout, retries, backoff: {self.timeout}, {self.retries}, {self.backoff} is refused; use a "
                "positive timeout, and nothing below 0"
            )

    def check(self, sampling: SamplingConfig) -> None:
        check_sampling(sampling)

    def start(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, sampling: SamplingConfig, ranks: Ranks
    ) -> "VLLMServerGenerator":
        http = Http(timeout=self.timeout, retries=self.retries, backoff=self.backoff)
        modes = log_prob_modes(sampling)
        with waiting(f"{' and '.join(self.urls)} to answer"):
            names = {url: served_model(http, url, modes) for url in self.urls}
        return VLLMServerGenerator(self, http, names, policy, tokenizer, ranks)


def served_model(http: Http, url: str, modes: Sequence[str]) -> str:
    """The name of the model that the server at `url` has; refuses one that cannot keep the contract."""
    version = str(http.ask([url], "/version")[1].get("version"))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise ValueError(f"engine.urls: {url} runs vLLM {version}; at least {OLDEST[0]}.{OLDEST[1]} is needed")
    try:
        info = http.ask([url], "/server_info?config_format=json")[1]
    except RuntimeError as error:
        raise ValueError(f"engine.urls: start the server at {url} with VLLM_SERVER_DEV_MODE=1 ({error})") from error
    mode = _at(info, "vllm_config", "model_config", "logprobs_mode")
    if mode not in modes:
        raise ValueError(
            f"engine.urls: the server at {url} gives {mode}; for these sampling settings start it with "
            f"--logprobs-mode {modes[0]}"
        )
    return str(_at(http.ask([url], "/v1/models")[1], "data", 0, "id"))


class VLLMServerGenerator:
    """A request for each prompt, with its whole group; so the prompt is prefilled once.

    Sample j draws from vLLM's stream for the seed of (seed, prompt.uid) plus j, whichever server it is sent to.
    """

    def __init__(
        self,
        engine: VLLMServer,
        http: Http,
        names: Mapping[str, str],
        policy: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        ranks: Ranks,
    ) -> None:
        self.engine, self.http, self.names, self.ranks = engine, http, names, ranks
        self.policy, self.tokenizer = policy, tokenizer
        self.sync: FolderSync | NCCLSync = (
            NCCLSync(http, policy, engine.urls, ranks)
            if engine.folder is None
            else FolderSync(http, policy, engine.urls, ranks, engine.folder)
        )
        self.mark: Mark | None = None
        self.label = ""

    def use_weights(self, version: int) -> None:
        """Gathers on every rank, sends from rank 0, and waits until all servers have them."""
        state = mark(self.policy, version)
        if state == self.mark:
            return
        label, failure = f"{version}-{uuid.uuid4().hex[:8]}", ""
        try:
            self.sync.send(label)
        except RuntimeError as error:
            failure = str(error)
        told = [str(value) for each in self.ranks.gather(np.array([label, failure])) for value in each]
        if failure := next(filter(None, told[1::2]), ""):
            raise RuntimeError(failure)
        self.label, self.mark = told[0], state

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
        groups: dict[int, Group] = {}
        http = replace(self.http, stopped=threading.Event())
        pool = ThreadPoolExecutor(max(1, sampling.max_rows // group_size), thread_name_prefix="vllm")
        try:
            waiting: dict[Future[tuple[Completion, ...]], int] = {
                pool.submit(self._group, http, place, prompt, group_size, sampling, seed, endings): place
                for place, prompt in enumerate(prompts)
            }
            for done in as_completed(waiting):
                place = waiting[done]
                groups[place] = Group(prompt=prompts[place], completions=done.result())
                if finished is not None:
                    finished(place, groups[place])
        finally:
            http.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
        return Rollout(
            groups=tuple(groups[place] for place in range(len(prompts))),
            prefill_seconds=0.0,
            decode_seconds=time.perf_counter() - started,
            truncation_gap=float("nan") if sampling.truncates else 0.0,
        )

    def _group(
        self,
        http: Http,
        place: int,
        prompt: Prompt,
        group_size: int,
        sampling: SamplingConfig,
        seed: int,
        endings: Endings,
    ) -> tuple[Completion, ...]:
        """One prompt's completions; greedy ones are all equal, and vLLM draws one only."""
        count = 1 if sampling.temperature == 0 else group_size
        urls = self.engine.urls
        turned = [urls[(place + i) % len(urls)] for i in range(len(urls))]
        body = {
            "model": self.names[turned[0]],
            "prompt": [*prompt.token_ids, *endings.forced],
            **sampling_terms(sampling, endings, seed=seed, uid=prompt.uid, count=count),
            "return_token_ids": True,
            "return_weight_versions": True,
        }
        url, answer = http.ask(turned, "/v1/completions", body)
        try:
            completions = tuple(self._completion(choice, endings) for choice in _choices(answer, count))
        except (ValueError, LookupError, TypeError) as error:
            raise RuntimeError(f"engine: {url}/v1/completions, prompt {prompt.uid}: {error}") from error
        return completions * (group_size // count)

    def _completion(self, choice: Answer, endings: Endings) -> Completion:
        ids, logprobs = choice.get("token_ids"), _at(choice, "logprobs", "token_logprobs")
        if not isinstance(ids, list) or not isinstance(logprobs, list):
            raise ValueError("the answer has no token_ids, or no logprobs.token_logprobs")
        if choice.get("finish_reason") not in ("stop", "length"):
            raise ValueError(f"a completion ended by {choice.get('finish_reason')!r}")
        spans = choice.get("weight_versions")
        found = {str(_at(span, "version")) for span in spans} if isinstance(spans, list) else set()
        if found != {self.label}:
            raise ValueError(
                f"drawn by the weights {', '.join(sorted(found)) or 'without a name'} instead of {self.label}, which "
                "were sent; was the server restarted, or does another run use it?"
            )
        return endings.completion(ids, [_finite(value) for value in logprobs])


def _choices(answer: Answer, count: int) -> list[Answer]:
    """The choices in the order of their samples."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or [_at(choice, "index") for choice in choices] != list(range(count)):
        number = len(choices) if isinstance(choices, list) else "no"
        raise ValueError(f"{number} choices came instead of {count} in order")
    return choices


def _finite(logprob: object) -> float:
    """vLLM sends -9999 for minus infinity, and null for what it does not know: neither trains."""
    if logprob is not None and not isinstance(logprob, int | float):
        raise ValueError(f"the log-prob {logprob!r} is no number")
    return float("-inf") if logprob is None or logprob <= -9999 else float(logprob)


def _at(value: object, *path: str | int) -> object:
    """What stands at this place of a JSON value; None where there is no such place."""
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value
