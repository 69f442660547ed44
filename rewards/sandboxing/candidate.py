"""What runs inside a confined process: a program with standard input and output, or a module that answers questions.

Runs after `server` has confined the process; nothing here is trusted by anyone. What does not depend on the source is
made before the fork, which pays for each page that it writes.
"""

import _sitebuiltins
import builtins
import contextlib
import functools
import gc
import io
import os
import re
import socket
import sys
import traceback
import types
from typing import TextIO

from rewards.sandboxing.channel import ChannelBroken, Peer

SOURCE, CHANNEL = 3, 4
"""Descriptors that the server hands to the child."""
_MAX_PRINTED = 4 << 20
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_LATE_OUTPUT = re.compile("__del__|open|yield|IO|Writer|Wrapper|finalize")
"""Words of programs some of whose output is written when their objects go: by finalisers, or by files left open."""
_plain_open = io.open
_QUESTIONS = (
    b'{"o":"global","a":["add"],"k":{}}',
    b'{"o":"__call__","a":[["h",2],1,2],"k":{}}',
    b'{"o":"__call__","a":[["h",2],["m",0,"list",[1,2],null],"x"],"k":{}}',
    b'{"o":"getattr","a":[["h",2],"missing"],"k":{}}',
)
_REHEARSALS = 20


def _read_source() -> str:
    text = b"".join(iter(lambda: os.read(SOURCE, 1 << 20), b"")).decode("utf-8", "surrogatepass")
    os.close(SOURCE)
    return text.removeprefix("\ufeff")


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


class Candidate:
    """Runs one source, in the fork that is made for it."""

    def __init__(self, channel: int = CHANNEL) -> None:
        """Descriptor 0 is a file, or a program's input could not seek."""
        self._input = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
        self._input.mode = "r"  # type: ignore[misc]
        self._output = sys.stdout
        self._globals: dict[str, object] = {}
        self._peer = Peer(channel, guarded=False, lookup=lambda name: self._globals[name])
        self._peer.collect_output = self._collect
        self._tests_input = _TestsInput(self._peer)
        self._buffer = io.BytesIO()
        self._printed = io.TextIOWrapper(self._buffer, "utf-8", "surrogatepass", write_through=True)

    def run_program(self) -> int:
        """Run the source as `__main__`; the exit status an interpreter would have."""
        status, source = 0, _read_source()
        sys.stdin = sys.__stdin__ = self._input  # type: ignore[misc]
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
        return status | _end_program(source, self._output)

    def run_module(self) -> int:
        """Run the source as a module, then serve the tests' questions about its names."""
        self.serve_module(_read_source())
        return 0

    def serve_module(self, source: str) -> None:
        """Answer until the other end is gone, which raises `ChannelBroken`."""
        sys.stdout = sys.__stdout__ = self._printed  # type: ignore[misc]
        sys.stdin = sys.__stdin__ = self._tests_input  # type: ignore[misc,assignment]
        self._globals = vars(new_module("solution"))
        try:
            exec(compile(source, "solution.py", "exec", dont_inherit=True), self._globals)
        except BaseException as error:
            self._peer.announce(error)
        else:
            self._peer.announce(None)
        self._peer.serve()

    def _collect(self) -> str:
        """What was printed since the last time."""
        if self._printed.closed or self._buffer.tell() == 0:
            return ""
        text = self._buffer.getvalue()[:_MAX_PRINTED].decode("utf-8", errors="replace")
        self._buffer.seek(0)
        self._buffer.truncate()
        return text


def _end_program(source: str, output: TextIO) -> int:
    """What an interpreter does in the end; 1 if the output could not be written."""
    threads = sys.modules.get("threading")
    if threads is not None:
        threads._shutdown()
    exit_functions = sys.modules.get("atexit")
    if exit_functions is not None:
        exit_functions._run_exitfuncs()
    if _LATE_OUTPUT.search(source):
        _flush_files(sys.modules.pop("__main__", None))
        gc.collect()
    try:
        for stream in (sys.stdout, output):
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
    except Exception:  # a stream of the program's own may raise anything
        return 1
    return 0


def _flush_files(module: types.ModuleType | None) -> None:
    """Before they are collected, which closes the descriptor first where functions refer to the file."""
    for value in list(vars(module).values()) if module is not None else ():
        if isinstance(value, io.IOBase):
            with contextlib.suppress(Exception):
                value.flush()


def rehearse() -> None:
    """Answer a made-up conversation, so that the interpreter adapts its code before it forks and not after."""
    streams = sys.stdin, sys.stdout, sys.__stdin__, sys.__stdout__
    for _ in range(_REHEARSALS):
        ours, theirs = socket.socketpair()
        with ours, theirs, contextlib.suppress(ChannelBroken):
            for question in _QUESTIONS:
                ours.send(len(question).to_bytes(4, "big") + question)
            ours.shutdown(socket.SHUT_WR)
            Candidate(theirs.fileno()).serve_module("def add(a, b):\n    return [a, b]\n")
    sys.stdin, sys.stdout, sys.__stdin__, sys.__stdout__ = streams  # type: ignore[misc]
    del sys.modules["solution"]
