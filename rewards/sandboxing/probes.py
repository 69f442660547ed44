"""What a confined process must not be able to do, tried once when a server starts.

Each probe tries one thing; a probe that succeeds is an escape, and the server refuses to serve.
"""

import ctypes
import os
import socket
from collections.abc import Callable


def _read_outside() -> None:
    for path in ("/etc/passwd", "/proc/1/cmdline", "/etc/hostname"):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        return
    raise PermissionError("nothing readable")


def _write_outside() -> None:
    for folder in (
        "/",
        "/var/tmp",
        "/dev/shm",
        os.path.dirname(os.__file__),
        os.path.dirname(os.path.realpath(__file__)),
    ):
        path = os.path.join(folder, f".sandbox-probe-{os.getpid()}")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError:
            continue
        os.unlink(path)
        return
    raise PermissionError("nothing writable")


def _change_mode() -> None:
    os.chmod(os.__file__, 0o777)


def _raise_limit() -> None:
    import resource  # not above: only this probe needs it

    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _use_much_memory() -> None:
    bytearray(1 << 40)


def _open_io_uring() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(425), 1, ctypes.create_string_buffer(120)) < 0:
        raise OSError(ctypes.get_errno(), "io_uring")


def _trace_parent() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, os.getppid(), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


PROBES: dict[str, Callable[[], object]] = {
    "read outside": _read_outside,
    "write outside": _write_outside,
    "change a mode": _change_mode,
    "fork": _fork,
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "internet socket": lambda: socket.socket(socket.AF_INET).close(),
    "unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "signal everyone": lambda: os.kill(-1, 0),
    "anonymous file": lambda: os.memfd_create("probe"),
    "trace the parent": _trace_parent,
    "io_uring": _open_io_uring,
    "raise a limit": _raise_limit,
    "much memory": _use_much_memory,
    "another user": lambda: os.setresuid(0, 0, 0),
}


def run_probes() -> list[str]:
    """The names of the probes that got through; empty is good."""
    escaped = []
    for name, probe in PROBES.items():
        try:
            probe()
        except (OSError, MemoryError, ValueError):
            continue
        escaped.append(name)
    return escaped
