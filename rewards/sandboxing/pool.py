"""Fork servers as the trainer sees them: started once, used in pairs, replaced after any surprise."""

import atexit
import contextlib
import json
import logging
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from rewards.sandboxing.directory import remove_tree

T = TypeVar("T")
Kind = Literal["source", "pairs"]
"""Tests as Python source, or pairs of arguments and output as JSON."""
_log = logging.getLogger(__name__)
_SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")
_START_SECONDS = 30.0
_EMPTY_ENVIRONMENT: dict[str, str] = {}
_JUDGE_SECONDS = 86_400.0
_RETIRE_SECONDS = 2.0
_LEAVE_SECONDS = 1.0
_MAX_REPLY = 65536
_LEAST_MEMORY = 128 << 20
LAYERS = ("limits", "seccomp", "namespaces", "landlock", "user", "capabilities")
"""Everything that a fence can be made of."""


class SandboxError(RuntimeError):
    """The sandbox cannot be had as demanded. Says nothing about the code under test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """How model-written code is confined."""

    memory: int = 1 << 30
    """Bytes of address space that a program may use."""
    disk: int = 16 << 20
    """Bytes that a program may keep in its private directory."""
    strict: tuple[str, ...] = ()
    """Layers that must be there (of limits, seccomp, namespaces, landlock, user, capabilities); without one, refuse."""
    forbid: tuple[str, ...] = ()
    """Layers to leave out (of namespaces, landlock, user), for tests and for kernels where one misbehaves."""
    workers: int = 0
    """Pairs of fork servers; 0: three for each two cores, as of a pair one often waits for the other."""

    def __post_init__(self) -> None:
        if self.memory < _LEAST_MEMORY:
            raise ValueError(
                f"memory must be at least {_LEAST_MEMORY} bytes, for the interpreter itself, not {self.memory}"
            )
        unknown = {*self.strict, *self.forbid} - set(LAYERS)
        if unknown:
            raise ValueError(f"unknown layers {sorted(unknown)}; there are {', '.join(LAYERS)}")
        if set(self.forbid) & {"limits", "seccomp", "capabilities"}:
            raise ValueError("limits, seccomp and capabilities cannot be left out")
        if set(self.strict) & set(self.forbid):
            raise ValueError(f"both demanded and forbidden: {sorted(set(self.strict) & set(self.forbid))}")


class ServerBroken(Exception):
    """A server did not answer as it should; it is to be killed."""


class NotStarted(ServerBroken):
    """A server was gone before it took the program, which is not to blame."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a confined process ended."""

    killed: str | None
    """timeout, stopped or disk, if the server killed it."""
    status: int
    """Exit status, or minus the signal."""


