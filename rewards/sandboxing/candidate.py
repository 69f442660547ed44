"""What runs inside a confined process: a program with standard input and output, or a module that answers questions.

Runs after `server` has confined the process; nothing here is trusted by anyone.
"""

import _sitebuiltins
import builtins
import contextlib
import functools
import gc
import io
import os
import sys
import traceback
import types

from rewards.sandboxing.channel import Peer

SOURCE, CHANNEL = 3, 4
"""Descriptors that the server hands to the child."""
_MAX_PRINTED = 4 << 20
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_plain_open = io.open


def _read_source() -> str:
    with open(SOURCE, encoding="utf-8", errors="surrogatepass") as file:
        return file.read()


def new_module(name: str) -> types.ModuleType:
    """An empty module that is registered, as `dataclasses` and `pickle` want it."""
    module = types.ModuleType(name)
    vars(module).update({"__builtins__": builtins, "__file__": "solution.py"})
    sys.modules[name] = module
    return module


def prepare_interpreter() -> None:
    """What `python -S` leaves out and programs expect."""
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D"))
    sys.argv[:] = ["solution.py"]


@functools.wraps(io.open)
def _open(file: int | str, *arguments: object, **keywords: object) -> object:
    """`open`, for which the paths of the standard streams are there although /proc is not."""
    if isinstance(file, str) and file in _STREAMS:
        file = os.dup(_STREAMS[file])
    return _plain_open(file, *arguments, **keywords)  # type: ignore[call-overload]


def run_program() -> int:
    """Run the source as `__main__`; the exit status an interpreter would have."""
    status, source = 0, _read_source()
    # The server's own object found descriptor 0 to be a socket, which cannot seek.
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))  # type: ignore[misc]
    sys.stdin.mode = "r"  # type: ignore[misc]
    vars(builtins)["open"] = vars(io)["open"] = _open
    try:
        exec(compile(source, "solution.py", "exec", dont_inherit=True), vars(new_module("__main__")))
    except SystemExit as stop:
        status = _status_of(stop.code)
    except MemoryError:
        os.write(2, b"MemoryError\n")  # printing as usual would raise the next one
        status = 1
    except BaseException:
        traceback.print_exc(limit=20)
        status = 1
    threads = sys.modules.get("threading")
    if threads is not None:
        threads._shutdown()
    exit_functions = sys.modules.get("atexit")
    if exit_functions is not None:
        exit_functions._run_exitfuncs()
    if "__del__" in source:  # what finalisers print belongs to the output
        sys.modules.pop("__main__", None)
        gc.collect()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        status = 1
    return status


def _status_of(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    with contextlib.suppress(Exception):
        print(code, file=sys.stderr)
    return 1


class _TestsInput(io.TextIOBase):
    """Standard input of a module: what the tests put in place of `input` or `sys.stdin`, else empty."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def readable(self) -> bool:
        return True

    def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
        return str(self._peer.ask("input", False))

    def read(self, size: int | None = -1) -> str:
        return str(self._peer.ask("input", True))


def run_module() -> int:
    """Run the source as a module, then serve the tests' questions about its names."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogatepass", write_through=True)
    sys.stdout = sys.__stdout__ = printed  # type: ignore[misc]

    def collect() -> str:
        buffer = printed.buffer
        assert isinstance(buffer, io.BytesIO)
        if printed.closed or buffer.tell() == 0:
            return ""
        text = buffer.getvalue()[:_MAX_PRINTED].decode("utf-8", errors="replace")
        buffer.seek(0)
        buffer.truncate()
        return text

    module = new_module("solution")
    peer = Peer(CHANNEL, guarded=False, lookup=lambda name: vars(module)[name])
    peer.collect_output = collect
    sys.stdin = sys.__stdin__ = _TestsInput(peer)  # type: ignore[misc,assignment]
    try:
        exec(compile(_read_source(), "solution.py", "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        peer.announce(error)
    else:
        peer.announce(None)
    peer.serve()
    return 0
