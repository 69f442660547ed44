"""The report: what a run has left, as far as it is there, in one file that loads nothing and runs no one's text."""

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from torch.utils.tensorboard import SummaryWriter

from grpo_lightning.cli import main
from scripts import report
from scripts.report_charts import Dot, Line, across, chart, labels, places_of, scatter, stacked, thinned, ticks, upward
from scripts.report_html import number, safe
from scripts.report_runs import NOT_SET, differences, names_of, read_run
from tests.test_cli import CONFIG
from tests.tiny import tiny_folder

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "report.py"
Curves = Mapping[str, Mapping[int, float]]

REWARDS = [
    {"name": "right", "weight": 1.0, "role": "objective", "reward": "some.Reward"},
    {"name": "seen", "weight": 0.0, "role": "objective", "reward": "some.Other"},
]


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, and all text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "circle", "line", "polyline", "polygon"):
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag, "elements are closed in their order"

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            self.texts[tag][-1] += data

    def rows(self) -> dict[str, list[str]]:
        """First cell of each row of a table -> the others, of the last row that begins so."""
        found: dict[str, list[str]] = {}
        first = ""
        for tag, text in self.cells:
            if tag == "th":
                first = text
                found[first] = []
            else:
                found[first].append(text)
        return found

    @property
    def cells(self) -> list[tuple[str, str]]:
        """Of all tables, in their order."""
        texts = {tag: iter(self.texts.get(tag, [])) for tag in ("th", "td")}
        return [(tag, next(texts[tag])) for tag, _ in self.elements if tag in texts]

    def spans(self) -> list[tuple[str, str]]:
        """Class and text of each."""
        kinds = [attributes.get("class", "") for tag, attributes in self.elements if tag == "span"]
        return list(zip(kinds, self.texts.get("span", []), strict=True))

    def charts(self) -> dict[str, dict[str, dict[float, float]]]:
        """Caption of a chart -> name of a line -> step -> value, as the pointer would show them."""
        captions = iter(self.texts.get("figcaption", []))
        found = {}
        for tag, attributes in self.elements:
            if tag == "svg":
                rows = json.loads(attributes["data-rows"])
                found[next(captions)] = {row[0]: dict(zip(row[2], row[3], strict=True)) for row in rows}
        return found


def log(folder: Path, curves: Curves) -> Path:
    """One more event file of TensorBoard, which is returned."""
    before = set(folder.glob("*tfevents*"))
    writer = SummaryWriter(str(folder), filename_suffix=f".{len(before)}")
    for tag, curve in curves.items():
        for step, value in curve.items():
            writer.add_scalar(tag, value, step)
    writer.close()
    (path,) = set(folder.glob("*tfevents*")) - before
    return path


