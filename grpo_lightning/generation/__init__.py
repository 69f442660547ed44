"""Prompts -> groups of completions: the `Generator` contract and the engines that keep it."""

from grpo_lightning.generation.contract import Generator, Rollout, SamplingConfig
from grpo_lightning.generation.engine import BuiltinGenerator

__all__ = ["BuiltinGenerator", "Generator", "Rollout", "SamplingConfig"]
