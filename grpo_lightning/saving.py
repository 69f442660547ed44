"""Checkpoints on disk: written aside and renamed, recognised when broken, two of them kept, one writer to a folder.

Knows files and folders, not what is in them. A checkpoint is a file (a zip archive of torch's) or, when it is sharded,
a folder. A file is replaced in one step of the file system; a folder cannot be, so the names of folders are links,
which can. At every instant `last.ckpt` is a whole checkpoint, and `previous.ckpt` the one before it.
"""

import fcntl
import json
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"

ASIDE = "aside.writing"
"""Name of what is being written; a run that was killed leaves one behind, and the next one removes it."""

SEAL = "sealed.json"
"""In a folder: each of its files with size and checksum, written when all are there."""

CHUNK = 2**22


class SaveError(RuntimeError):
    """A checkpoint could not be written; those before it are as they were."""


def checksums(folder: Path, share: int = 0, shares: int = 1) -> dict[str, list[int]]:
    """Size and CRC-32 of each file of the folder; of every `shares`-th one, from number `share` on."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SEAL)[share::shares]
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda name: [(folder / name).stat().st_size, _checksum(folder / name)], names)
        return dict(zip(names, found, strict=True))


def seal(path: Path, sums: Mapping[str, list[int]] | None = None) -> None:
    """Puts a finished checkpoint on the disk for good; a folder with the checksums of its files."""
    if path.is_dir():
        (path / SEAL).write_text(json.dumps(checksums(path) if sums is None else sums), encoding="utf-8")
        for each in path.iterdir():
            _sync(each)
    _sync(path)


def publish(aside: Path, target: Path) -> None:
    """Gives the checkpoint written aside its name; what had that name before is replaced."""
    if aside.is_dir() or target.is_dir():
        remove(target)
    os.replace(aside, target)
    _sync(target.parent)


def publish_last(aside: Path) -> None:
    """The checkpoint written aside becomes `last.ckpt`, and that one `previous.ckpt`."""
    last, previous = aside.with_name(LAST), aside.with_name(PREVIOUS)
    if last.is_dir() and not last.is_symlink():  # copied here by a tool that follows links
        _point(last, _stored(last))
    if last.is_symlink():
        _point(previous, last.resolve())
    elif last.exists():
        kept = aside.with_name(f"{ASIDE}-previous")
        second_name(last, kept)
        publish(kept, previous)
    if aside.is_dir():
        _point(last, _stored(aside))
    else:
        publish(aside, last)
    _sync(last.parent)
    in_use = {last.resolve(), previous.resolve()}
    for path in last.parent.glob(".last-*"):
        if path.resolve() not in in_use:
            remove(path)


def _stored(folder: Path) -> Path:
    """The folder under a name of its own, to which `last.ckpt` and `previous.ckpt` can point."""
    real = folder.with_name(f".last-{time.time_ns()}")
    os.rename(folder, real)
    return real


def second_name(path: Path, other: Path) -> None:
    """The same checkpoint by another name, without a copy where the file system can."""
    remove(other)
    if path.is_dir():
        shutil.copytree(path, other, copy_function=_link)
    else:
        _link(path, other)


def remove(path: Path) -> None:
    """A file, a folder, or the name of one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clear_aside(folder: Path) -> None:
    """Removes what a killed run was writing."""
    for path in folder.glob(f"{ASIDE}*"):
        remove(path)


def flaw(path: Path) -> str | None:
    """Why this is no whole checkpoint, or None if it is one; reads all of it."""
    if path.is_dir():
        return _flaw_of_folder(path)
    if not path.exists():
        return "is not there"
    if not zipfile.is_zipfile(path):
        return "is no checkpoint, or one that was cut off"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except Exception as error:  # whatever the archive's own tables make of damage
        return f"is damaged ({error})"
    return None if broken is None else f"is damaged (checksum of {broken})"


def _flaw_of_folder(path: Path) -> str | None:
    if not (path / ".metadata").exists() or not (path / "meta.pt").exists():
        return "is no checkpoint, or one that was cut off (a folder without .metadata and meta.pt)"
    if not (path / SEAL).exists():
        return None  # written by Lightning itself: there is nothing to compare with
    try:
        expected = json.loads((path / SEAL).read_text(encoding="utf-8"))
    except ValueError:
        return f"is damaged ({SEAL})"
    if missing := [name for name in expected if not (path / name).exists()]:
        return f"misses {', '.join(missing)}"
    wrong = [name for name, found in checksums(path).items() if found != expected.get(name, found)]
    return f"is damaged (checksum of {', '.join(wrong)})" if wrong else None


def candidates(folder: Path) -> list[Path]:
    """The run's checkpoints: the last, the one before it, then others from the newest to the oldest."""
    named = [folder / LAST, folder / PREVIOUS]
    others = [path for path in folder.glob("*.ckpt") if path not in named]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [path for path in [*named, *others] if path.exists()]


def set_aside(path: Path) -> None:
    """Takes the name from a broken checkpoint, so that it does not become the previous one."""
    os.replace(path, path.with_name(f"{path.name}.broken"))


def only_writer(folder: Path) -> IO[str]:
    """Holds the folder for this process until the returned file is closed or the process ends, however it ends.

    Refuses if another process holds it. The lock is the process's own: children do not inherit it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / ".lock").open("a+", encoding="utf-8")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        if isinstance(error, BlockingIOError | PermissionError):
            raise ValueError(
                f"run: {folder} is being written by another run ({holder}); wait for it, or give this one a name with "
                "--run"
            ) from error
        raise
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {os.uname().nodename}\n")
    lock.flush()
    return lock


def _point(name: Path, real: Path) -> None:
    """Makes `name` a link to its sibling `real`, in one step."""
    if name.is_dir() and not name.is_symlink():
        remove(name)
    link = name.with_name(f"{ASIDE}-link")
    link.unlink(missing_ok=True)
    link.symlink_to(real.name)
    os.replace(link, name)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without second names
        shutil.copyfile(source, target)
        _sync(Path(target))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value
