"""The system calls that model-written code may make, as a seccomp filter built with the standard library alone.

An allow list: what is not named here fails with EPERM (`clone3` with ENOSYS, so that the C library falls back to
`clone`, whose flags a filter can read). Arguments are checked where a harmless call has a harmful form: threads but no
processes, signals to oneself only, no ownership of descriptors, no message to an address.
"""

import ctypes
import os
import platform
import struct

_NUMBERS_X86_64 = """
read 0 write 1 open 2 close 3 stat 4 fstat 5 lstat 6 poll 7 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12 rt_sigaction 13
rt_sigprocmask 14 rt_sigreturn 15 ioctl 16 pread64 17 pwrite64 18 readv 19 writev 20 access 21 pipe 22 select 23
sched_yield 24 mremap 25 msync 26 mincore 27 madvise 28 dup 32 dup2 33 pause 34 nanosleep 35 getitimer 36 alarm 37
setitimer 38 getpid 39 sendfile 40 sendto 44 recvfrom 45 recvmsg 47 shutdown 48 getsockname 51 getpeername 52
socketpair 53 setsockopt 54 getsockopt 55 clone 56 exit 60 wait4 61 kill 62 uname 63 fcntl 72 flock 73 fsync 74
fdatasync 75 ftruncate 77 getdents 78 getcwd 79 chdir 80 fchdir 81 rename 82 mkdir 83 rmdir 84 creat 85 unlink 87
symlink 88 readlink 89 chmod 90 fchmod 91 umask 95 gettimeofday 96 getrlimit 97 getrusage 98 sysinfo 99 times 100
getuid 102 getgid 104 geteuid 107 getegid 108 getppid 110 getpgrp 111 getgroups 115 getresuid 118 getresgid 120
getpgid 121 getsid 124 rt_sigpending 127 rt_sigtimedwait 128 rt_sigsuspend 130 sigaltstack 131 statfs 137 fstatfs 138
getpriority 140 prctl 157 gettid 186 tkill 200 time 201 futex 202 sched_getaffinity 204 getdents64 217
set_tid_address 218 restart_syscall 219 fadvise64 221 clock_gettime 228 clock_getres 229 clock_nanosleep 230
exit_group 231 epoll_wait 232 epoll_ctl 233 tgkill 234 waitid 247 openat 257 mkdirat 258 newfstatat 262 unlinkat 263
renameat 264 symlinkat 266 readlinkat 267 fchmodat 268 faccessat 269 pselect6 270 ppoll 271 set_robust_list 273
get_robust_list 274 utimensat 280 epoll_pwait 281 fallocate 285 eventfd2 290 epoll_create1 291 dup3 292 pipe2 293
preadv 295 pwritev 296 prlimit64 302 getcpu 309 renameat2 316 getrandom 318 membarrier 324 copy_file_range 326
statx 332 rseq 334 clone3 435 close_range 436 faccessat2 439 epoll_pwait2 441
"""
_NUMBERS_AARCH64 = """
getcwd 17 eventfd2 19 epoll_create1 20 epoll_ctl 21 epoll_pwait 22 dup 23 dup3 24 fcntl 25 ioctl 29 flock 32 mkdirat 34
unlinkat 35 symlinkat 36 renameat 38 statfs 43 fstatfs 44 ftruncate 46 fallocate 47 faccessat 48 chdir 49 fchdir 50
fchmod 52 fchmodat 53 openat 56 close 57 pipe2 59 getdents64 61 lseek 62 read 63 write 64 readv 65 writev 66 pread64 67
pwrite64 68 preadv 69 pwritev 70 sendfile 71 pselect6 72 ppoll 73 readlinkat 78 newfstatat 79 fstat 80 fsync 82
fdatasync 83 utimensat 88 exit 93 exit_group 94 waitid 95 set_tid_address 96 futex 98 set_robust_list 99
get_robust_list 100 nanosleep 101 getitimer 102 setitimer 103 clock_gettime 113 clock_getres 114 clock_nanosleep 115
sched_getaffinity 123 sched_yield 124 restart_syscall 128 kill 129 tkill 130 tgkill 131 sigaltstack 132
rt_sigsuspend 133 rt_sigaction 134 rt_sigprocmask 135 rt_sigpending 136 rt_sigtimedwait 137 rt_sigreturn 139
getpriority 141 getresuid 148 getresgid 150 times 153 getpgid 155 getsid 156 getgroups 158 uname 160 getrusage 165
umask 166 prctl 167 getcpu 168 gettimeofday 169 getpid 172 getppid 173 getuid 174 geteuid 175 getgid 176 getegid 177
gettid 178 sysinfo 179 socketpair 199 getsockname 204 getpeername 205 sendto 206 recvfrom 207 setsockopt 208
getsockopt 209 shutdown 210 recvmsg 212 brk 214 munmap 215 mremap 216 clone 220 mmap 222 fadvise64 223 mprotect 226
msync 227 mincore 232 madvise 233 wait4 260 prlimit64 261 renameat2 276 getrandom 278 membarrier 283 copy_file_range 285
statx 291 rseq 293 clone3 435 close_range 436 faccessat2 439 epoll_pwait2 441
"""
_ARCHITECTURES = {"x86_64": (0xC000003E, _NUMBERS_X86_64), "aarch64": (0xC00000B7, _NUMBERS_AARCH64)}

_METADATA_CALLS = frozenset({"chmod", "fchmod", "fchmodat", "utimensat"})
"""Calls that change a file's mode or times. Landlock has no right for them, so only a private root makes them safe."""

