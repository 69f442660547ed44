"""The viewer of recorded rollouts: by step, group and prompt, in a terminal and as a page; hostile texts do nothing."""

import base64
import gzip
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest

from grpo_lightning import rollout_files
from grpo_lightning.rollout_files import RecordedGroup, write_file
from scripts.rollouts import main
from scripts.rollouts_page import level, page, visible
from tests.test_recording import HOSTILE, completion, group, header

ROOT = Path(__file__).parent.parent
MORE = "</i></div></details></main></body>\"'onmouseover='alert(2)' <img src=x onerror=alert(3)>&lt;b&gt;&#27;\x1b[2J"


def leave(folder: Path, groups: list[RecordedGroup], **changes: object) -> Path:
    """The folder of a run that has recorded these groups."""
    (folder / "rollouts").mkdir(parents=True, exist_ok=True)
    write_file(folder / "rollouts", header(**changes), groups)
    return folder


def some(text: str, advantage: float, **changes: object) -> object:
    return completion(text=text, token_texts=(text, "a", "<end>"), advantage=advantage, **changes)


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    main([*map(str, words)])
    return capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------- what it reads

INJECTED = '<meta http-equiv="refresh" content="0;url=http://127.0.0.1/">\x1b[2J'


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (0, {"rollout": INJECTED}),
        (0, {"sampling": [INJECTED]}),
        (1, {"1": 5}),
        (2, {"uid": INJECTED}),
        (2, {"uid": True}),
        (2, {"prompt": None}),
        (2, {"answer": 5}),
        (2, {"completions.stop_reason": INJECTED}),
        (2, {"completions.trained": INJECTED}),
        (2, {"completions.sampler_logprobs": [-1.0]}),
        (2, {"completions.policy_logprobs": [-1.0]}),
        (2, {"completions.token_ids": [1.0, 1.0, 1.0]}),
    ],
)
def test_what_is_of_another_type_is_refused_and_shown_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: int, change: dict[str, object]
) -> None:
    """A file that somebody sent: what is taken for a number is put into a page or a terminal as it is."""
    (path,) = (leave(tmp_path, [group()]) / "rollouts").iterdir()
    lines = [json.loads(each) for each in gzip.decompress(path.read_bytes()).splitlines()]
    for key, value in change.items():
        name = key.removeprefix("completions.")
        (lines[line] if name == key else lines[line]["completions"][0])[name] = value
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    for words in ([], ["--html", str(tmp_path / "page.html")]):
        with pytest.raises(SystemExit, match="is no recorded rollout, or a damaged one") as caught:
            main([str(tmp_path), *words])
        assert "\x1b" not in str(caught.value)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("content", [b" " * 3000, b"[" * 2900, b"[[1]]\n" * 1000])
def test_a_small_file_with_a_huge_content_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """A line longer than is read, one nested deeper than Python goes, and too many lines."""
    monkeypatch.setattr(rollout_files, "LONGEST", 2950)
    monkeypatch.setattr(rollout_files, "MOST", 4500)
    (path,) = (leave(tmp_path, [group()]) / "rollouts").iterdir()
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + content))
    with pytest.raises(SystemExit, match="is no recorded rollout, or a damaged one"):
        main([str(tmp_path)])


def test_a_full_disk_keeps_no_half_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        leave(tmp_path, [group()])
    assert not list((tmp_path / "rollouts").iterdir())


# -------------------------------------------------------------------------------------------------------- what it shows


def test_the_last_step_with_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path, [group(some("earlier", 1.0))], step=4)
    ours = some("later", -0.5, rewards={"answer": 0.25, "format": math.nan}, reward=0.125, stop_reason="length")
    leave(tmp_path, [group(ours, some("left", 0.0, trained=False), prompt="2+2", answer="4", uid=17)], step=8)
    text = shown(capsys, tmp_path)
    assert "steps 4, 8 are recorded" in text
    assert "step 8, rollout 7" in text
    assert "group 0 · prompt 17" in text
    assert "2+2\nanswer 4" in text
    assert "−0.500  reward 0.125  answer 0.25  format –  length, 3 tokens\n  later" in text
    assert "eos, 3 tokens  left out\n  left" in text
    assert "earlier" not in text
    assert "earlier" in shown(capsys, tmp_path / "rollouts", "--step", 4), "the folder itself may be named"


