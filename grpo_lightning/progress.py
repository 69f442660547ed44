"""A progress bar of one line: stage, reward, accuracy, tokens per second, and when the whole fit will be done.

In a terminal the line is drawn anew, also while a stage lasts; into a pipe or a file goes one line every now and then.
"""

import logging
import math
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from grpo_lightning.module import GRPOModule
from grpo_lightning.optimization import planned_steps
from grpo_lightning.waiting import BOARD, Board

REDRAW = 0.25
"""Seconds between two drawings in a terminal."""

SPARSE = 10.0
"""Seconds between two lines in a file, as long as there is progress."""

SIGN_OF_LIFE = 60.0
"""Seconds after which a file gets a line without any."""

SHORTEST_WAIT = 2.0
"""Seconds from which on what is waited for stands in place of the stage."""

BAR = 12
"""Characters."""


@dataclass(slots=True)
class Progress:
    """What the line shows."""

    name: str
    """Of the command, such as fit."""
    total: int | None = None
    """Rollouts, or batches of held-out prompts; None: without an end."""
    before: int = 0
    """Of `done`, those of earlier sessions of this run."""
    done: int = 0
    shown: str = ""
    """Metrics."""
    since: float = 0.0
    """When the first of this session began."""


def line(progress: Progress, board: Board, now: float) -> str:
    """The whole line, however long."""
    total = "?" if progress.total is None else str(progress.total)
    parts = [f"{progress.name} {progress.done}/{total}"]
    if progress.total:
        full = min(BAR, BAR * progress.done // progress.total)
        parts.append(f"[{'#' * full}{'.' * (BAR - full)}]")
    parts.append(doing(board))
    if progress.shown:
        parts.append(progress.shown)
    spent, made = now - progress.since, progress.done - progress.before
    if progress.since:
        left = spent / made * (progress.total - progress.done) if progress.total and made else None
        parts.append(clock(spent) + ("" if left is None else f", {clock(left)} to go"))
    return "  ".join(part for part in parts if part)


def doing(board: Board) -> str:
    """The stage and its seconds; or what is waited for, if that takes long."""
    stage, seconds = board.stage
    wait = board.longest()
    if wait is not None and wait[1] >= SHORTEST_WAIT:
        stage, seconds = f"waiting for {wait[0]}", wait[1]
    return f"{stage} {seconds:.0f} s" if stage and seconds >= 1 else stage


def clock(seconds: float) -> str:
    """1:05, 1:00:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def short(number: float) -> str:
    """950, 9.5k, 12k, 1.2M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.{1 if number < 10 * limit else 0}f}{unit}"
    return f"{number:.0f}"


@runtime_checkable
class Output(Protocol):
    """A text file, as far as it is needed here."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


class Screen:
    """Where the line goes. Threads may share it; other text goes through `above`."""

    def __init__(self, file: Output, text: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        self.file, self.text, self.clock = file, text, clock
        self.is_terminal = file.isatty()
        self._written, self._is_drawn, self._is_stale = clock(), False, False
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="progress", daemon=True)
        self._thread.start()

    def progressed(self) -> None:
        """There is more to show."""
        self._is_stale = True
        if self.is_terminal or self.clock() - self._written >= SPARSE:
            self.draw()

    def draw(self) -> None:
        with self._lock:
            text = self.text()
            if self.is_terminal:
                self.file.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
                self._is_drawn = True
            else:
                self.file.write(text + "\n")
            self.file.flush()
            self._written, self._is_stale = self.clock(), False

    def above(self, write: Callable[[], None]) -> None:
        """Lets others write where the line is; it moves down."""
        with self._lock:
            if self._is_drawn:
                self.file.write("\r\x1b[K")
                self.file.flush()
            write()
            if self._is_drawn:
                self.draw()

    def close(self) -> None:
        """The last line stays."""
        self._stop.set()
        self._thread.join()
        if self.is_terminal or self._is_stale:
            self.draw()
        if self.is_terminal:
            self.file.write("\n")
            self.file.flush()
        self._is_drawn = False

    def _keep(self) -> None:
        while not self._stop.wait(REDRAW):
            if self.is_terminal or self.clock() - self._written >= SIGN_OF_LIFE:
                try:
                    self.draw()
                except (OSError, ValueError):  # nobody reads any more; who writes next learns it
                    return


class Above(logging.StreamHandler):  # type: ignore[type-arg]
    """Puts this package's messages above the line."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(sys.stderr)
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self.screen.above(lambda: super(Above, self).emit(record))


