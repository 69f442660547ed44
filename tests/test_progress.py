"""The bar's line, to the letter; in a terminal it is one line that is drawn anew, in a file one every now and then."""

import io
import logging
import re
import sys
from pathlib import Path

import pytest

from grpo_lightning.progress import Above, OneLineProgressBar, Progress, Screen, clock, line, short
from grpo_lightning.waiting import Board
from tests.fakes import tiny_data, tiny_module, tiny_trainer


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def rows(self, width: int) -> list[str]:
        """What stands there: \\r goes back to the start, ESC [K empties the rest of the row."""
        assert len(max(re.split(r"[\r\n]", self.getvalue()), key=len).replace("\x1b[K", "")) < width
        rows, column = [""], 0
        for piece in re.findall(r"\r|\n|\x1b\[K|[^\r\n\x1b]+", self.getvalue()):
            if piece == "\r":
                column = 0
            elif piece == "\n":
                rows.append("")
                column = 0
            elif piece == "\x1b[K":
                rows[-1] = rows[-1][:column]
            else:
                rows[-1] = rows[-1][:column] + piece + rows[-1][column + len(piece) :]
                column += len(piece)
        return rows


def test_the_line_to_the_letter() -> None:
    """3 of 12 rollouts in 30 s, so the other 9 take 90; a quarter of twelve characters is three."""
    now = Clock()
    board = Board(now)
    progress = Progress(name="fit", total=12, done=3, shown="reward 0.812", since=100.0)
    board.begin("rollout")
    now.now = 130.0
    assert line(progress, board, 130.0) == "fit 3/12  [###.........]  rollout 30 s  reward 0.812  0:30, 1:30 to go"
    board.begin("update")
    assert "  update  " in line(progress, board, 130.0), "no seconds before there is one"
    board.begin("")
    now.now = 132.0
    assert line(progress, board, 132.0) == "fit 3/12  [###.........]  reward 0.812  0:32, 1:36 to go"
    board.begin("update")
    with board.waiting("a server"):
        now.now = 135.0
        assert "]  waiting for a server 3 s  reward" in line(progress, board, 135.0)


def test_what_earlier_sessions_did_counts_for_the_bar_and_not_for_the_speed() -> None:
    """Resumed at 10 of 20, two more in 8 s: the remaining 8 take 32."""
    progress = Progress(name="fit", total=20, before=10, done=12, since=1.0)
    assert line(progress, Board(Clock()), 9.0) == "fit 12/20  [#######.....]  0:08, 0:32 to go"


def test_without_an_end_there_is_no_bar() -> None:
    assert line(Progress(name="fit", done=2, since=1.0), Board(Clock()), 4.0) == "fit 2/?  0:03"


def test_numbers_for_people() -> None:
    assert [clock(s) for s in (0.4, 65, 3605, 90061)] == ["0:00", "1:05", "1:00:05", "25:01:01"]
    assert [short(n) for n in (7, 950, 9500, 12_345, 1_200_000)] == ["7", "950", "9.5k", "12k", "1.2M"]


def test_a_file_gets_a_line_every_ten_seconds_of_progress() -> None:
    now, file = Clock(), io.StringIO()
    screen = Screen(file, lambda: f"at {now.now:.0f}", now)
    for second in range(1, 25):
        now.now = 100.0 + second
        screen.progressed()
    screen.close()
    screen.close()
    assert file.getvalue() == "at 110\nat 120\nat 124\n", "the last one says how it ended, once"


def test_a_terminal_keeps_one_line_below_what_others_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    screen = Screen(terminal, lambda: "fit 1/2  " + "x" * 100)
    handler = Above(screen)
    screen.draw()
    handler.emit(logging.LogRecord("any", logging.WARNING, "", 0, "reward %s failed", ("r",), None))
    screen.draw()
    screen.close()
    assert terminal.rows(40) == ["reward r failed", "fit 1/2  " + "x" * 30, ""]


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_where_nobody_reads_the_thread_ends_in_silence_and_who_writes_next_is_told() -> None:
    now = Clock()
    screen = Screen(Closed(), lambda: "line", now)
    now.now += 60
    screen._thread.join(30)
    assert not screen._thread.is_alive()
    with pytest.raises(BrokenPipeError):
        screen.draw()


def test_a_fit_shows_stages_numbers_and_the_end_of_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """11 prompts by 4 are 2 rollouts an epoch, 4 in two; with max_steps 12 of 4 steps each, 3."""
    monkeypatch.setenv("COLUMNS", "200")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    trainer = tiny_trainer(tmp_path, OneLineProgressBar(), max_steps=12, enable_progress_bar=True)
    trainer.fit(tiny_module(tmp_path), datamodule=tiny_data(tmp_path))
    (shown, after) = terminal.rows(200)
    assert re.fullmatch(
        r"fit 3/3  \[############\]  reward \d\.\d{3}  accuracy \d\.\d{3}  [\d.]+k? tok/s  0:\d\d, 0:00 to go", shown
    )
    assert after == ""
    assert len(logging.getLogger("grpo_lightning").handlers) == 0


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_other_commands_count_batches(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"return_predictions": False} if command == "predict" else {}
    trainer = tiny_trainer(tmp_path, OneLineProgressBar(), enable_progress_bar=True)
    getattr(trainer, command)(tiny_module(tmp_path), datamodule=tiny_data(tmp_path), **settings)
    assert re.search(rf"^{command} 1/1  \[############\]$", capsys.readouterr().out, re.MULTILINE)