def test_one_group_by_number_and_by_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path, [group(uid=uid, prompt=f"prompt of {uid}") for uid in (5, 9, 7)])
    assert re.findall("prompt of .", shown(capsys, tmp_path)) == ["prompt of 5", "prompt of 9", "prompt of 7"]
    assert re.findall("prompt of .", shown(capsys, tmp_path, "--group", 1)) == ["prompt of 9"]
    text = shown(capsys, tmp_path, "--uid", 7)
    assert re.findall("prompt of .", text) == ["prompt of 7"]
    assert "group 2" in text, "its number in the step"


@pytest.mark.parametrize(
    ("sort", "order"), [(None, "one two three"), ("advantage", "two three one"), ("reward", "three one two")]
)
def test_completions_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str], sort: str | None, order: str) -> None:
    """The highest first; a completion without a reward last."""
    ours = [some("one", -1.0, reward=0.1), some("two", 1.0, reward=math.nan), some("three", 0.5, reward=0.7)]
    leave(tmp_path, [group(*ours)])
    text = shown(capsys, tmp_path, *(["--sort", sort] if sort else []))
    assert re.findall("^  (one|two|three)", text, re.MULTILINE) == order.split()
    long = completion(text="four", token_ids=(0,) * 5, token_texts=("a",) * 5, sampler_logprobs=(-1.0,) * 5)
    leave(tmp_path, [group(*ours, long.__class__(**{**fields(long), "policy_logprobs": None}))])
    assert re.findall("^  (one|four)", shown(capsys, tmp_path, "--sort", "length"), re.MULTILINE) == ["four", "one"]


def fields(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__slots__}


def test_levels_by_hand() -> None:
    """p = 0.95, 0.6, 0.3, 0.1 and 0.01; log-ratios of 0, 0.03, -0.3; advantages by their share of the largest."""
    logprobs = tuple(math.log(p) for p in (0.95, 0.6, 0.3, 0.1, 0.01))
    ours = completion(sampler_logprobs=(*logprobs, math.nan), policy_logprobs=None, advantage=-0.3)
    assert [level("logprob", ours, i, 1.0) for i in range(6)] == [0, 1, 2, 3, 4, None]
    assert level("ratio", ours, 0, 1.0) is None
    moved = completion(sampler_logprobs=(-1.0,) * 4, policy_logprobs=(-1.0, -0.97, -1.3, math.nan))
    assert [level("ratio", moved, i, 1.0) for i in range(4)] == [0, 1, -4, None]
    assert [level("advantage", ours, 0, largest) for largest in (0.3, 0.5, 1.0, 100.0)] == [-4, -3, -2, -1]
    assert level("advantage", completion(advantage=0.0), 0, 0.0) == 0


