"""Every page is run: its commands in their order, its files, its Python, its settings; and its links lead somewhere.

A command that needs a GPU, the hub or the network says so in a comment. Then what can be told without is checked: of
ours, that it is accepted; of others, that it names what exists. What takes long is made small by further words.
"""

import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grpo_lightning.cli import main
from scripts.bench import SIZES, Work
from tests.dry import dry, every_setting, with_parents
from tests.hub_rows import DEEPMATH, GSM8K, MBPP, many, write_parquet
from tests.pages import PAGES, ROOT, Block, blocks_of, codes_of, commands_of, links_of, tables_of

MARK = re.compile(r"\s#.*needs (?:a GPU|the hub|the network)")
SMALLER = {
    "fit": ["--trainer.val_check_interval", "1", "--trainer.enable_progress_bar", "false"],
    "test": ["--trainer.enable_progress_bar", "false"],
    "validate": ["--trainer.enable_progress_bar", "false"],
    "predict": ["--trainer.enable_progress_bar", "false"],
    "export": [],
}
FEW = ["--data.source.init_args.train", "32", "--data.source.init_args.validation", "4"]
FEW += ["--data.source.init_args.test", "4"]
"""Of the embedded tasks: one step."""

HUB_DATA = {
    "openai/gsm8k",
    "zwhe99/DeepMath-103K",
    "google-research-datasets/mbpp",
    "nlile/hendrycks-MATH-benchmark",
    "HuggingFaceH4/MATH-500",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone after `make quickstart`, with files where `hf download` would put them."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("configs", "scripts", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    write_parquet(folder / "data/deepmath-hub/data", train=many(DEEPMATH, "question", 64))
    write_parquet(folder / "data/gsm8k-hub/main", train=many(GSM8K, "question", 4), test=[GSM8K])
    write_parquet(folder / "data/mbpp-hub/full", train=[MBPP], validation=[MBPP], test=[MBPP])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["grpo-lightning"])
        patch.setattr(sys, "path", [*sys.path])
        main(["fit", "--config", "configs/quickstart.yaml", *SMALLER["fit"], *FEW])
    return folder