def leave(
    folder: Path, curves: Curves | None = None, *, seed: int = 0, lr: float = 0.1, way: str = "sum", **after: float
) -> Path:
    """The folder of a run: its config, its log, and if anything was measured after training its summary."""
    folder.mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "run": folder.name,
        "trainer": {"default_root_dir": str(folder)},
        "model": {"rewards": REWARDS, "combine": {"way": way}, "optimizer": {"lr": lr}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    log(folder, {"reward": {1: 0.5, 2: 0.75}} if curves is None else curves)
    if after:
        before = dict.fromkeys(after, 0.25)
        intervals = {"after": {name: [value - 0.125, value + 0.125] for name, value in after.items()}}
        summary = {"before": before, "after": after, "intervals": intervals, "seconds": 7384, "seed": seed, "steps": 2}
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def made(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: object) -> Page:
    """The page that the command writes."""
    out = folder / "out" / "page.html"
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, words), "--out", str(out)])
    report.main()
    return Page(out.read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------------------ the page


def test_two_runs_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores with interval and origin, cost, the two settings that differ (not the folder), and both in each chart."""
    one = leave(tmp_path / "one", accuracy=0.5, length=30.0)
    two = leave(tmp_path / "two", {"reward": {1: 0.25}, "accuracy": {1: 0.5}}, seed=3, lr=0.2, accuracy=0.75)
    page = made(monkeypatch, tmp_path, one, two)
    rows = page.rows()
    assert rows["accuracy"] == ["50.0 %37.5 % to 62.5 %from 25.0 %", "75.0 %62.5 % to 87.5 %from 25.0 %"]
    assert rows["length"] == ["3029.9 to 30.1from 0.25", "–"]
    assert (rows["time"], rows["steps"], rows["seed"]) == (["2 h 3 min"] * 2, ["2", "2"], ["0", "3"])
    assert {key: value for key, value in rows.items() if "." in key or key == "seed_everything"} == {
        "seed_everything": ["0", "3"],
        "model.optimizer.lr": ["0.1", "0.2"],
    }
    charts = page.charts()
    assert charts["Reward"] == {"one": {1: 0.5, 2: 0.75}, "two": {1: 0.25}}
    assert charts["Accuracy in training not in one"] == {"two": {1: 0.5}}
    assert "KL to the sampler" not in charts
    assert any("kl to the sampler" in text for text in page.texts["p"]), "what is missing is said"


def test_what_stands_beside_a_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that one run lacks is said once, above its charts; a KL of 1e-13 is said to be none; seconds have one
    scale in both runs, up to 10: 5 of them are half as high. A setting like the first run's is faint."""
    curves = {"reward/seen": {1: 0.5, 2: 0.75}, "reward/seen/followed": {1: 0.5}, "update/kl_to_sampler": {1: 1e-13}}
    one = leave(tmp_path / "one", curves | {"time/update": {1: 10.0, 2: 10.0}})
    two = leave(tmp_path / "two", {"update/kl_to_sampler": {1: 2e-13}, "time/update": {1: 5.0, 2: 5.0}}, lr=0.2)
    page = made(monkeypatch, tmp_path, one, two, leave(tmp_path / "three", {}))
    assert "seen shown, never trained on · only in one" in page.texts["h3"]
    assert {"Mean", "Correlation with the advantage"} <= page.charts().keys()
    assert "KL to the sampler not in three, zero but for rounding" in page.charts()
    layers = [a["points"].split()[0] for tag, a in page.elements if a.get("class", "").startswith("layer")]
    (_, high), (_, half) = (map(float, point.split(",")) for point in layers)
    assert 184 - high == pytest.approx(2 * (184 - half), abs=0.2)
    assert high > 10, "all of it is within the plot"
    codes = [a.get("class", "") for tag, a in page.elements if tag == "code"]
    assert dict(zip(page.texts["code"], codes, strict=True)).keys() == {"model.optimizer.lr", "0.1", "0.2"}
    assert codes == ["", "", "", "faint"], "the key, 0.1, 0.2, and 0.1 again"


def test_one_run_with_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = {
        "reward/right": {1: 0.25, 2: 0.5},
        "reward/right/share": {1: 1.0, 2: 1.0},
        "reward/right/followed": {1: 0.875, 2: 0.75},
        "reward/right/errors": {1: 1.0, 2: 2.0},
        "reward/seen": {1: 3.0, 2: 4.0},
        "conflict/right-seen": {1: 0.125, 2: 0.25},
        "val/accuracy": {2: 0.5},
        "val/accuracy/low": {2: 0.25},
        "val/accuracy/high": {2: 0.75},
        "val/length": {2: 12.0},
        "update/grad_norm": {1: 2.0, 2: math.inf},
        "time/rollout": {1: 2.0, 2: 1.0},
        "time/update": {1: 1.0, 2: 4.0},
    }
    run = leave(tmp_path / "run", curves, accuracy=0.5, length=30.0)
    (run / "evaluation").mkdir()
    metrics = {"pass@4": {"value": 0.5, "low": 0.25, "high": 0.75}, "length": {"value": 12.5}}
    evaluation = {"step": 40, "sets": {"hard": {"prompts": 64, "metrics": metrics}}}
    (run / "evaluation" / "later.json").write_text(json.dumps(evaluation))
    page = made(monkeypatch, tmp_path, run)
    charts = page.charts()
    assert charts["Mean last 0.5"] == {"run": {1: 0.25, 2: 0.5}}
    assert charts["Correlation with the advantage last 0.75"] == {"run": {1: 0.875, 2: 0.75}}
    assert charts["Mean last 4"] == {"run": {1: 3.0, 2: 4.0}}
    assert charts["right-seen last 0.25"] == {"run": {1: 0.125, 2: 0.25}}
    assert charts["Held-out accuracy last 50.0 %"] == {"run": {2: 0.5}}
    assert charts["val/length last 12"] == {"run": {2: 12.0}}
    assert not any(caption.startswith("val/accuracy") for caption in charts), (
        "bounds are a band of their measure's chart"
    )
    assert charts["Gradient norm last inf, 1 not finite"] == {"run": {1: 2.0}}
    assert charts["run median rollout 1.5, update 2.5"] == {"update": {1: 1.0, 2: 4.0}, "rollout": {1: 2.0, 2: 1.0}}
    heads = page.texts["h3"]
    assert "right weight 1 · run: 3 errors" in heads
    assert "seen shown, never trained on" in heads
    rows = page.rows()
    assert rows["hard · pass@4"] == ["50.0 %25.0 % to 75.0 %64 prompts"]
    assert rows["hard · length"] == ["12.564 prompts"]
    assert rows["accuracy"] == ["25.0 %", "50.0 %37.5 % to 62.5 %"]
    assert page.texts["b"][:2] == ["25.0 % → 50.0 %", "0.25 → 30"]
    assert yaml.safe_load(page.texts["pre"][-1])["model"]["rewards"] == REWARDS
    assert "pareto-front" not in {attributes.get("id") for _, attributes in page.elements}, "of one run there is none"


def test_a_run_that_is_still_going(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    run = leave(tmp_path / "run", {"reward": {7: 0.5}, "accuracy": {7: 0.75}})
    page = made(monkeypatch, tmp_path, run)
    said = "no summary.json: still going, ended early, or without the BeforeAfter callback"
    assert said in capsys.readouterr().err
    assert any(said in text and "last logged: step 7" in text for text in page.texts["p"])
    assert page.texts["b"][:3] == ["0.5", "75.0 %", "7"]


def test_nothing_but_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("{}")
    page = made(monkeypatch, tmp_path, tmp_path / "run")
    assert not page.charts()
    assert any("nothing logged to TensorBoard" in text for text in page.texts["p"])


def test_what_a_crash_left_is_read_as_far_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log ends within its last record, and a file was being written."""
    run = leave(tmp_path / "run", {"reward": {1: 0.5, 2: 0.75, 3: 0.875}})
    (path,) = run.glob("*tfevents*")
    path.write_bytes(path.read_bytes()[:-5])
    (run / "summary.json").write_text('{"before": {"accur')
    (run / "samples.json").write_text('{"prompt": "no list"}')
    page = made(monkeypatch, tmp_path, run)
    assert page.charts()["Reward last 0.75"] == {"run": {1: 0.5, 2: 0.75}}
    (said,) = (text for text in page.texts["p"] if text.startswith("run: "))
    assert "summary.json cannot be read: JSONDecodeError" in said
    assert "samples.json is left out: it holds a dict, not a list" in said


def test_files_of_unheard_shapes_are_said_or_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = leave(tmp_path / "run", accuracy=0.5)
    (run / "config.yaml").write_text("- a list\n")
    (run / "summary.json").write_text('{"after": {"accuracy": "much", "length": NaN}, "seconds": null, "intervals": 3}')
    (run / "samples.json").write_text('[1, {}, {"prompt": 5, "before": "x", "after": {"text": null, "rewards": [2]}}]')
    (run / "evaluation").mkdir()
    (run / "evaluation" / "a.json").write_text('{"sets": {"s": {"metrics": {"m": 1}}, "t": null}}')
    (run / "evaluation" / "b.json").write_text("[]")
    log(run, {"reward": {2: 1.0}}).write_bytes(b"no record at all, but long enough to be read as one")
    page = made(monkeypatch, tmp_path, run)
    assert page.rows()["length"] == ["–", "nan"]
    assert page.rows()["s · m"] == ["–"]
    (said,) = (text for text in page.texts["p"] if text.startswith("run: "))
    assert "config.yaml is left out: it holds a list, not a mapping" in said
    assert "evaluation/b.json is left out" in said
    assert re.search(r"events.out.tfevents\S+ holds no event", said)
    assert page.charts()["Reward last 0.75"] == {"run": {1: 0.5, 2: 0.75}}


def test_samples_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = leave(tmp_path / "run", accuracy=0.5)
    first = {"prompt": "1+1", "answer": "2", "before": {"text": "\n 3", "rewards": {"right": 0.0, "code": None}}}
    first["after"] = {"text": "2", "rewards": {"right": 1.0, "code": None}}
    second = {"prompt": "2+2", "answer": None, "before": {"text": "4", "rewards": {"right": 1.0, "long": 2.5}}}
    second["after"] = {"text": "x" * 5000, "rewards": {"right": 0.0, "long": 2.5}}
    rest = [first] * 28  # 30 in all, of which 24 are shown
    (run / "samples.json").write_text(json.dumps([first, second, *rest]))
    page = made(monkeypatch, tmp_path, run)
    pre = page.texts["pre"]
    assert pre[:3] == ["\n1+1", "\n\n 3", "\n2"], "a browser takes away the first new line of each"
    assert pre[5] == "\n" + "x" * 4000 + " … and 1,000 more characters"
    assert len(pre) == 3 * 24 + 1, "and the config"
    chips = [text for kind, text in page.spans() if kind == "chip"]
    assert chips[:5] == ["answer: 2", "right 0", "code does not apply", "right 1 ▲", "code does not apply"]
    assert chips[5:9] == ["right 1", "long 2.5", "right 0 ▼", "long 2.5"]
    (head,) = (text for text in page.texts["h3"] if "prompts" in text)
    assert head.split("; ") == [
        "run the first 24 of 30 prompts",
        "right up in 29, down in 1",
        "code up in 0, down in 0",
        "long up in 0, down in 0",
    ]


HOSTILE = [
    "</pre></div><script>alert(1)</script>",
    "</style><style>@import 'http://evil/x'</style>",
    "]]><!-- --> <![CDATA[ <svg onload=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus=alert(1) '",
    "<img src=http://evil/x onerror=alert(1)>",
    "<base href=http://evil/><meta http-equiv=refresh content='0;url=http://evil/'>",
    "&lt;script&gt; &#60;script&#62;",
    "javascript:alert(1)",
]
UNSEEN = "\x00\x1b\r\x7f\x85\ud800\u202e\ufeff\U000e0041"
SPELT = "⟨U+0000⟩⟨U+001B⟩⟨U+000D⟩⟨U+007F⟩⟨U+0085⟩⟨U+D800⟩⟨U+202E⟩⟨U+FEFF⟩⟨U+E0041⟩"


def page_with(monkeypatch: pytest.MonkeyPatch, folder: Path, texts: Sequence[str]) -> Page:
    """Of two runs with these texts in prompts, answers, completions and all names."""
    text = "".join(texts)
    name = text.replace("/", "∕").replace("\ud800", "")  # TensorBoard refuses it
    curves = {f"reward/{name}": {1: 0.5}, f"reward/{name}/errors": {1: 1.0}, f"val/{name}": {1: 0.5}}
    named = "".join(filter(str.isprintable, name))[:60] or "run"
    run = leave(folder / named, curves, way=text, accuracy=0.5, **{text: 0.5})
    other = leave(folder / "other", curves, accuracy=0.25)
    sides = {
        when: {"text": each, "rewards": {each: 0.5}} for when, each in zip(("before", "after"), texts, strict=False)
    }
    (run / "samples.json").write_text(json.dumps([{"prompt": each, "answer": each} | sides for each in texts]))
    (run / "evaluation").mkdir()
    measured = {"step": text, "sets": {text: {"prompts": text, "metrics": {text: {"value": 0.5}}}}}
    (run / "evaluation" / "e.json").write_text(json.dumps(measured))
    return made(monkeypatch, folder, run, other)


def test_hostile_texts_stay_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has the elements and attributes of one with harmless texts, and shows each as it is."""
    assert max(map(len, HOSTILE)) < 80
    harmless = page_with(monkeypatch, tmp_path / "harmless", ["a"] * len(HOSTILE))
    hostile = page_with(monkeypatch, tmp_path / "hostile", HOSTILE)
    assert [(tag, sorted(a)) for tag, a in hostile.elements] == [(tag, sorted(a)) for tag, a in harmless.elements]
    assert [f"\n{text}" for text in HOSTILE] == hostile.texts["pre"][: 3 * len(HOSTILE) : 3]
    assert hostile.texts["script"] == harmless.texts["script"]
    assert hostile.texts["style"] == harmless.texts["style"]
    unseen = page_with(monkeypatch, tmp_path / "unseen", [UNSEEN] * 2)
    assert unseen.texts["pre"][:3] == [f"\n{SPELT}"] * 3


def test_the_page_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No element that fetches, no address but places in the page, and a policy that allows its own script and style."""
    page = made(monkeypatch, tmp_path, leave(tmp_path / "one", accuracy=0.5), leave(tmp_path / "two"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "image", "use", "audio", "video", "source", "base"}
    for tag, attributes in page.elements:
        assert not {"src", "srcset", "style", "xlink:href", "action", "background", "data"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert attributes.get("href", "#").startswith("#")
    (script,), (style,) = page.texts["script"], page.texts["style"]
    for text in (script, style):
        assert (
            not any(word in text for word in ("http", "//", "import", "url(", "fetch", "innerHTML")) or text is script
        )
    assert not any(word in script for word in ("http", "import", "fetch", "innerHTML", "XMLHttp", "eval"))
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    hashes = ["sha256-" + base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (style, script)]
    assert policy == f"default-src 'none'; style-src '{hashes[0]}'; script-src '{hashes[1]}'"


def test_a_long_run_makes_a_small_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1000 steps of 12 tags, 24 prompts with the longest texts that are shown whole."""
    shown = ("reward", "accuracy", "update/entropy", "update/ess", "update/grad_norm", "completion/tokens")
    tags = [
        *shown,
        *(f"reward/right{end}" for end in ("", "/share", "/followed")),
        "time/rollout",
        "time/update",
        "reward/seen",
    ]
    run = leave(tmp_path / "run", {tag: {step: math.sin(step) for step in range(1000)} for tag in tags}, accuracy=0.5)
    side = {"text": "x" * 4000, "rewards": {"right": 1.0}}
    (run / "samples.json").write_text(json.dumps([{"prompt": "p", "answer": "a", "before": side, "after": side}] * 24))
    made(monkeypatch, tmp_path, run)
    assert (tmp_path / "out" / "page.html").stat().st_size < 600_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["../nowhere"], "nowhere: there is no such folder"),
        (["../empty"], "empty: is no run: no config.yaml, summary.json or event file of TensorBoard"),
        (["../run", "../empty"], "empty: is no run"),
        ([".."], "name the runs in it, as in ../*"),
        (["../file"], "file: is a file; name the folders of runs"),
        (["../run", "--high", "x"], "a front has two different objectives or more, not x"),
        (["../run", "--out", ".."], "--out: .. cannot be written: Is a directory"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, words: list[str], message: str) -> None:
    leave(tmp_path / "run", accuracy=0.5)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    done = subprocess.run([sys.executable, SCRIPT, *words], cwd=tmp_path / "empty", capture_output=True, text=True)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "empty").iterdir())


