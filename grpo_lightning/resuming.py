"""Going on from a checkpoint: the log as it stood then, and what a changed config means.

A checkpoint holds how long each of TensorBoard's files was when it was written. Resuming cuts them to that, so that the
log of a run that was killed equals that of one that was not. Files without a place in the checkpoint are renamed, so
that TensorBoard does not read them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn

Sizes = dict[str, int]
"""Length in bytes of each of TensorBoard's files, by its path in the run's folder."""


def loggers_in(trainer: Trainer) -> list[TensorBoardLogger]:
    """TensorBoard's loggers that write into the run's folder."""
    root = Path(trainer.default_root_dir).resolve()
    found = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return [logger for logger in found if Path(logger.log_dir).resolve().is_relative_to(root)]


def event_files(trainer: Trainer, *, present: bool = True) -> dict[str, Path]:
    """TensorBoard's files of this run, by their path in its folder; without those now written to, unless `present`."""
    root = Path(trainer.default_root_dir).resolve()
    loggers = loggers_in(trainer)
    found = [path for logger in loggers for path in sorted(Path(logger.log_dir).resolve().glob("*tfevents*"))]
    if not present:  # Lightning has opened them before any hook of a callback
        written = {Path(logger.experiment._get_file_writer().event_writer._file_name).resolve() for logger in loggers}
        found = [path for path in found if path not in written]
    return {str(path.relative_to(root)): path for path in found}


def log_sizes(trainer: Trainer) -> Sizes:
    """How long the log is now, with everything written down that was logged so far."""
    for logger in loggers_in(trainer):
        logger.experiment.flush()
    return {name: path.stat().st_size for name, path in event_files(trainer).items()}


def cut_log(files: Mapping[str, Path], sizes: Mapping[str, int]) -> None:
    """Cuts these files back to `sizes`; those without one are renamed."""
    for name, path in files.items():
        if name not in sizes:
            hide(path)
        elif path.stat().st_size > sizes[name]:
            with path.open("r+b") as file:
                file.truncate(sizes[name])
        elif path.stat().st_size < sizes[name]:
            rank_zero_warn(f"{path} is shorter than when the checkpoint was written: the log has a gap")
    if missing := sizes.keys() - files.keys():
        rank_zero_warn(f"TensorBoard's {', '.join(sorted(missing))} is gone: the log begins later than the run")


def hide(path: Path) -> None:
    """Keeps a file of TensorBoard's under a name that TensorBoard does not read."""
    path.rename(path.with_name(path.name.replace("tfevents", "replaced")))


# ------------------------------------------------------------------------------------------------------ changed configs

Verdict = Literal["safe", "changes the course"]

RULES: Sequence[tuple[str, Verdict, str]] = (
    ("trainer.max_steps", "safe", "a schedule stretches to the new end"),
    ("trainer.max_epochs", "safe", "a schedule stretches to the new end"),
    ("trainer.max_time", "safe", ""),
    ("trainer.logger", "safe", ""),
    ("trainer.log_every_n_steps", "safe", ""),
    ("trainer.callbacks", "safe", ""),
    ("trainer.enable_", "safe", ""),
    ("trainer.val_check_interval", "safe", ""),
    ("trainer.check_val_every_n_epoch", "safe", ""),
    ("trainer.limit_val_batches", "safe", ""),
    ("trainer.profiler", "safe", ""),
    ("trainer.devices", "changes the course", "prompts are shared out among other ranks"),
    ("trainer.num_nodes", "changes the course", "prompts are shared out among other ranks"),
    ("trainer.limit_train_batches", "changes the course", "epochs begin elsewhere"),
    ("threads", "changes the course", "in the last bits: sums are rounded differently"),
    ("checkpoint.", "safe", ""),
    ("recording.", "safe", ""),
    ("watchdogs.", "safe", ""),
    ("model.optimizer.", "safe", "the new value holds from here on"),
    ("model.evaluation.", "safe", "curves of held-out accuracy break here"),
    ("model.reward_workers", "safe", ""),
    ("model.executor", "safe", ""),
    (
        "model.policy.pretrained",
        "changes the course",
        "the weights are the checkpoint's; reference and tokenizer are not",
    ),
    ("model.group_size", "changes the course", "advantages have another baseline"),
    ("data.validation_batch", "safe", ""),
    ("data.prompts_per_step", "changes the course", "the position counts batches: other rows come next"),
    ("data.seed", "changes the course", "the position means other rows"),
    ("data.", "changes the course", "the position may mean other rows"),
    ("seed_everything", "changes the course", "other draws, and the position means other rows"),
)
"""Start of a setting's name -> what it means that it changed; the first that fits counts. What fits none changes the
course. What cannot go on at all, such as a model of another shape, is refused where it shows: by the weights.
"""

NO_SETTING = ("config", "ckpt_path", "weights_only", "run", "runs", "trainer.default_root_dir", "checkpoint.dirpath")
"""What names places and files, which change when a folder is moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A setting that is not what the run was started with."""

    key: str
    old: object
    new: object
    verdict: Verdict
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}: {self.verdict}{self.why and f' ({self.why})'}"


MISSING = "(not set)"


def changes(before: Mapping[str, object], now: Mapping[str, object]) -> list[Change]:
    """What differs between the settings that a run has saved and the present ones, with what that means."""
    old, new = dict(leaves(before)), dict(leaves(now))
    keys = [key for key in [*new, *(key for key in old if key not in new)] if old.get(key) != new.get(key)]
    found = []
    for key in keys:
        if not _is_place(key):
            fits = (rule for rule in RULES if key.startswith(rule[0]))
            _, verdict, why = next(fits, ("", "changes the course", ""))
            was, is_now = old.get(key, MISSING), new.get(key, MISSING)
            found.append(Change(key=key, old=was, new=is_now, verdict=verdict, why=why))
    return found


def _is_place(key: str) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in NO_SETTING)


def leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Each setting that is not itself a group, by its dotted name; items of lists are counted from 0."""
    if isinstance(value, Mapping) and value:
        for name, each in value.items():
            yield from leaves(each, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from leaves(each, f"{key}[{number}]")
    else:
        yield key, value