_THREAD_FLAG = 0x00010000
_NAMESPACE_FLAGS = 0x7E020000 | 0x00000080
"""CLONE_NEW*, and CLONE_NEWTIME."""
_OWN_PID = -1
"""Stands for the process id of the child, which is known only after the fork."""

Step = tuple[int, int, int, int]
"""Code, value, and how far to jump if true and if false: one instruction of the filter."""

# argument index -> (mask, values): the low 32 bits of the argument, masked, must be one of the values.
_ARGUMENT_RULES: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "clone": (0, _THREAD_FLAG | _NAMESPACE_FLAGS, (_THREAD_FLAG,)),
    "kill": (0, 0xFFFFFFFF, (_OWN_PID,)),
    "tgkill": (0, 0xFFFFFFFF, (_OWN_PID,)),
    "tkill": (0, 0xFFFFFFFF, (_OWN_PID,)),
    "prlimit64": (0, 0xFFFFFFFF, (0, _OWN_PID)),
    "ioctl": (
        1,
        0xFFFFFFFF,
        (0x5401, 0x541B, 0x5421, 0x5450, 0x5451, 0x5413),
    ),  # TCGETS FIONREAD FIONBIO FIO(N)CLEX size
    "fcntl": (1, 0xFFFFFFFF, (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)),  # no F_SETOWN: it would aim SIGIO at others
    "prctl": (0, 0xFFFFFFFF, (15, 16)),  # PR_SET_NAME, PR_GET_NAME
    "socketpair": (1, 0xF, (1,)),  # streams: a datagram socket could send to an address
}

_LD_WORD, _AND, _JA, _JEQ, _JGE, _RET = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_libc = ctypes.CDLL(None, use_errno=True)


def is_supported() -> bool:
    """Whether this module knows the machine's system call numbers."""
    return platform.machine() in _ARCHITECTURES


class Filter:
    """A filter compiled once in the fork server and installed by each child with two small patches."""

    def __init__(self, *, metadata: bool, receives: bool) -> None:
        """What to allow beyond the minimum.

        `metadata`: change files' modes and times; only where every writable file is private.
        `receives`: take descriptors from a socket.
        """
        left_out = (frozenset() if metadata else _METADATA_CALLS) | (frozenset() if receives else {"recvmsg"})
        arch, table = _ARCHITECTURES[platform.machine()]
        words = table.split()
        numbers = {int(number): name for name, number in zip(words[::2], words[1::2], strict=True)}
        refused = [(_RET, _EPERM, 0, 0)]
        ranges: list[tuple[int, list[Step]]] = [(0, refused)]  # each from its first number to the next range's
        for number, name in sorted(numbers.items()):
            steps = refused if name in left_out else _steps_for(name)
            for start, what in ((number, steps), (number + 1, refused)):
                if ranges[-1][0] == start:
                    ranges.pop()
                if not ranges or ranges[-1][1] != what:
                    ranges.append((start, what))
        program = [(_LD_WORD, 4, 0, 0), (_JEQ, arch, 1, 0), (_RET, _KILL, 0, 0), (_LD_WORD, 0, 0, 0)]
        program += [(_JGE, 0x40000000, 0, 1), (_RET, _EPERM, 0, 0)]  # the x32 numbers of x86_64
        program += _search(ranges)
        self._own_pid_offsets = [8 * place + 4 for place, step in enumerate(program) if step[1] == _OWN_PID]
        self._code = bytearray().join(
            struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFFFFFF)
            for code, value, if_true, if_false in program
        )
        self._buffer = (ctypes.c_char * len(self._code)).from_buffer(self._code)
        self._program = struct.pack("@HP", len(program), ctypes.addressof(self._buffer))

    def install(self) -> None:
        """Confine the calling thread for good; it has set no_new_privs."""
        pid = os.getpid()
        for offset in self._own_pid_offsets:
            struct.pack_into("=I", self._code, offset, pid)
        if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._program, 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp filter refused")


def _steps_for(name: str) -> list[Step]:
    """What happens on one call; every path through the steps returns."""
    if name == "clone3":
        return [(_RET, _ENOSYS, 0, 0)]
    if name == "sendto":  # an address (argument 4, a pointer of two words) must be null
        low, high = 16 + 8 * 4, 16 + 8 * 4 + 4
        steps = [(_LD_WORD, low, 0, 0), (_JEQ, 0, 0, 3), (_LD_WORD, high, 0, 0), (_JEQ, 0, 0, 1)]
        return [*steps, (_RET, _ALLOW, 0, 0), (_RET, _EPERM, 0, 0)]
    if name in _ARGUMENT_RULES:
        index, mask, values = _ARGUMENT_RULES[name]
        steps = [(_LD_WORD, 16 + 8 * index, 0, 0), (_AND, mask, 0, 0)]
        steps += [(_JEQ, value, len(values) - place, 0) for place, value in enumerate(values)]
        return [*steps, (_RET, _EPERM, 0, 0), (_RET, _ALLOW, 0, 0)]
    return [(_RET, _ALLOW, 0, 0)]


def _search(ranges: list[tuple[int, list[Step]]]) -> list[Step]:
    """A binary search for the loaded call number. The kernel tries every number when a filter is installed: it pays."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    lower, upper = _search(ranges[:middle]), _search(ranges[middle:])
    return [(_JGE, ranges[middle][0], 0, 1), (_JA, len(lower), 0, 0), *lower, *upper]
