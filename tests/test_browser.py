"""TensorBoard in a real browser: the pages, samples, histograms and settings of two runs, one of which was resumed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from grpo_lightning.callbacks import SampleLog
from grpo_lightning.tensorboard import PAGES, Histograms, HParams, Pages
from tests.browser import CHROMIUM, Page, browser, tensorboard
from tests.fakes import tiny_data, tiny_module, tiny_trainer

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or sys.platform != "linux", reason="needs Chromium, to be found as chromium on the path"
)


def fit(folder: Path, seed: int, *, max_epochs: int = 2, checkpoint: Path | None = None) -> None:
    (folder / "config.yaml").write_text(f"seed_everything: {seed}\nmodel: {{optimizer: {{lr: 0.01}}}}\n")
    logger = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    callbacks = [SampleLog(every_n_rollouts=1), Pages(), Histograms(every_n_rollouts=1), HParams()]
    trainer = tiny_trainer(folder, *callbacks, logger=logger, max_epochs=max_epochs, val_check_interval=1)
    trainer.fit(tiny_module(folder, seed=seed), datamodule=tiny_data(folder), ckpt_path=checkpoint)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, str]]:
    runs = tmp_path_factory.mktemp("runs")
    for name, seed in (("one", 1), ("two", 2)):
        (runs / name).mkdir()
        fit(runs / name, seed)
    fit(runs / "two", 2, max_epochs=3, checkpoint=runs / "two" / "checkpoints" / "step=8.ckpt")
    with tensorboard(runs) as url, browser() as page:
        yield page, url


def texts(page: Page, selector: str, wanted: int) -> list[str]:
    """What stands in the elements, once there are as many."""
    text = f"deep(document, {selector!r}).map(each => each.textContent.trim())"
    page.wait(f"{text}.filter(each => each).length >= {wanted}")
    found = page.run(text)
    assert isinstance(found, list)
    return [each for each in found if each]


def test_the_pages_hold_drawn_charts(shown: tuple[Page, str]) -> None:
    """The first pages are open: their charts have lines."""
    page, url = shown
    page.go(f"{url}#custom_scalars")
    assert texts(page, ".category-name", len(PAGES)) == list(PAGES)
    titles = texts(page, ".name", 5)
    assert {"accuracy in training", "reward that is trained on", "entropy per token"} <= set(titles)
    page.wait("deep(document, 'path.line').length >= 10")


def test_samples_are_tables(shown: tuple[Page, str]) -> None:
    page, url = shown
    page.go(f"{url}#text")
    heads = texts(page, "th", 6)
    assert heads[:2] == ["completion", "tokens"]
    assert {"share_of_digits", "brevity", "advantage", "stop"} <= set(heads)


def test_histograms_are_there(shown: tuple[Page, str]) -> None:
    page, url = shown
    page.go(f"{url}#histograms")
    found = set(texts(page, ".name", 6))
    assert {"advantages", "rewards/share_of_digits", "rewards/brevity"} <= found


def test_runs_compare_by_settings_and_scores(shown: tuple[Page, str]) -> None:
    """One row for each run, also for the resumed one, with its learning rate, seed and scores."""
    page, url = shown
    page.go(f"{url}#hparams")
    page.wait("deep(document, 'vaadin-grid-cell-content').some(each => each.textContent.trim() == 'two')")
    cells = texts(page, "vaadin-grid-cell-content", 10)
    assert cells.count("one") == cells.count("two") == 1
    for column in ("model.optimizer.lr", "seed_everything", "val/accuracy"):
        assert column in " ".join(cells), cells
    assert {"0.010000", "1.0000", "2.0000"} <= set(cells), cells
