"""Prompts -> groups of completions: the `Generator` contract and the engines that keep it."""

from grpo_lightning.generation.continuous_batching import TransformersContinuousBatching
from grpo_lightning.generation.contract import Engine, Generator, Rollout, SamplingConfig
from grpo_lightning.generation.engine import Builtin, BuiltinGenerator
from grpo_lightning.generation.recorded import Recorded
from grpo_lightning.generation.vllm_colocated import VLLMColocated
from grpo_lightning.generation.vllm_server import VLLMServer

__all__ = [
    "Builtin",
    "BuiltinGenerator",
    "Engine",
    "Generator",
    "Recorded",
    "Rollout",
    "SamplingConfig",
    "TransformersContinuousBatching",
    "VLLMColocated",
    "VLLMServer",
]