@pytest.fixture
def clone(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where one stands; modules of an earlier page are forgotten."""
    folder = tmp_path / "clone"
    shutil.copytree(ground, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    monkeypatch.setenv("JUDGE_KEY", "k")
    for name in [name for name in sys.modules if name in ("rewards.brief", "rewards.brevity", "rewards.palindrome")]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def of_page(page: Path, kind: str) -> list[Block]:
    return [block for block in blocks_of(page) if block.kind == kind]


def with_blocks(*kinds: str) -> list[Path]:
    return [page for page in PAGES if any(block.kind in kinds for block in blocks_of(page))]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def write_files(page: Path) -> None:
    for block in blocks_of(page):
        if block.path is not None:
            Path(block.path).parent.mkdir(parents=True, exist_ok=True)
            Path(block.path).write_text(block.text, encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- commands


def ours(words: Sequence[str], marked: bool) -> None:
    """`grpo-lightning ...`"""
    command, explains = words[0], {"--help", "--print_config"} & set(words)
    if marked:
        dry(*words)
        return
    if explains:
        with pytest.raises(SystemExit, match="0"):
            main(list(words))
        return
    embedded = command == "fit" and "mine.yaml" not in words
    main([*words, *SMALLER[command], *(FEW if embedded else [])])
    if command == "export":
        assert (Path(words[words.index("--folder") + 1]) / "model.safetensors").is_file()
    if command == "predict":
        assert (Path(words[words.index("--config") + 1]).parent / "predictions.jsonl").is_file()


def script(words: Sequence[str], marked: bool) -> None:
    """`python scripts/NAME.py ...`, in this process."""
    name = Path(words[0]).name
    if name == "bench.py":
        benched(words, marked)
        return
    if name == "plan.py" and marked:  # all that it wants of the hub is the model's shape
        words = [*words, "--shape", "0.5b"]
    if name == "front.py":
        words = [words[0], *(word for word in words[1:] if Path(word, "summary.json").is_file())]
        assert len(words) > 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(words))
        runpy.run_path(words[0], run_name="__main__")
    if name == "front.py":
        assert Path("runs/front.png").is_file()
    if "--out" in words:
        assert Path(words[words.index("--out") + 1]).exists()


def python(words: Sequence[str], marked: bool) -> None:
    """`python ...`"""
    if words[0].startswith("scripts/"):
        script(words, marked)
    elif words[0] == "-c":
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
    elif words[:2] == ["-m", "grpo_lightning.replay"]:  # of a step that went wrong: see test_faults.py
        assert "replay.main(" in (ROOT / "tests" / "test_faults.py").read_text(encoding="utf-8")
    elif words[:2] == ["-m", "scripts.bench_curves"]:
        draw_curves(words)
    elif words[:2] == ["-m", "scripts.bench_gpu"]:
        measure_gpu(words, marked)
    elif words[:2] == ["-m", "pip"]:
        pip(words[2:], marked)
    else:
        assert words[:2] == ["-m", "venv"], words
        assert marked, "needs the network"


def benched(words: Sequence[str], marked: bool) -> None:
    """`bench.py` runs in test_bench.py, on small work, with each of these options; here, that its files are there. What
    needs a GPU has options that are there.
    """
    options = {word for word in words if word.startswith("--")} - {"--size"}
    assert options
    if marked:
        known = {f"--{field.name.replace('_', '-')}" for field in fields(Work)} | {"--rival", "--rounds"}
        assert options <= known, options - known
    else:
        tested = (ROOT / "tests" / "test_bench.py").read_text(encoding="utf-8")
        assert all(f'"{option}"' in tested for option in options), words
    assert "--size" not in words or words[words.index("--size") + 1] in SIZES
    assert "--against" not in words or Path(words[words.index("--against") + 1]).is_file()


def measure_gpu(words: Sequence[str], marked: bool) -> None:
    """On a CPU, with a small policy, few tokens and nothing compiled."""
    from scripts import bench_gpu

    assert marked, "needs a GPU"
    few = ["--size", "tiny", "--device", "cpu", "--after", "0", "--mean", "8", "--times", "1", "--no-compile"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*words[1:], *few])
        bench_gpu.main()
    assert Path(words[words.index("--json") + 1]).is_file()


def draw_curves(words: Sequence[str]) -> None:
    """With one small work for all points, measured once."""
    from scripts import bench_curves

    few = {"prompts": 2, "group": 2, "max_tokens": 8, "steps": 1, "warm": 1}
    work = replace(bench_curves.VOCABULARIES[0], **few)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(words[1:]))
        patch.setattr(bench_curves, "measured", cache(bench_curves.measured))
        for name in ("TOKENS", "VOCABULARIES", "GROUPS"):
            patch.setattr(bench_curves, name, [work])
        bench_curves.main()
    assert Path(words[words.index("--folder") + 1], "curves.png").is_file()


def pip(words: Sequence[str], marked: bool) -> None:
    """`pip install ...`: extras of ours that exist; a version of what is pinned is that version."""
    assert marked, "needs the network"
    assert words[0] == "install"
    for name in re.findall(r"(?:grpo-lightning|\.)\[([\w,]+)\]", " ".join(words)):
        assert set(name.split(",")) <= PROJECT["optional-dependencies"].keys(), name
    assert "-c" not in words or (ROOT / words[words.index("-c") + 1]).is_file()
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    for name, version in re.findall(r"([\w-]+)==(\S+)", " ".join(words)):
        assert version == pinned.get(name, version), name
        assert name in pinned or any(need.startswith(f"{name}>=") for need in PROJECT["optional-dependencies"]["vllm"])


def make(words: Sequence[str], marked: bool) -> None:
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def tensorboard(words: Sequence[str], marked: bool) -> None:
    """It finds curves where it is told to look."""
    done = subprocess.run(
        [sys.executable, "-m", "tensorboard.main", "--inspect", *words], capture_output=True, text=True
    )
    assert "reward/answer" in done.stdout, done.stderr[-500:]


def pytest_(words: Sequence[str], marked: bool) -> None:
    """Not inside itself: that it has such a mark."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert words[0] == "-m"
    assert any(mark.startswith(f"{words[1]}:") for mark in options["markers"])


def started(words: Sequence[str], marked: bool) -> None:
    """`scripts/torchrun.sh ...` and `sbatch scripts/slurm.sh ...` pass on what fit takes."""
    assert marked, "needs a GPU"
    path, *rest = words
    assert os.access(ROOT / path, os.X_OK)
    dry("fit", *rest)


def of_others(words: Sequence[str], marked: bool) -> None:
    """Programs that are not here."""
    assert marked, "needs a GPU, the hub or the network"
    data = [word for word, before in zip(words[1:], words, strict=False) if before == "download"]
    assert set(data) <= HUB_DATA, data


HANDLERS: dict[str, Callable[[Sequence[str], bool], None]] = {
    "grpo-lightning": ours,
    "python": python,
    "python3": python,
    ".venv/bin/python": python,
    "pip": pip,
    "make": make,
    "tensorboard": tensorboard,
    ".venv/bin/pytest": pytest_,
    "scripts/torchrun.sh": lambda words, marked: started(["scripts/torchrun.sh", *words], marked),
    "sbatch": started,
    "vllm": of_others,
    "lm_eval": of_others,
    "hf": of_others,
}


def run(line: str) -> None:
    """One command, by whoever knows its program."""
    words = shlex.split(line, comments=True)
    while re.fullmatch(r"[A-Z_0-9]+=\S*", words[0]):
        words = words[1:]
    words = [each for word in words for each in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    assert words[0] in HANDLERS, f"nobody runs {line!r}"
    HANDLERS[words[0]](words[1:], bool(MARK.search(line)))


@pytest.mark.parametrize("page", with_blocks("bash", "sh"), ids=named)
def test_every_command_works(page: Path, clone: Path) -> None:
    """In their order, because later ones use what earlier ones leave."""
    write_files(page)
    for block in blocks_of(page):
        for line in commands_of(block) if block.kind in ("bash", "sh") else []:
            run(line)


def test_a_command_that_nobody_runs_is_found(clone: Path) -> None:
    with pytest.raises(AssertionError, match="nobody runs 'rm -rf runs'"):
        run("rm -rf runs")
    with pytest.raises(Exception, match="nonsense"):
        run("grpo-lightning fit --config configs/quickstart.yaml --model.nonsense 1   # needs a GPU")
    with pytest.raises(AssertionError, match="needs the network"):
        run("pip install 'grpo-lightning[lora]'")
    with pytest.raises(AssertionError, match="moon"):
        run("pip install 'grpo-lightning[moon]'   # needs the network")


def test_commands_within_a_sentence_name_what_exists() -> None:
    """They are not run: a target, a command of ours, a script and its options, a file of tests."""
    for page in PAGES:
        for code in codes_of(page):
            first, *rest = code.split()
            if first == "make":
                make(rest, marked=False)
            elif first == "grpo-lightning" and rest:
                assert rest[0] in {*SMALLER, "--help"}, f"{named(page)}: {code}"
            elif first == "python" and rest[0].startswith("scripts/"):
                source = (ROOT / rest[0]).read_text(encoding="utf-8")
                assert all(f'"{word}"' in source for word in rest if word.startswith("--")), f"{named(page)}: {code}"
            elif first == "pytest" and "/" in rest[0]:
                assert (ROOT / rest[0]).is_file(), f"{named(page)}: {code}"


CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
HEADS = {path: re.findall(r"^#   (\S.*)$", path.read_text(encoding="utf-8"), re.MULTILINE) for path in CONFIGS}


@pytest.mark.parametrize("path", [path for path, lines in HEADS.items() if lines], ids=named)
def test_the_commands_at_the_head_of_a_config_are_accepted(path: Path, clone: Path) -> None:
    """In their order; its scripts run, downloads and fits are checked as if they were marked."""
    Path("RUN.yaml").write_text((ROOT / "configs" / "gsm8k-qwen2.5-0.5b.yaml").read_text(encoding="utf-8"))
    for line in HEADS[path]:
        run(line if line.startswith("python ") else f"{line}   # needs the hub")


@pytest.mark.parametrize("command", ["download", "auth login", "upload"])
def test_the_hub_s_program_has_the_commands_and_options_that_we_name(command: str) -> None:
    words = [Path(sys.executable).with_name("hf"), *command.split(), "--help"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    named_options = {
        word for lines in HEADS.values() for line in lines for word in line.split() if "hf download" in line
    }
    if command == "download":
        assert all(option in told for option in named_options if option.startswith("--"))


# -------------------------------------------------------------------------------------------------- settings and Python


def settings_of(block: Block) -> dict[str, object]:
    """What a block of YAML sets; a part of `model` is put there."""
    read = yaml.safe_load(block.text)
    inside = {key: value for key, value in read.items() if key in ("rewards", "engine", "objective", "combine")}
    rest = {key: value for key, value in read.items() if key not in inside}
    return rest | ({"model": inside} if inside else {})


@pytest.mark.parametrize("page", with_blocks("yaml"), ids=named)
def test_all_settings_are_accepted(page: Path, clone: Path) -> None:
    """By themselves where they are a whole config, else laid over the quickstart; a source gives prompts."""
    write_files(page)
    for number, block in enumerate(of_page(page, "yaml")):
        settings = settings_of(block)
        model = settings.get("model")
        whole = isinstance(model, dict) and "pretrained" in model.get("policy", {})
        Path(f"block-{number}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        configs = [*([] if whole else ["configs/quickstart.yaml"]), f"block-{number}.yaml"]
        words = [word for config in configs for word in ("--config", config)]
        if "evaluation" not in (model or {}):
            words += ["--model.evaluation.accuracy", "null"]
        found = dry("fit", *words)
        if "data" in settings and not whole and not found.datamodule.sets:  # those of pages lie on the hub
            found.datamodule.setup("fit")
            assert len(found.datamodule.prompts["train"]) > 0


@pytest.mark.parametrize("page", with_blocks("python"), ids=named)
def test_all_python_runs(page: Path, clone: Path) -> None:
    """Where it needs what is not here, it is Python at least."""
    write_files(page)
    for block in of_page(page, "python"):
        code = compile(block.text, f"{named(page)}, {block.text.splitlines()[0]}", "exec")
        if not block.text.startswith("# needs"):
            exec(code, {"__name__": "page"})


def test_every_setting_and_class_that_is_named_exists(clone: Path) -> None:
    """Settings with or without `model.`; classes of rewards and of the package by their dotted names."""
    settings = with_parents(every_setting(clone))
    settings |= {key.removeprefix("model.") for key in settings}
    groups = {key for key in settings if any(other.startswith(f"{key}.") for other in settings)}
    for page in PAGES:
        for code in codes_of(page):
            name = re.match(r"[a-z_]+(?:\.\w+)+", code)
            if name is None or "/" in code or Path(code).suffix in (".yaml", ".json", ".txt", ".toml", ".jsonl"):
                continue
            path, _, last = name[0].rpartition(".")
            if last[0].isupper() and path.split(".")[0] in ("rewards", "grpo_lightning"):
                if name[0] not in ("rewards.brevity.Brevity", "rewards.palindrome.Palindrome"):
                    assert hasattr(importlib.import_module(path), last), f"{named(page)}: {code}"
            elif path in groups:
                assert name[0] in settings, f"{named(page)}: {code}"


def test_every_curve_of_a_run_has_a_row(ground: Path) -> None:
    """In docs/curves.md: `NAME` stands for a reward's, `…/` for what the name before has in front."""
    (table,) = (table for table in tables_of(ROOT / "docs" / "curves.md") if table[0][0] == "name")
    patterns = []
    for row in table[1:]:
        front = ""
        for name in re.findall(r"`([^`]+)`", row[0]):
            front = front if name.startswith("…") else name.rpartition("/")[0]
            patterns.append(re.escape(name.replace("…/", f"{front}/")).replace("NAME", "[^/]+").replace("…", ".+"))
    events = EventAccumulator(str(ground / "runs" / "quickstart")).Reload()
    curves = [curve for curve in events.Tags()["scalars"] if not curve.startswith("conflict/")]
    assert len(curves) > 50
    assert [curve for curve in curves if not any(re.fullmatch(pattern, curve) for pattern in patterns)] == []


def test_a_list_replaces_the_earlier_one(clone: Path) -> None:
    """As the README says of several configs: nothing of the first three rewards remains."""
    Path("more.yaml").write_text(yaml.safe_dump({"model": {"rewards": [{"reward": "rewards.length.Tokens"}]}}))
    words = ["--config", "configs/quickstart.yaml", "--config", "more.yaml", "--model.evaluation.accuracy", "null"]
    (spec,) = dry("fit", *words).settings.model.rewards
    assert (spec["name"], spec["weight"]) == (None, 1.0)


# ------------------------------------------------------------------------------------------------------------ the pages


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links_of(page):
        path, _, part = link.partition("#")
        if link.startswith("http"):
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{named(page)}: {link}"
        if part:
            heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads], link


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links_of(ROOT / "README.md")}
    assert [named(page) for page in PAGES[1:] if page.resolve() not in linked] == []


def test_the_readme_is_read_in_five_minutes() -> None:
    """At 250 words a minute, what stands in tables and blocks not counted."""
    text = re.sub(r"^```.*?^```$|^\|.*$", "", PAGES[0].read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert len(text.split()) < 5 * 250
