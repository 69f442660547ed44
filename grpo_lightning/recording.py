"""Records every rollout of a run, to be looked at, reported and trained on again; `rollout_files` has the format."""

from grpo_lightning.rollout_files import RecordedCompletion, RecordedGroup, read_step, recorded_steps

__all__ = ["RecordedCompletion", "RecordedGroup", "read_step", "recorded_steps"]
