"""What Linux gives an ordinary process to confine another: namespaces, Landlock, limits, identities, by ctypes.

Not a policy: `server` decides which of these layers are used and in which order.
"""

import contextlib
import ctypes
import fcntl
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)
_IS_ARM = platform.machine() == "aarch64"
_SYS_PIVOT_ROOT, _SYS_CAPSET = (41, 91) if _IS_ARM else (155, 126)
_SYS_MOUNT_SETATTR, _SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = 442, 444, 445, 446

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID = 1, 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 4, 24, 38, 47
_SIGKILL = 9

NOBODY = 65534
_USERS = range(64534, NOBODY)
"""Users without a name. Each server has one, as the limit of threads counts those of a user wherever they run."""

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_MAKE_AND_REMOVE = (1 << 4) | (1 << 5) | (1 << 7) | (1 << 8) | (1 << 12)
"""Directories, regular files and symbolic links; no devices, sockets or pipes."""
_HANDLED_FS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_HANDLED_FS_LATEST = (1 << 16) - 1


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _syscall(what: str, number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *words), what)


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def die_with_parent() -> None:
    """Be killed when the thread that forked this process ends."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


# Namespaces ----------------------------------------------------------------------------------------------------------


def unshare_everything() -> bool:
    """Give the next child of this process its own processes, mounts, network, IPC and host name. OSError if forbidden.

    True: it took a user namespace of its own, in which there is no other user to become.
    """
    flags = _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    if _libc.unshare(flags) == 0:
        return False
    uid, gid = os.getuid(), os.getgid()
    _check(_libc.unshare(flags | _CLONE_NEWUSER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [text.encode() for text in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def mount_private_directory(path: str, size: int) -> None:
    """A fresh tmpfs of `size` bytes at `path`, writable by everyone inside."""
    _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, f"size={size},nr_inodes=1024,mode=1777")


def unmount(path: str) -> None:
    """Take the mount away at once; files still open in it go with their last user."""
    _check(_libc.umount2(path.encode(), _MNT_DETACH), f"umount {path}")


def _bind_read_only(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(source, target, "", _MS_BIND | _MS_REC)
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0, 0, 0)  # devices take writes even so
    _syscall(
        "mount_setattr", _SYS_MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, attributes, len(attributes)
    )


def _covered_directory(sources: list[str]) -> str:
    """An existing directory, with none of the sources below, for the new root to cover, in this namespace only."""
    for path in ("/mnt", "/media", "/srv", "/opt", "/tmp", "/var/tmp"):
        if os.path.isdir(path) and not any(source.startswith(path + "/") for source in sources):
            return path
    raise OSError("no directory to mount a root on")


def enter_minimal_root(readable: Iterable[str], private: str) -> None:
    """Replace the root by an empty read-only one that shows `readable` and an empty directory `private`."""
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    sources = list(readable)
    root = _covered_directory(sources)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID, "size=1m,mode=755")
    for path in sources:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.exists(path):
            _bind_read_only(path, root + path)
    os.makedirs(root + private, exist_ok=True)
    os.chdir(root)
    _syscall("pivot_root", _SYS_PIVOT_ROOT, b".", b".")
    unmount(".")
    os.chdir("/")
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0, 0, 0)
    _syscall("mount_setattr", _SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", 0, attributes, len(attributes))


# Landlock ------------------------------------------------------------------------------------------------------------


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    return max(0, int(_libc.syscall(ctypes.c_long(_SYS_LANDLOCK_CREATE), None, ctypes.c_long(0), ctypes.c_long(1))))


def landlock_ruleset(readable: Iterable[str], devices: Iterable[str], private: str) -> int:
    """A descriptor of rules: read below `readable`, use `devices`, make files below `private`; no network."""
    abi = landlock_abi()
    handled = _HANDLED_FS_BY_ABI.get(abi, _HANDLED_FS_LATEST)
    attributes = struct.pack("=Q", handled)
    if abi >= 4:
        attributes += struct.pack("=Q", 3)  # TCP bind and connect
    if abi >= 6:
        attributes += struct.pack("=Q", 3)  # abstract sockets and signals stay inside
    ruleset = _syscall("landlock_create_ruleset", _SYS_LANDLOCK_CREATE, attributes, len(attributes), 0)
    for path in readable:
        _allow_beneath(ruleset, path, handled & (_READ_FILE | _READ_DIR))
    for path in devices:
        _allow_beneath(ruleset, path, handled & (_READ_FILE | _WRITE_FILE))
    writing = _READ_FILE | _READ_DIR | _WRITE_FILE | _MAKE_AND_REMOVE | _REFER | _TRUNCATE
    _allow_beneath(ruleset, private, handled & writing)
    return out_of_the_way(ruleset)


def out_of_the_way(descriptor: int) -> int:
    """Move a descriptor to a number that no child gives to anything else."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(descriptor)
    return moved


def _allow_beneath(ruleset: int, path: str, access: int) -> None:
    if not os.path.exists(path):
        return
    if not os.path.isdir(path):
        access &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", access, descriptor)
    _syscall("landlock_add_rule", _SYS_LANDLOCK_ADD, ruleset, 1, rule, 0)
    os.close(descriptor)


def landlock_restrict(ruleset: int) -> None:
    """Apply the rules to the calling thread for good; it has set no_new_privs."""
    _syscall("landlock_restrict_self", _SYS_LANDLOCK_RESTRICT, ruleset, 0)


# Identity and limits -------------------------------------------------------------------------------------------------


def can_become_nobody() -> bool:
    """Whether this process is root over a user namespace that has a `NOBODY` and the users before it."""
    if os.getuid() != 0:
        return False
    with open("/proc/self/uid_map") as file:
        spans = [[int(word) for word in line.split()] for line in file]
    return any(first <= _USERS[0] and NOBODY in range(first, first + length) for first, _, length in spans)


def user_of(process: int) -> int:
    """A user that no other server has at this time, as far as there are enough."""
    return _USERS[process % len(_USERS)]


def become_nobody(user: int) -> None:
    """From root to a user without a name and the group `NOBODY`, for good; capabilities go with the change of uid."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(user, user, user)


def drop_capabilities() -> None:
    """No capability now, and none to regain."""
    _libc.prctl(_PR_CAP_AMBIENT, 4, 0, 0, 0)
    header = struct.pack("=Ii", 0x20080522, 0)
    _syscall("capset", _SYS_CAPSET, header, bytes(24))


def forbid_new_privileges() -> None:
    """No set-uid program raises privileges; the process does not dump core and nobody of its user may trace it."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)


def limit_cpu(seconds: int) -> None:
    """A hard limit on the CPU time of the calling process."""
    _set_limit(resource.RLIMIT_CPU, seconds)


def set_limits(*, memory: int, file_size: int, open_files: int, threads: int) -> None:
    """Hard limits of the calling process and its children."""
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: file_size,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_NPROC: threads,
        resource.RLIMIT_STACK: 64 << 20,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for limit, value in limits.items():
        _set_limit(limit, value)


def _set_limit(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def use_library_through(descriptor: int, library: str) -> None:
    """Import the standard library through an open directory, where the path to it is closed to the user."""
    door = f"/proc/self/fd/{descriptor}"
    sys.path[:] = [path.replace(library, door, 1) for path in sys.path]
    sys.path_importer_cache.clear()
    for module in list(sys.modules.values()):
        paths = getattr(module, "__path__", None)
        if isinstance(paths, list):
            with contextlib.suppress(AttributeError):
                module.__path__ = [path.replace(library, door, 1) for path in paths]
