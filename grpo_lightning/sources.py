"""Where rows come from: seeded tasks, local files, the Hugging Face hub. `prompts.py` makes prompts of them.

Knows neither columns nor tokenizers. Local files are read here rather than by `datasets`, so that a broken line is
reported with its file and number.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, runtime_checkable

from grpo_lightning.hub import prepare_hub
from grpo_lightning.tasks import Split, Task, generate
from grpo_lightning.waiting import waiting

Row = dict[str, object]


@runtime_checkable
class Source(Protocol):
    """Rows by split. `str()` of a source names it in error messages."""

    def rows(self, split: Split) -> list[Row]:
        """All rows of a split, the same ones in the same order at each call.

        None at all for validation or test says that the source has no such split: the data module then carves it out
        of the train rows.
        """


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Rows drawn from a seeded task; a prompt belongs to one split for good, whatever the seed and the sizes."""

    task: Task
    """What is drawn."""
    train: int = 4096
    """Number of train rows."""
    validation: int = 192
    """Number of validation rows; 0: none."""
    test: int = 192
    """Number of test rows; 0: none."""
    seed: int = 0
    """Of the drawing; the order in which rows are trained on has its own."""

    def __post_init__(self) -> None:
        for key, size, least in (("train", self.train, 1), ("validation", self.validation, 0), ("test", self.test, 0)):
            if size < least:
                raise ValueError(f"source.{key}: {size} rows; use at least {least}")

    def __str__(self) -> str:
        return f"generated {type(self.task).__name__}"

    def rows(self, split: Split) -> list[Row]:
        size = {"train": self.train, "validation": self.validation, "test": self.test}[split]
        return generate(self.task, size, self.seed, split) if size else []


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set of the Hugging Face hub, or local files: .parquet, .jsonl, .json (a list of objects) or .csv."""

    path: str
    """Hub name like `openai/gsm8k`, one local file of train rows, or a local folder with files for each split."""
    name: str | None = None
    """Configuration of the hub data set; subfolder of a local folder."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    train: str = "train"
    """Split on the hub. In a folder: a file, or what its files begin with (`train`: train.csv, train-*.parquet)."""
    validation: str | None = None
    """As `train`; beside a single file, the path of another one. null: an eighth of the train prompts."""
    test: str | None = None
    """As `validation`. null: another eighth of the train prompts."""
    limit: int | None = None
    """Read at most this many rows of each split; null: all."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"source.limit: {self.limit} rows; use at least 1, or null for all")
        if self._is_local() and self.revision is not None:
            raise ValueError(f"source.revision: {self.revision!r} means nothing for local files; leave it out")
        if self._is_file() and self.name is not None:
            raise ValueError(f"source.name: {self.name!r} means nothing for the file {self.path}; leave it out")
        if self._is_file() and self.train != "train":
            raise ValueError(f"source.train: {self.train!r} contradicts source.path, the train file {self.path}")

    def __str__(self) -> str:
        named = {"name": self.name, "validation": self.validation, "test": self.test}
        extra = ", ".join(f"{key}={value}" for key, value in named.items() if value is not None)
        return f"{self.path} ({extra})" if extra else self.path

    def rows(self, split: Split) -> list[Row]:
        wanted = {"train": self.train, "validation": self.validation, "test": self.test}[split]
        if wanted is None:
            return []
        rows = self._read_local(split, wanted) if self._is_local() else self._read_hub(wanted)
        if not rows:
            raise ValueError(f"source.{split}: no rows in {wanted!r} of {self}")
        return rows

    def _is_file(self) -> bool:
        path = Path(self.path).expanduser()
        return path.is_file() or (path.suffix in READERS and not path.is_dir())

    def _is_local(self) -> bool:
        return self._is_file() or self.path.startswith(("/", ".", "~")) or Path(self.path).is_dir()

    def _read_local(self, split: Split, wanted: str) -> list[Row]:
        if self._is_file():
            files = [Path(self.path if split == "train" else wanted).expanduser()]
        else:
            files = files_of_split(Path(self.path).expanduser() / (self.name or ""), wanted)
        return list(islice(chain.from_iterable(map(read_file, files)), self.limit))

    def _read_hub(self, wanted: str) -> list[Row]:
        prepare_hub(self.path)
        from datasets.load import load_dataset  # slow to import, and only the hub needs it

        try:
            with waiting(f"the data set {self.path}"):
                loaded = load_dataset(self.path, self.name, split=wanted, revision=self.revision)
        except (OSError, ValueError) as error:
            cause = " ".join(str(error).split())[:300]
            raise ValueError(
                f"source.path: cannot load split {wanted!r} of the data set {self} from the hub ({cause}); "
                "check the name and the network, or download it and give the path of its files"
            ) from error
        return list(loaded.select(range(min(self.limit or len(loaded), len(loaded)))).to_list())


def read_file(path: Path) -> Iterator[Row]:
    """The rows of one local file; a ValueError names the file, and the line that is broken."""
    if path.suffix not in READERS:
        raise ValueError(f"{path}: unknown kind of data file; known: {', '.join(READERS)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such data file (looked for in {path.parent.resolve()})")
    return READERS[path.suffix](path)


def write_jsonl(path: Path, rows: Iterable[Row]) -> int:
    """Writes rows one by one, and says how many. The file is there when it is whole; rows that fail leave none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, count = path.with_name(f"{path.name}.part"), 0
    try:
        with aside.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return count


def files_of_split(folder: Path, wanted: str) -> list[Path]:
    """The named file of the folder, or those whose names are the split's or begin with it and a dash."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such data folder")
    if Path(wanted).suffix in READERS:
        return [folder / wanted]
    known = sorted(path for path in folder.iterdir() if path.suffix in READERS)
    found = [path for path in known if path.stem == wanted or path.stem.startswith(f"{wanted}-")]
    if not found:
        names = ", ".join(path.name for path in known) or "no data files"
        raise ValueError(f"{folder}: no files of the split {wanted!r}; there are: {names}")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}, line {number}: not UTF-8 text ({error.reason})") from error


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        if line.strip():
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not JSON ({error.msg}, column {error.colno})") from error
            yield _object(value, f"{path}, line {number}")


def _read_json(path: Path) -> Iterator[Row]:
    text = "".join(line for _, line in _lines(path))
    if not text.lstrip().startswith("["):
        yield from _read_jsonl(path)
        return
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno})") from error
    for number, value in enumerate(values):
        yield _object(value, f"{path}, element {number}")


def _object(value: object, where: str) -> Row:
    if isinstance(value, dict):
        return value
    raise ValueError(f'{where}: a {type(value).__name__}; expected an object like {{"prompt": "..."}}')


def _read_csv(path: Path) -> Iterator[Row]:
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    try:
        header = next(reader, [])
        for fields in reader:
            if fields and len(fields) != len(header):
                raise ValueError(f"{path}, line {reader.line_num}: {len(fields)} fields; the header has {len(header)}")
            if fields:
                yield dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not CSV ({error})") from error


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet  # type: ignore[import-untyped]  # as slow as `datasets`

    try:
        # 65536 rows at a time, as it would, take gigabytes where texts are long
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path}: not a readable parquet file ({' '.join(str(error).split())[:200]})") from error


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
}
