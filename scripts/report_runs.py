"""What a run has left in its folder, as far as it is there. What is missing or cannot be read becomes a sentence."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorboard.backend.event_processing.event_file_loader import (
    LegacyEventFileLoader,
)
from tensorboard.util.tensor_util import make_ndarray

PLACES = {"config", "ckpt_path", "run", "runs", "trainer.default_root_dir", "checkpoint.dirpath"}
"""Settings that name places: no two runs share them."""
LATEST = 2.0**37
"""Seconds since 1970 that are a time, in the year 6325; a damaged file may hold any number."""
NOT_SET = object()
"""Stands for a setting that a run does not have."""

Curve = Mapping[int, float]
"""Step -> value, in the order of steps."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, going on or ended."""

    folder: Path
    name: str
    config: Mapping[str, Any]
    config_text: str
    summary: Mapping[str, Any]
    samples: Sequence[Mapping[str, Any]]
    evaluations: Mapping[str, Mapping[str, Any]]
    """What `grpo-lightning test` wrote, by the name of the file."""
    curves: Mapping[str, Curve]
    """By tag."""
    times: tuple[float, float] | None
    """When the log began, and when it was last written to, in seconds since 1970."""
    notes: Sequence[str]
    """What is missing or cannot be read."""

    def measures(self, when: str) -> dict[str, float]:
        """What was measured `before`, `after` or as `control`; empty if it was not."""
        return as_numbers(self.summary.get(when))

    def interval(self, when: str, measure: str) -> tuple[float, float] | None:
        """Bounds of what was measured, where they are known."""
        return as_pair(mapping(mapping(self.summary.get("intervals")).get(when)).get(measure))

    @property
    def last_step(self) -> int | None:
        """The last that anything was logged at."""
        return max((max(curve) for curve in self.curves.values()), default=None)

    @property
    def rewards(self) -> dict[str, Mapping[str, Any]]:
        """Settings of each reward, by its name as logged: those of the config, and others that were logged."""
        logged = [tag.split("/")[1] for tag in self.curves if tag.startswith("reward/") and tag.count("/") == 1]
        model = mapping(self.config.get("model"))
        listed = [mapping(each) for each in model.get("rewards") or [] if isinstance(each, Mapping)]
        named = {str(each["name"]): each for each in listed if each.get("name")}
        return {name: named.get(name, {}) for name in sorted({*logged}, key=_place(list(named)))}


def _place(order: Sequence[str]) -> Callable[[str], tuple[int, str]]:
    """A key that sorts as in `order`, and by name behind it."""
    return lambda name: (order.index(name) if name in order else len(order), name)