class Server:
    """One fork server process."""

    def __init__(self, role: str, fence: Fence, forbid: tuple[str, ...]) -> None:
        self._directory = tempfile.mkdtemp(prefix="sandbox-")
        private = os.path.join(self._directory, "private")
        self._only_asked = False
        if os.getuid() == 0:
            os.chmod(self._directory, 0o711)
        config = {"role": role, "memory": fence.memory, "disk": fence.disk, "forbidden": forbid, "directory": private}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        python = getattr(sys, "_base_executable", None) or sys.executable
        reading, writing = os.pipe()  # not the null device: the streams of all forks would take themselves for seekable
        os.close(reading)
        with theirs, open(writing, "wb", buffering=0) as nowhere:
            self._process = subprocess.Popen(
                [python, "-I", "-S", "-X", "utf8", "-B", _SERVER, json.dumps(config)],
                stdin=theirs.fileno(),
                stdout=nowhere,
                stderr=nowhere,
                env=_EMPTY_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        try:
            hello = self._receive(_START_SECONDS)
        except ServerBroken as error:
            self.kill()
            raise SandboxError(f"a sandbox server did not start: {error}") from None
        if "layers" not in hello:
            self.kill()
            raise SandboxError(f"no safe sandbox here: {hello.get('error')}")
        self.layers = frozenset(str(each) for each in hello["layers"])  # type: ignore[attr-defined]
        if "namespaces" in self.layers:
            self._remove_directory()  # the server has one that nobody else sees

    def start(self, mode: str, seconds: float, descriptors: list[int]) -> None:
        """Begin a run; `finish` ends it."""
        request = {"mode": mode, "seconds": seconds, "cpu_seconds": int(seconds) + 2}
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
        except OSError as error:
            raise NotStarted(f"the server is gone: {error}") from None
        self._only_asked = True

    def stop(self) -> None:
        """Kill what runs, if it still does."""
        with self._failures():
            self._socket.send(b"stop")
        self._only_asked = False

    def finish(self, seconds: float) -> Report:
        """How the run ended, once its process is gone."""
        reply = self._receive(seconds)
        killed, status = reply.get("killed"), reply.get("status")
        if not isinstance(status, int):
            raise ServerBroken("malformed report")
        return Report(None if killed is None else str(killed), status)

    def kill(self) -> None:
        """End the server and all that it started. Left alone it reaps its own; killed, it leaves that to the system."""
        self._socket.close()
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._remove_directory()

    def _remove_directory(self) -> None:
        with contextlib.suppress(OSError):
            remove_tree(self._directory)

    def abandon(self) -> None:
        """Let go of a server that belongs to the parent of this process."""
        self._socket.close()

    def _receive(self, seconds: float) -> dict[str, object]:
        with self._failures():
            self._socket.settimeout(max(seconds, 0.001))
            data = self._socket.recv(_MAX_REPLY)
            if data:
                reply = json.loads(data)
                assert isinstance(reply, dict)
                return reply
        raise ServerBroken("the server is gone")

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """A socket is reset if its other end was closed before it had read all: where that is only the request to
        start, nothing was.
        """
        try:
            yield
        except ConnectionResetError as error:
            kind = NotStarted if self._only_asked else ServerBroken
            raise kind(f"the server is gone: {error}") from None
        except (OSError, ValueError, AssertionError) as error:
            raise ServerBroken(f"{type(error).__name__}: {error}") from None


class Judge:
    """A confined process that runs tests, one set after another, and the server that it was forked from."""

    def __init__(self, fence: Fence, forbid: tuple[str, ...]) -> None:
        self._server = Server("judge", fence, forbid)
        self.layers = self._server.layers
        self._orders: socket.socket | None = None

    def order(self, kind: Kind, tests: int, channel: int, results: int) -> None:
        """Have tests of a kind run; results arrive until their descriptor is closed."""
        if self._orders is None:
            self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs, open(os.devnull, "r+b") as null:
                self._server.start("judge", _JUDGE_SECONDS, [null.fileno()] * 3 + [theirs.fileno()])
        try:
            socket.send_fds(self._orders, [kind.encode()], [tests, channel, results])
        except OSError as error:
            raise NotStarted(f"the judge is gone: {error}") from None

    def retire(self) -> None:
        """End the process; the next order starts another."""
        if self._orders is not None:
            self._orders.close()
            self._orders = None
            self._server.stop()
            self._server.finish(_RETIRE_SECONDS)

    def kill(self) -> None:
        """End the server with it."""
        self.abandon()
        self._server.kill()

    def abandon(self) -> None:
        """Let go of a judge that belongs to the parent of this process."""
        if self._orders is not None:
            self._orders.close()
        self._server.abandon()


class Worker:
    """A pair of servers: the code under test never runs under the one that runs the tests."""

    def __init__(self, fence: Fence, forbid: tuple[str, ...]) -> None:
        self.candidate = Server("candidate", fence, forbid)
        try:
            self.judge = Judge(fence, forbid)
        except SandboxError:
            self.candidate.kill()
            raise
        self.layers = self.candidate.layers & self.judge.layers

    def kill(self) -> None:
        """End both."""
        self.candidate.kill()
        self.judge.kill()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def _log_layers(layers: frozenset[str], forbidden: tuple[str, ...]) -> None:
    """Name what protects, as a warning if it is less than was asked for."""
    lacking = [each for each in LAYERS if each not in layers]
    text = f"sandbox layers: {', '.join(each for each in LAYERS if each in layers)}"
    text += f"; without {', '.join(lacking)}" if lacking else ""
    _log.log(logging.WARNING if set(lacking) - set(forbidden) else logging.INFO, text)


class Pool:
    """The workers of one fence; each is lent to one thread at a time."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._forbid = fence.forbid
        self.size = fence.workers or _cores() + _cores() // 2
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        self._all: list[Worker] = []
        self._lock = threading.Lock()
        self._logged = False
        for _ in range(self.size):
            self._idle.put(None)

    @contextlib.contextmanager
    def worker(self) -> Iterator[Worker]:
        """Borrow a worker. It is killed if the block raises, and the next borrower starts another."""
        worker = self._idle.get()
        try:
            if worker is None:
                worker = self._start()
            yield worker
        except BaseException:
            broken, worker = worker, None
            if broken is not None:
                self._discard(broken)
            raise
        finally:
            self._idle.put(worker)

    def with_worker(self, use: Callable[[Worker], T]) -> T:
        """What `use` returns for a borrowed worker; with another as long as its servers turn out to be gone."""
        for _ in range(self.size):
            with contextlib.suppress(NotStarted), self.worker() as worker:
                return use(worker)
        with self.worker() as worker:
            return use(worker)

    def close(self) -> None:
        """End every server: all are told before the first is waited for."""
        with self._lock:
            self.abandon()
            while self._all:
                self._all.pop().kill()

    def abandon(self) -> None:
        """Close the sockets. In a fork these are copies, and the servers still end with the parent."""
        for worker in self._all:
            worker.candidate.abandon()
            worker.judge.abandon()

    def _start(self) -> Worker:
        if not sys.platform.startswith("linux"):
            raise SandboxError(f"the sandbox is made of Linux facilities; this is {sys.platform}")
        try:
            worker = Worker(self._fence, self._forbid)
        except SandboxError as error:
            if "namespaces" in (*self._forbid, *self._fence.strict):
                raise
            _log.warning("sandbox: trying without namespaces (%s)", error)
            self._forbid = (*self._forbid, "namespaces")
            worker = Worker(self._fence, self._forbid)
        missing = set(self._fence.strict) - worker.layers
        if missing:
            worker.kill()
            raise SandboxError(f"demanded layers are not to be had here: {', '.join(sorted(missing))}")
        with self._lock:
            self._all.append(worker)
            if not self._logged:
                self._logged = True
                _log_layers(worker.layers, self._fence.forbid)
        return worker

    def _discard(self, worker: Worker) -> None:
        with self._lock:
            if worker in self._all:
                self._all.remove(worker)
                worker.kill()


_pools: dict[Fence, Pool] = {}
_pools_lock = threading.Lock()


def pool_for(fence: Fence) -> Pool:
    """The pool of this process for a fence; made when first asked for, closed at exit."""
    with _pools_lock:
        if fence not in _pools:
            _pools[fence] = Pool(fence)
        return _pools[fence]


def close_pools() -> None:
    """Kill every server of this process; the next run starts new ones."""
    with _pools_lock:
        while _pools:
            _pools.popitem()[1].close()


def _forget_pools() -> None:
    global _pools_lock
    _pools_lock = threading.Lock()
    while _pools:
        _pools.popitem()[1].abandon()


atexit.register(close_pools)
os.register_at_fork(after_in_child=_forget_pools)
