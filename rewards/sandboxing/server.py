"""The fork server: a small warm interpreter that confines one fork of itself for each program.

Started as `python -I -S -X utf8 -B server.py CONFIG` with an empty environment and a socket as descriptor 0.
It answers one request after another, each with the descriptors of one run: fork, confine, wait until the end, the
deadline or a word from the client, kill, reap, report. It never reads code or tests: a fork inherits its memory.
"""

import gc
import json
import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
from rewards.sandboxing import kernel
from rewards.sandboxing.directory import is_over, remove_tree
from rewards.sandboxing.probes import run_probes
from rewards.sandboxing.seccomp import Filter, is_supported

CONTROL = 99
"""Where the client's socket goes, away from the numbers of a child's descriptors."""
_MAX_REQUEST = 4096
_MAX_DESCRIPTORS = 8
_CONFINEMENT_FAILED = 121
_TMPFS = "/tmp"
_LIBRARY = os.path.dirname(os.__file__)
_READABLE = (_LIBRARY, "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_PRELOADED = [
    "bisect",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "random",
    "re",
    "string",
    "types",
    "typing",
]
_OPEN_FILES = 128
_THREADS = 512
"""RLIMIT_NPROC counts every thread of an ordinary user on the machine, so it cannot be tight."""

Modes = dict[str, Callable[[], int]]
"""What a confined process may be asked to run, and how; the results are exit statuses."""


class Confinement:
    """The layers in use, prepared once and applied in each child."""

    def __init__(self, config: dict[str, object]) -> None:
        forbidden = config["forbidden"]
        assert isinstance(forbidden, list)
        self.layers = ["limits", "seccomp"]
        self._memory, self._disk = int(str(config["memory"])), int(str(config["disk"]))
        self._private = str(config["directory"])
        self._receives = config["role"] == "judge"
        self._door: int | None = None
        self._user = kernel.user_of(os.getpid())
        self._drops_user = "user" not in forbidden and kernel.can_become_nobody()
        if not is_supported():
            raise OSError("no list of system calls for this machine")
        self.has_namespaces = "namespaces" not in forbidden and self._enter_namespaces()
        self.has_landlock = "landlock" not in forbidden and kernel.landlock_abi() > 0
        if not (self.has_namespaces or self.has_landlock):
            raise OSError("neither namespaces nor Landlock: files cannot be protected")
        self.layers += ["namespaces"] * self.has_namespaces + ["landlock"] * self.has_landlock
        self.layers += ["capabilities"] + ["user"] * self._drops_user

    def _enter_namespaces(self) -> bool:
        """Go on in a process that is the first of its own namespaces; the one left behind only waits for it."""
        try:
            in_user_namespace = kernel.unshare_everything()
        except OSError:
            return False
        self._drops_user = self._drops_user and not in_user_namespace
        inner = os.fork()
        if inner:
            os.close(CONTROL)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) & 0xFF)
        kernel.die_with_parent()
        kernel.enter_minimal_root((*_READABLE, *_DEVICES), _TMPFS)
        self._private = _TMPFS
        return True

    def finish(self) -> None:
        """Compile what every child installs."""
        self._filter = Filter(metadata=self.has_namespaces, receives=self._receives)
        if self._drops_user and not self.has_namespaces and not self._library_is_open():
            self._door = kernel.out_of_the_way(os.open(_LIBRARY, os.O_PATH))
        self._make_private()
        kernel.set_limits(memory=self._memory, file_size=self._disk, open_files=_OPEN_FILES, threads=_THREADS)

    def _library_is_open(self) -> bool:
        """Whether the user that children become can reach the standard library by its path."""
        path = _LIBRARY
        while path != "/":
            if not os.stat(path).st_mode & stat.S_IXOTH:
                return False
            path = os.path.dirname(path)
        return True

    # The private directory ---------------------------------------------------------------------------------------

    def _make_private(self) -> None:
        if self.has_namespaces:
            kernel.mount_private_directory(_TMPFS, self._disk)
        else:
            os.makedirs(self._private, exist_ok=True)
            os.chmod(self._private, 0o1777 if self._drops_user else 0o700)
        self._fingerprint = self._private_state()
        if self.has_landlock:
            self._rules = kernel.landlock_ruleset(_READABLE, _DEVICES, self._private)

    def _private_state(self) -> tuple[int, int, int]:
        state = os.stat(self._private)
        return state.st_mtime_ns, state.st_ctime_ns, state.st_mode

    def clean_private(self) -> None:
        """A new directory if the last run touched the old one in any way."""
        if self._private_state() == self._fingerprint:
            return
        if self.has_landlock:
            os.close(self._rules)
        if self.has_namespaces:
            kernel.unmount(_TMPFS)
        else:
            remove_tree(self._private)
        self._make_private()

    def leave(self) -> None:
        """Remove the directory, in case that the client was killed and cannot."""
        if not self.has_namespaces:
            remove_tree(os.path.dirname(self._private))

    def is_full(self) -> bool:
        """Whether a private directory that no mount bounds has outgrown its size."""
        if self.has_namespaces or self._private_state() == self._fingerprint:
            return False
        return is_over(self._private, self._disk)

    # The child ---------------------------------------------------------------------------------------------------

    def apply(self, cpu_seconds: int) -> None:
        """Confine this process for good."""
        os.setsid()
        os.chdir(self._private)
        kernel.limit_cpu(cpu_seconds)
        if self._drops_user:
            kernel.become_nobody(self._user)
        kernel.forbid_new_privileges()
        kernel.drop_capabilities()
        kernel.die_with_parent()  # a change of user would have undone it
        if self._door is not None:
            kernel.use_library_through(self._door, _LIBRARY)
        if self.has_landlock:
            kernel.landlock_restrict(self._rules)
            os.close(self._rules)
        self._filter.install()

    def keep(self) -> list[int]:
        """Descriptors that a child needs until it is confined, and those of its imports, in order."""
        kept = [self._rules] if self.has_landlock else []
        return kept if self._door is None else sorted([*kept, self._door])