@pytest.mark.parametrize("by", ["logprob", "ratio", "advantage"])
def test_tokens_are_coloured(tmp_path: Path, by: str) -> None:
    """The first token is unlikely, has moved far and its completion is worst: the strongest colour of each."""
    ours = completion(
        text="xa",
        token_texts=("x", "a", "<end>"),
        sampler_logprobs=(-4.0, -0.01, -0.01),
        policy_logprobs=(-5.0, -0.01, -0.01),
    )
    leave(tmp_path, [group(ours)])
    colours = {"logprob": "224;114;15", "ratio": "47;111;208", "advantage": "214;69;69"}
    text = run(tmp_path, "--tokens", "--by", by, FORCE_COLOR="1", COLORTERM="truecolor", TERM="xterm-256color").stdout
    assert f"48;2;{colours[by]}mx" in text
    assert text.count(f"48;2;{colours[by]}m") == (3 if by == "advantage" else 1)


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a program; what it says is UTF-8."""
    command = [sys.executable, str(ROOT / "scripts" / "rollouts.py"), str(folder), *words]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", env=os.environ | environment, cwd=folder, check=False
    )


# -------------------------------------------------------------------------------------------------------- hostile texts


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would have them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag, "well formed"

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.inside[-1] if self.inside else "", []).append(data)


def hostile_group() -> RecordedGroup:
    texts = (HOSTILE, MORE, "\x9b\u202e\ud800")
    evil = completion(
        text="".join(texts), token_ids=(0, 1, 2), token_texts=texts, rewards={HOSTILE: 1.0, MORE: math.nan}
    )
    return group(evil, completion(token_texts=("", "a", "b"), token_ids=(3, 4, 5)), prompt=HOSTILE + MORE, answer=MORE)


TAGS = {"html", "head", "meta", "title", "style", "script", "body", "main", "nav", "details", "summary"} | {
    *("div", "span", "button", "h1", "h2", "i", "b")
}
"""All that a page needs."""


def test_a_page_holds_no_more_than_it_should() -> None:
    """Its own tags, one script and one style, whose checksums are the only ones allowed; nothing loaded or linked."""
    read = Page(page(MORE, header(sampling={"temperature": 1.0}), [(0, hostile_group())]))
    assert not read.inside
    assert {tag for tag, _ in read.tags} <= TAGS
    assert [tag for tag, _ in read.tags if tag in ("script", "style")] == ["style", "script"]
    names = {name for _, attributes in read.tags for name in attributes}
    assert names <= {"lang", "charset", "http-equiv", "content", "name", "class", "data-by", "data-t", "type", "open"}
    (policy,) = (a["content"] for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    sums = [
        base64.b64encode(hashlib.sha256("".join(read.texts[tag]).encode()).digest()).decode()
        for tag in ("style", "script")
    ]
    assert policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{sums[0]}'; script-src 'sha256-{sums[1]}'"
    )
    assert visible(MORE) in "".join(read.texts["h1"])
    assert visible(HOSTILE + MORE) in "".join(read.texts["div"])
    tokens = "".join(read.texts["i"])
    assert visible(HOSTILE).replace("\n", "⏎\n") in tokens
    assert visible(MORE) in tokens
    assert "\\x9b\\u202e\\ud800" in tokens


def test_nothing_that_acts_is_in_a_page_or_in_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every code point of the first planes but those that are letters, marks, signs or blanks; surrogates, tags."""
    leave(tmp_path, [hostile_group()])
    every = "".join(
        map(chr, [*range(0x3000), *range(0xD7F0, 0xE010), *range(0xFE00, 0x10010), *range(0xE0000, 0xE0080)])
    )
    text = shown(capsys, tmp_path) + shown(capsys, tmp_path, "--tokens") + visible(every)
    main([str(tmp_path), "--html", str(tmp_path / "page.html")])
    text += (tmp_path / "page.html").read_text(encoding="utf-8")
    kinds = {"\n": "line end", "\t": "tab", "\u200c": "joiner", "\u200d": "joiner"}
    acting = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in kinds}
    assert {c for c in acting if unicodedata.category(c) != "Cf"} == set()
    assert {
        c for c in acting if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI")
    } == set()
    assert not re.search("[\u200b\u200e\u200f\u061c\xad\u2060-\u206f\ufeff\U000e0000-\U000e0080]", text)


def test_colours_are_the_only_sequences(tmp_path: Path) -> None:
    leave(tmp_path, [hostile_group()])
    done = run(tmp_path, "--tokens", FORCE_COLOR="1", TERM="xterm-256color")
    assert done.returncode == 0
    assert "\x1b[" in done.stdout, "it is coloured"
    rest = re.sub("\x1b\\[[0-9;]*m", "", done.stdout)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", rest)
    assert "\\x1b[2J" in rest


def test_a_terminal_of_few_characters_gets_what_it_knows(tmp_path: Path) -> None:
    leave(tmp_path, [hostile_group()])
    done = run(tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: no rollouts are recorded there; name the folder of a run"),
        (["run", "--step", "7"], "rollouts: step 7 is not recorded; steps 4, 8 are"),
        (["run", "--step", "4", "--group", "2"], "--group: there is no group 2; step 4 has 0 to 1"),
        (["run", "--step", "4", "--group", "-1"], "--group: there is no group -1"),
        (["run", "--step", "4", "--uid", "1"], "--uid: step 4 has no prompt 1; it has 3, 5"),
        (["run", "--html", "no/such/page.html"], "no/such/page.html"),
        (["run", "--step", "8"], "step-000008.jsonl.gz: is no recorded rollout, or a damaged one"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    leave(tmp_path / "run", [group(), group(uid=5)], step=4)
    leave(tmp_path / "run", [group()], step=8)
    if words[-1] == "8":
        (tmp_path / "run" / "rollouts" / "step-000008.jsonl.gz").write_bytes(b"\x1b[2J")
    with pytest.raises(SystemExit) as error:
        main(words)
    assert message in str(error.value)
    assert str(error.value).startswith("rollouts: ")
    assert not re.search("[\x00-\x1f]", str(error.value))


def test_who_stops_reading_ends_it_quietly(tmp_path: Path) -> None:
    leave(tmp_path, [group(uid=uid) for uid in range(2000)])
    command = f"{sys.executable} {ROOT / 'scripts' / 'rollouts.py'} {tmp_path} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