@dataclass(slots=True)
class Reader:
    """Reads one folder, and notes what it could not."""

    folder: Path
    notes: list[str] = field(default_factory=list)

    def read(self, name: str, parse: Callable[[str], T], missing: str | None) -> T | None:
        """The parsed file; without it None, and `missing` is noted, if anything."""
        path = self.folder / name
        try:
            return parse(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if missing is not None:
                self.notes.append(missing)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            self.notes.append(f"{name} cannot be read: {type(error).__name__} {str(error).partition(chr(10))[0]}")
        return None

    def fields(self, name: str, parse: Callable[[str], object], missing: str | None) -> Mapping[str, Any]:
        """The same for a file that must hold a mapping; empty without it."""
        found = self.read(name, parse, missing)
        if found is not None and not isinstance(found, Mapping):
            self.notes.append(f"{name} is left out: it holds a {type(found).__name__}, not a mapping")
        return mapping(found)


def read_run(folder: Path, name: str) -> Run:
    """What is there of the run; ends with one line where nothing is."""
    if not folder.is_dir():
        raise SystemExit(f"{folder}: there is no such folder")
    if not (event_files(folder) or any((folder / each).is_file() for each in ("config.yaml", "summary.json"))):
        below = any((each / "config.yaml").is_file() for each in folder.iterdir() if each.is_dir())
        advice = f"; name the runs in it, as in {folder}/*" if below else ""
        raise SystemExit(f"{folder}: is no run: no config.yaml, summary.json or event file of TensorBoard's{advice}")
    reader = Reader(folder)
    text = reader.read("config.yaml", str, "no config.yaml")
    unfinished = "no summary.json: still going, ended early, or without the BeforeAfter callback"
    samples = reader.read("samples.json", json.loads, "no samples.json, so no completions to show")
    if samples is not None and not isinstance(samples, list):
        reader.notes.append(f"samples.json is left out: it holds a {type(samples).__name__}, not a list")
    curves, times = read_events(folder, reader.notes)
    measured = sorted(path.name for path in folder.glob("evaluation/*.json"))
    evaluations = {each: reader.fields(f"evaluation/{each}", json.loads, None) for each in measured}
    return Run(
        folder=folder,
        name=name,
        config=reader.fields("config.yaml", yaml.safe_load, None) if text is not None else {},
        config_text=text or "",
        summary=reader.fields("summary.json", json.loads, unfinished),
        samples=[each for each in samples if isinstance(each, Mapping)] if isinstance(samples, list) else [],
        evaluations={name: each for name, each in evaluations.items() if each},
        curves=curves,
        times=times,
        notes=reader.notes,
    )


def names_of(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, and as many more before it as tell them apart."""
    paths = [folder.resolve().parts[1:] for folder in folders]
    for count in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-count:]) for parts in paths]
        if len(set(names)) == len(names):
            break
    return names


# --------------------------------------------------------------------------------------------------------------- events


def event_files(folder: Path) -> list[Path]:
    """TensorBoard's files of the run itself."""
    return sorted(path for path in folder.glob("*tfevents*") if path.is_file())


def read_events(folder: Path, notes: list[str]) -> tuple[dict[str, Curve], tuple[float, float] | None]:
    """All scalars, and when the log began and ended. Of a step that was logged twice the later value holds.

    A file that ends in the middle of a record, as that of a run that was killed, is read up to there.
    """
    found = {path.name: list(_events(path, notes)) for path in event_files(folder)}
    notes += [f"{name} holds no event" for name, events in found.items() if not events]
    files = sorted(filter(None, found.values()), key=lambda events: events[0].wall_time)
    curves: dict[str, dict[int, float]] = {}
    for event in (event for events in files for event in events):
        for value in event.summary.value:
            if (number := _scalar(value)) is not None:
                curves.setdefault(value.tag, {})[event.step] = number
    if not curves:
        notes.append("nothing logged to TensorBoard")
    stamps = [event.wall_time for events in files for event in events if 0 <= event.wall_time < LATEST]
    return {tag: dict(sorted(curve.items())) for tag, curve in curves.items()}, (
        min(stamps),
        max(stamps),
    ) if stamps else None


def _events(path: Path, notes: list[str]) -> Iterator[Any]:
    try:
        yield from LegacyEventFileLoader(str(path)).Load()
    except (OSError, ValueError, DecodeError) as error:
        notes.append(f"{path.name} is read up to what is no event: {type(error).__name__}")


def _scalar(value: Any) -> float | None:
    """Of one value of a summary, old style or new; None if it is anything else, such as text."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "scalars":
        if any(dim.size != 1 for dim in value.tensor.tensor_shape.dim):  # one number may stand for any amount of them
            return None
        try:
            return float(make_ndarray(value.tensor).reshape(-1)[0])
        except (IndexError, TypeError, ValueError):  # none, or a text
            return None
    return None


# -------------------------------------------------------------------------------------------------------------- configs


def differences(configs: Sequence[object], key: str = "") -> list[tuple[str, list[object]]]:
    """Each setting that is not the same in all configs, by its dotted name, with its value in each or NOT_SET.

    Items of a list that have names, such as rewards, are compared by these.
    """
    configs = [by_name(config) if isinstance(config, list) else config for config in configs]
    if key in PLACES or all(config == configs[0] for config in configs[1:]):
        return []
    if not all(isinstance(config, Mapping) for config in configs):
        return [(key, list(configs))]
    mappings = [mapping(config) for config in configs]
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return [
        found
        for name in names
        for found in differences([m.get(name, NOT_SET) for m in mappings], f"{key}.{name}" if key else str(name))
    ]


def by_name(items: Sequence[object]) -> object:
    """Named items as a mapping; any other list as it is."""
    names = [_name(item) for item in items]
    if not items or None in names or len(set(names)) < len(names):
        return items
    return dict(zip(names, items, strict=True))


def _name(item: object) -> str | None:
    item = mapping(item)
    for found in (item.get("name"), item.get("class_path"), item.get("reward")):
        if found:
            return str(mapping(found).get("class_path") or found)
    return None


# --------------------------------------------------------------------------------------------------------------- shapes


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is one; else an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_number(value: object) -> float | None:
    """The value if it is one that a float can hold; else None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return None if abs(value) > sys.float_info.max else float(value)


def as_numbers(value: object) -> dict[str, float]:
    """Those of a mapping's values that are numbers."""
    return {str(name): found for name, each in mapping(value).items() if (found := as_number(each)) is not None}


def as_pair(value: object) -> tuple[float, float] | None:
    """Two numbers of a list; None if it is anything else."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = as_number(value[0]), as_number(value[1])
    return None if low is None or high is None else (low, high)