def _arrange_descriptors(received: list[int], kept: list[int]) -> None:
    """Give the received descriptors the numbers 0, 1, 2 …; close all others but `kept`."""
    for number, descriptor in enumerate(received):  # ascending, and above their new numbers: none is overwritten unread
        assert descriptor > number
        os.dup2(descriptor, number)
    first = len(received)
    for descriptor in kept:
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, 1 << 20)


def _child(confinement: Confinement, modes: Modes, request: dict[str, object], received: list[int]) -> int:
    try:
        _arrange_descriptors(received, confinement.keep())
        confinement.apply(int(str(request["cpu_seconds"])))
    except BaseException:
        return _CONFINEMENT_FAILED
    if request["mode"] == "probe":
        os.write(1, json.dumps(run_probes()).encode())
        return 0
    return modes[str(request["mode"])]()


def _wait(pidfd: int, deadline: float, confinement: Confinement, control: socket.socket) -> str | None:
    """Why the child has to be killed; None if it ended by itself."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(control, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return "timeout"
        ready = poll.poll(1000 * (left if confinement.has_namespaces else min(left, 0.05)))
        if any(descriptor == pidfd for descriptor, _ in ready):
            return None
        if ready:
            return "stopped" if control.recv(_MAX_REQUEST) else "abandoned"
        if confinement.is_full():
            return "disk"


def _run(
    confinement: Confinement, modes: Modes, request: dict[str, object], received: list[int], control: socket.socket
) -> dict[str, object]:
    deadline = time.monotonic() + float(str(request["seconds"]))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = _child(confinement, modes, request, received)
        finally:
            os._exit(status)
    pidfd = os.pidfd_open(pid)
    for each in received:
        os.close(each)
    killed = _wait(pidfd, deadline, confinement, control)
    if killed is not None:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(pidfd)
    if killed == "abandoned":
        sys.exit(0)
    return {"killed": killed, "status": status}


def _self_test(confinement: Confinement, control: socket.socket) -> list[str]:
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    request: dict[str, object] = {"mode": "probe", "seconds": 10, "cpu_seconds": 10}
    report = _run(confinement, {}, request, [null, os.dup(writing), os.dup(null)], control)
    os.close(writing)
    with open(reading, "rb") as answers:
        text = answers.read()
    escaped = json.loads(text) if report["status"] == 0 and text else [f"self-test: {report}"]
    return [str(each) for each in escaped]


def _load_modes(role: str) -> Modes:
    """Import what forks of this role run, and nothing else: each pays for every page and every hook of a fork."""
    from rewards.sandboxing.candidate import Candidate, prepare_interpreter, rehearse

    prepare_interpreter()
    if role == "judge":
        from rewards.sandboxing.judge import run_judge

        return {"judge": run_judge}
    for name in _PRELOADED:
        __import__(name)
    rehearse()
    candidate = Candidate()
    return {"program": candidate.run_program, "module": candidate.run_module}


def main() -> None:
    """Serve until the client is gone."""
    config = json.loads(sys.argv[1])
    os.dup2(0, CONTROL, inheritable=False)
    os.close(0)
    os.memfd_create("input")  # becomes descriptor 0
    control = socket.socket(fileno=CONTROL)
    try:
        if sys.platform != "linux":
            raise OSError("the sandbox needs Linux")
        modes = _load_modes(config["role"])
        sys.path.pop(0)
        confinement = Confinement(config)
        confinement.finish()
        escaped = _self_test(confinement, control)
        if escaped:
            raise OSError(f"these got through: {', '.join(escaped)}")
    except Exception as error:
        control.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        return
    control.send(json.dumps({"layers": confinement.layers}).encode())
    gc.collect()
    gc.freeze()
    try:
        _serve(confinement, modes, control)
    finally:
        confinement.leave()


def _serve(confinement: Confinement, modes: Modes, control: socket.socket) -> None:
    while True:
        data, received, _, _ = socket.recv_fds(control, _MAX_REQUEST, _MAX_DESCRIPTORS)
        if not data:
            return
        if not received:
            continue  # a word to stop a run that had ended already
        control.send(json.dumps(_run(confinement, modes, json.loads(data), received, control)).encode())
        confinement.clean_private()


if __name__ == "__main__":
    main()
