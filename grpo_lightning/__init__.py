"""GRPO and its family on PyTorch Lightning: an experiment framework with multi-objective, verifiable rewards.

This file imports nothing, so that `grpo_lightning.types` can be read by rewards and their workers without torch.
"""

__version__ = "0.1.0"
