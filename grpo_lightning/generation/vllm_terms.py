"""A `SamplingConfig` in vLLM's words, and what of the contract vLLM can keep; the same for servers and in-process."""

from grpo_lightning.generation.completions import Endings
from grpo_lightning.generation.contract import SamplingConfig
from grpo_lightning.seeding import seed_of

Terms = dict[str, int | float | bool | list[int] | list[str]]


def check_sampling(sampling: SamplingConfig) -> None:
    """Refuses settings under which neither kind of vLLM's log-probs is that of softmax(logits / temperature)."""
    if not log_prob_modes(sampling):
        raise ValueError(
            f"sampling.temperature: vLLM gives no log-probs at temperature {sampling.temperature} before top-k, top-p, "
            "min-p or penalties; set the temperature to 1, or these to none"
        )


def log_prob_modes(sampling: SamplingConfig) -> tuple[str, ...]:
    """The values of vLLM's `logprobs_mode` that are right: raw ones are of softmax(logits), processed ones of what is
    left to sample from.
    """
    raw = ("raw_logprobs",) if sampling.temperature in (0, 1) else ()
    return raw if sampling.truncates else (*raw, "processed_logprobs")


def sampling_terms(sampling: SamplingConfig, endings: Endings, *, seed: int, uid: int, count: int) -> Terms:
    """The fields that a request and vLLM's `SamplingParams` have in common.

    Each is told, because a server has defaults of its own. vLLM gives sample j the seed plus j, which must fit 64 bits.
    """
    return {
        "n": count,
        "seed": seed_of("vllm", seed, uid) >> 1,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "stop": list(sampling.stop),
        "stop_token_ids": endings.final_ids,
        "include_stop_str_in_output": True,
        "logprobs": 0,
    }