class OneLineProgressBar(ProgressBar):
    """Shows on one line what a command is doing, how well, and how long it will take."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress(name="")
        self._enabled = True
        self._screen: Screen | None = None
        self._above: Above | None = None

    # ------------------------------------------------------------------------------------------------------- the line

    def disable(self) -> None:
        """Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *args: object, **kwargs: object) -> None:
        """For others that print while the line is there."""
        text = " ".join(map(str, args)) + "\n"
        if self._screen is None:
            sys.stdout.write(text)
        else:
            self._screen.above(lambda: cast(None, sys.stdout.write(text)))

    def open(self, name: str, total: float | None, done: int = 0) -> None:
        """Begins a line; `total` may be infinite."""
        if not self._enabled:
            return
        end = None if total is None or math.isinf(total) else int(total)
        self.progress = Progress(name=name, total=end, before=done, done=done)
        self._screen = Screen(sys.stdout, lambda: line(self.progress, BOARD, time.monotonic()))
        if self._screen.is_terminal and not logging.getLogger().handlers:
            self._above = Above(self._screen)
            logging.getLogger("grpo_lightning").addHandler(self._above)

    def advance(self, done: int, shown: str = "") -> None:
        self.progress.done = done
        self.progress.shown = shown or self.progress.shown
        if self._screen is not None:
            self._screen.progressed()

    def close(self) -> None:
        BOARD.begin("")
        if self._screen is not None:
            self._screen.close()
            self._screen = None
        if self._above is not None:
            logging.getLogger("grpo_lightning").removeHandler(self._above)
            self._above = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------------- fit

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the first rollout there is nothing to do that takes long but an evaluation."""
        module = cast(GRPOModule, pl_module)
        steps = planned_steps(trainer, module.update)
        per_rollout = module.update.num_iterations * module.update.minibatches
        total = None if steps is None else math.ceil(steps / per_rollout)
        BOARD.begin("evaluation")
        self.open("fit", total, done=module.iteration)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if not self.progress.since:
            module = cast(GRPOModule, pl_module)
            self.progress.before = self.progress.done = module.iteration
            self.progress.since = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        BOARD.begin("")
        self.advance(self.progress.done + 1, summary(cast(GRPOModule, pl_module).metrics))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        BOARD.begin("evaluation")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        BOARD.begin("evaluation")
        if trainer.state.fn == "validate":
            self.open("validate", sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn == "validate":
            self.advance(self.progress.done + 1)

    # -------------------------------------------------------------------------------------------------- other commands

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        BOARD.begin("evaluation")
        self.open("test", sum(trainer.num_test_batches))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.advance(self.progress.done + 1)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        BOARD.begin("prediction")
        self.open("predict", sum(trainer.num_predict_batches))

    on_predict_batch_end = on_test_batch_end


def summary(metrics: dict[str, float]) -> str:
    """Reward, accuracy and tokens per second, as far as they are known."""
    named = {"reward": "reward {:.3f}", "accuracy": "accuracy {:.3f}"}
    parts = [form.format(metrics[name]) for name, form in named.items() if name in metrics]
    if (speed := metrics.get("speed/tokens_per_second")) is not None:
        parts.append(f"{short(speed)} tok/s")
    return "  ".join(parts)