def test_of_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny fit of four steps and the command as one types it, from another folder."""
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    config = json.loads(json.dumps(CONFIG))
    config["model"]["rewards"][1]["reward"] = "rewards.length.Tokens"
    tiny_folder(tmp_path / "tiny")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", "config.yaml"])
    summary = json.loads(Path("runs/tiny/summary.json").read_text())
    subprocess.run([sys.executable, SCRIPT, "runs/tiny"], check=True, capture_output=True)
    page = Page(Path("report.html").read_text(encoding="utf-8"))
    drawn = {caption.partition(" last ")[0]: lines for caption, lines in page.charts().items()}
    assert set(drawn["Reward"]["tiny"]) == {1, 2, 3, 4}
    learning = {"Accuracy in training", "Entropy per token", "Tokens per completion", "KL to the sampler"}
    others = {
        "Mean",
        "Share of the advantage",
        "Gradient norm",
        "Effective sample size",
        "Completion tokens per second",
    }
    assert learning | others <= set(drawn)
    assert page.rows()["length"][1].startswith(number(summary["after"]["length"]))
    stages = next(lines for caption, lines in page.charts().items() if caption.startswith("tiny median"))
    assert set(stages) == {"rollout", "reward", "prepare", "update"}


# ------------------------------------------------------------------------------------------------------------- reading


def test_of_a_step_logged_twice_the_later_value_holds(tmp_path: Path) -> None:
    """The second file was begun later; within a file, what stands behind is later. Renamed ones are not read."""
    run = leave(tmp_path / "run", {"reward": {1: 0.1, 2: 0.2, 3: 0.3}})
    log(run, {"reward": {2: 0.5, 4: 0.75}})
    second = log(run, {"reward": {2: 8.0}})
    second.rename(run / second.name.replace("tfevents", "replaced"))
    curve = read_run(run, "run").curves["reward"]
    assert list(curve) == [1, 2, 3, 4]
    assert [round(value, 6) for value in curve.values()] == [0.1, 0.5, 0.3, 0.75]
    (first, later) = sorted(run.glob("*tfevents*"))
    first.rename(run / "z.tfevents")
    later.rename(run / "a.tfevents")
    assert read_run(run, "run").curves["reward"][2] == 0.5, "by the time within, not by name"


def test_scalars_of_the_new_style_count_and_other_tensors_do_not(tmp_path: Path) -> None:
    run = leave(tmp_path / "run", {})
    writer = SummaryWriter(str(run))
    writer.add_scalar("reward", 0.25, 1, new_style=True)
    writer.add_text("samples", "a table", 1)
    writer.close()
    assert read_run(run, "run").curves == {"reward": {1: 0.25}}


def test_settings_that_differ() -> None:
    """Items with names are compared by these; a whole item that one lacks is one row; places are no settings."""
    a = {"run": "a", "trainer": {"default_root_dir": "a", "steps": 1}, "lr": 0.1, "stop": []}
    b = {"run": "b", "trainer": {"default_root_dir": "b", "steps": 1}, "lr": 0.1, "stop": ["x"], "more": None}
    a["rewards"] = [{"name": "x", "weight": 1}, {"reward": {"class_path": "y.Y"}, "weight": 2}]
    b["rewards"] = [{"name": "z"}, {"reward": {"class_path": "y.Y"}, "weight": 3}, {"name": "x", "weight": 1}]
    assert differences([a, b]) == [
        ("stop", [[], ["x"]]),
        ("rewards.y.Y.weight", [2, 3]),
        ("rewards.z", [NOT_SET, {"name": "z"}]),
        ("more", [NOT_SET, None]),
    ]
    assert differences([a, a, a]) == []


def test_names_are_as_long_as_they_must_be() -> None:
    assert names_of([Path("/r/a"), Path("/r/b")]) == ["a", "b"]
    assert names_of([Path("/r/x/a"), Path("/r/y/a"), Path("/b")]) == ["x/a", "y/a", "b"]


# -------------------------------------------------------------------------------------------------------------- charts


def test_round_numbers() -> None:
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ticks(0.3, 10.2) == [2, 4, 6, 8, 10]
    assert ticks(5, 5) == [5]
    assert labels([100.1, 100.12, 100.14]) == ["100.1", "100.12", "100.14"]
    assert labels([0, 5000, 10000]) == ["0", "5,000", "10,000"]
    assert number(1234.6) == "1,235"
    assert number(0.00012345) == "0.000123"
    assert safe("a\tb\n<&\"'") == "a\tb\n&lt;&amp;&quot;&#x27;"


def test_scales_by_hand() -> None:
    """The plot is 48 to 382 wide and 184 up to 10 high. An axis is logarithmic if the largest value is over 200 times
    the median of those above 0; what is 0 is then at the bottom."""
    assert across([0, 10])(5) == 215
    assert upward([0.2, 0.7], share=True)(0.5) == 97
    assert upward([0.2, 1.5], share=True).high > 1.5
    assert upward([3.0, 4.0], zero=True).low == 0
    wide = upward([1, 1, 1, 0, 10_000], wide=True)
    assert (wide(1), wide(100), wide(0)) == (184, 97, 184)
    assert wide.ticks == [1, 10, 100, 1000, 10_000]
    assert not upward([1, 1, 1, 200], wide=True).log
    assert upward([0.0, 0.0]).low == 0


def test_long_lines_become_means_with_their_range() -> None:
    """401 points: 3 at a time, so 134; 0, 1, 2 -> 1 within 0 and 2; the last is the mean of 399 and 400."""
    line = Line(name="a", colour=0, x=range(401), y=[float(i) for i in range(401)])
    thin, size = thinned(line)
    assert (size, len(thin.y)) == (3, 134)
    assert (thin.x[0], thin.y[0], thin.low[0], thin.high[0]) == (1, 1, 0, 2)
    assert (thin.x[-1], thin.y[-1], thin.low[-1], thin.high[-1]) == (399.5, 399.5, 399, 400)
    short = Line(name="a", colour=0, x=[1], y=[2.0])
    assert thinned(short) == (short, 1)
    bounded = Line(name="a", colour=0, x=range(401), y=line.y, low=[-1.0] * 401, high=[2.0] * 401)
    assert set(thinned(bounded)[0].low) == {-1.0}


def test_a_band_between_bounds() -> None:
    """From 0 to 1 is 184 up to 10, so 0.25 is at 140.5, 0.75 at 53.5; a step without bounds has no part in it."""
    line = Line(name="a", colour=8, x=[1, 2, 3], y=[0.5, 0.5, 0.5], low=[0.25, math.nan, 0.25], high=[0.75, 0.75, 0.75])
    page = Page(chart("c", [line], share=True))
    (band,) = (a for tag, a in page.elements if tag == "polygon")
    assert band == {"class": "band run-8 c1 again", "points": "48.0,53.5 382.0,53.5 382.0,140.5 48.0,140.5"}
    (path,) = (a["points"] for tag, a in page.elements if tag == "polyline")
    assert path == "48.0,97.0 215.0,97.0 382.0,97.0"
    assert chart("c", [Line(name="a", colour=0, x=[1], y=[math.nan])]) == ""


def test_a_chart_says_what_was_done_to_its_numbers() -> None:
    """401 values, 3 at a time; one is endless, so 400 are left, 2 at a time; one is over 200 times the median."""
    long = Line(name="a", colour=0, x=range(401), y=[1.0] * 401)
    assert Page(chart("c", [long])).texts["small"] == ["means of 3 steps"]
    endless = Line(name="a", colour=0, x=range(401), y=[math.inf, *[1.0] * 399, 500.0])
    assert Page(chart("c", [endless], wide=True)).texts["small"] == ["logarithmic, 1 not finite, means of 2 steps"]


def test_layers_stand_on_each_other() -> None:
    """Up to 10 with a margin of 6 %: 10.6 is 174 high, so 5.3 is 87 up from 184, at 97."""
    layers = [
        Line(name=n, colour=k, x=[1, 2], y=y) for k, (n, y) in enumerate({"a": [5.3, 0.0], "b": [5.3, 5.3]}.items())
    ]
    page = Page(stacked("s", layers, top=10.0))
    lower, upper = (a["points"] for tag, a in page.elements if tag == "polygon")
    assert lower == "48.0,97.0 382.0,184.0 382.0,184.0 48.0,184.0"
    assert upper == "48.0,10.0 382.0,97.0 382.0,184.0 48.0,97.0"


@pytest.mark.parametrize("low", [True, False])
def test_the_line_along_a_front(low: bool) -> None:
    """Where x is to be low, what was reached at the left end holds until the right one; where high, what was reached at
    the right end holds from the left one on."""
    ends = [(0.0, 1.0), (1.0, 2.0)] if low else [(0.0, 2.0), (1.0, 1.0)]
    dots = [Dot(name=str(i), colour=i, x=x, y=y) for i, (x, y) in enumerate(ends)]
    page = Page(scatter(dots, [("sum", ends)], ("x", "y"), low=low))
    (path,) = (a["points"] for tag, a in page.elements if tag == "polyline")
    start, bend, end = (tuple(map(float, point.split(","))) for point in path.split())
    assert bend == ((end[0], start[1]) if low else (start[0], end[1]))


def test_names_do_not_cover_each_other() -> None:
    """Three runs in one place: three names at three heights or sides; a name wider than the plot is left out."""
    scales = across([0, 1]), upward([0, 1])
    dots = [Dot(name="name", colour=0, x=0.5, y=0.5)] * 3
    assert len(set(places_of(dots, scales)) - {""}) == 3
    assert places_of([Dot(name="n" * 90, colour=0, x=0.5, y=0.5)], scales) == [""]


def test_the_front_of_several_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As front.py has it: from the worst of all, 0.25 and 40 tokens, (0.5, 20) holds 0.25 x 20 = 5 and (0.75, 30)
    next to it 0.25 x 10 more: 7.5; the other way's only run is the worst in both."""
    runs = [
        leave(tmp_path / "a", accuracy_sampled=0.5, length_sampled=20.0),
        leave(tmp_path / "b", accuracy_sampled=0.75, length_sampled=30.0),
        leave(tmp_path / "c", way="gdpo", accuracy_sampled=0.25, length_sampled=40.0),
        leave(tmp_path / "d", accuracy_sampled=0.5),
    ]
    page = made(monkeypatch, tmp_path, *runs)
    assert page.rows()["sum"] == ["2", "2", "7.5"]
    assert page.rows()["gdpo"] == ["1", "1", "0"]
    fronts = [a["points"].split() for tag, a in page.elements if a.get("class", "").startswith("front")]
    assert [len(front) for front in fronts] == [1, 3], "gdpo's, and that of a and b with a corner"
    start, bend, end = (point.split(",") for point in fronts[1])
    assert bend == [start[0], end[1]], "from a on, b's accuracy is to be had for b's length"
    assert "Not among them, without accuracy_sampled, length_sampled: d." in page.texts["p"]
    assert "a: accuracy_sampled (higher is better) 0.5, length_sampled (lower is better) 20" in page.texts["title"]
    page = made(monkeypatch, tmp_path, *runs, "--high", "accuracy", "--low", "length_sampled")
    (said,) = (text for text in page.texts["p"] if text.startswith("Fewer than two runs"))
    assert said.endswith("--high and --low choose others of accuracy_sampled, length_sampled.")


def test_what_is_no_number_and_no_time_is_left_out(tmp_path: Path) -> None:
    """One number that claims to be 10^15 of them, none, a text, and a time that never comes."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    writer = EventFileWriter(str(tmp_path))
    many, none = make_tensor_proto(1.0), make_tensor_proto(1.0)
    many.tensor_shape.dim.add(size=10**15)
    del none.float_val[:]
    for tag, tensor in {
        "many": many,
        "none": none,
        "text": make_tensor_proto("a"),
        "one": make_tensor_proto(2.0),
    }.items():
        value = Summary.Value(tag=tag, tensor=tensor)
        value.metadata.plugin_data.plugin_name = "scalars"
        writer.add_event(Event(wall_time=1e300 if tag == "one" else 5.0, step=1, summary=Summary(value=[value])))
    writer.close()
    run = read_run(tmp_path, "run")
    assert "many" not in run.curves
    assert "text" not in run.curves
    assert run.curves["one"] == {1: 2.0}
    assert run.times is not None
    assert run.times[1] < 1e11
