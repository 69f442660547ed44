"""Private directories that hostile programs fill: measured and removed however deep, long or odd their contents are."""

import contextlib
import os
import stat

_ENTRIES, _DEPTH = 4096, 64
"""A directory with more entries, or folders deeper than this, is full, whatever they hold."""


def is_over(path: str, limit: int) -> bool:
    """Whether the files below `path` take more than `limit` bytes, or there are too many of them."""
    used = entries = 0
    waiting = [(path, 0)]
    while waiting:
        folder, depth = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(folder) as found:
            for entry in found:
                entries += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))
                else:
                    used += entry.stat(follow_symlinks=False).st_blocks * 512
                if used > limit or entries > _ENTRIES or depth > _DEPTH:
                    return True
    return False


def remove_tree(path: str) -> None:
    """Remove a directory, if it is there. Walks by descriptors, one step at a time, so that no path grows long."""
    try:
        here = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    above: list[str] = []
    waiting = [_empty(here)]
    while True:
        if waiting[-1]:
            name = waiting[-1].pop()
            os.chmod(name, stat.S_IRWXU, dir_fd=here)
            here = _step(here, name)
            above.append(name)
            waiting.append(_empty(here))
        elif above:
            here = _step(here, "..")
            os.rmdir(above.pop(), dir_fd=here)
            waiting.pop()
        else:
            break
    os.close(here)
    os.rmdir(path)


def _empty(folder: int) -> list[str]:
    """Unlink the files of a directory; the names of the folders in it."""
    with os.scandir(folder) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    for name, is_folder in entries:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in entries if is_folder]


def _step(here: int, name: str) -> int:
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there
