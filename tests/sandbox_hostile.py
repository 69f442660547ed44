"""Hostile programs, one trick each."""

ATTEMPTS: dict[str, str] = {
    "read passwd": "open('/etc/passwd').read()",
    "read shadow": "open('/etc/shadow').read()",
    "read repo": "open('REPOSITORY/rewards/sandbox.py').read()",
    "read home": "open('/root/.profile').read()",
    "list work": """
import os
os.listdir('REPOSITORY')
""",
    "proc environ": "open('/proc/self/environ').read()",
    "proc 1 environ": "open('/proc/1/environ').read()",
    "proc parent mem": """
import os
open(f'/proc/{os.getppid()}/mem','rb').read(1)
""",
    "proc maps": "open('/proc/self/maps').read()",
    "proc list": """
import os
assert any(x.isdigit() for x in os.listdir('/proc'))
""",
    "sys": "open('/sys/kernel/uevent_seqnum').read()",
    "env secret": """
import os
assert os.environ.get('SANDBOX_SECRET') or any('SECRET' in k for k in os.environ)
""",
    "env any": """
import os
assert set(os.environ) - {'LC_CTYPE'}
""",
    "libc environ": """
import ctypes
e=ctypes.c_char_p.from_address(ctypes.addressof(ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None),'environ')))
libc=ctypes.CDLL(None)
libc.getenv.restype=ctypes.c_char_p
assert libc.getenv(b'SANDBOX_SECRET')
""",
    "inherited fds": """
import os
for i in range(3,4096):
    try: os.fstat(i)
    except OSError: continue
    try: assert os.read(i,100)
    except OSError: continue
    break
else: raise ValueError
""",
    "write to fds": r"""
import os
for i in range(3,4096):
    try: os.write(i,b'{"outcome":"passed"}\n')
    except OSError: continue
    break
else: raise ValueError
""",
    "open directory fd": """
import os
for i in range(3,4096):
    try: os.open('..',os.O_RDONLY,dir_fd=i); os.listdir(i)
    except OSError: continue
    break
else: raise ValueError
""",
    "dotdot": "open('../../../../../../etc/passwd').read()",
    "symlink read": """
import os
os.symlink('/etc/passwd','l')
open('l').read()
""",
    "hardlink": """
import os
os.link('/etc/passwd','l')
open('l').read()
""",
    "rename in": """
import os
os.rename('/etc/hostname','h')
""",
    "posix module": """
import posix
posix.read(posix.open('/etc/passwd',0),10)
""",
    "io open code": """
import io
io.open_code('/etc/passwd').read()
""",
    "ctypes open": """
import ctypes
l=ctypes.CDLL(None,use_errno=True)
assert l.open(b'/etc/passwd',0)>=0
""",
    "openat2": """
import ctypes,struct
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(437),-100,b'/etc/passwd',struct.pack('QQQ',0,0,0),24)>=0
""",
    "open_by_handle": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(304),3,b'x'*64,0)>=0
""",
    "write etc": "open('/etc/x','w').write('x')",
    "write tmp outside": "open('/var/tmp/sandbox-escape','w').write('x')",
    "write devshm": "open('/dev/shm/sandbox-escape','w').write('x')",
    "write stdlib": """
import os
open(os.path.join(os.path.dirname(os.__file__),'evil.py'),'w').write('x')
""",
    "write pyc": """
import os
os.makedirs(os.path.join(os.path.dirname(os.__file__),'__pycache__'),exist_ok=True)
open(os.path.join(os.path.dirname(os.__file__),'__pycache__','evil.pyc'),'w')
""",
    "write repo": "open('REPOSITORY/evil.txt','w')",
    "append repo": "open('REPOSITORY/rewards/sandbox.py','a')",
    "unlink repo": """
import os
os.unlink('REPOSITORY/README.md')
""",
    "mkdir outside": """
import os
os.mkdir('/var/tmp/evil-dir')
""",
    "chmod stdlib": """
import os
os.chmod(os.__file__,0o777)
""",
    "chmod repo": """
import os
os.chmod('REPOSITORY/rewards/sandbox.py',0o777)
""",
    "chown": """
import os
os.chown(os.__file__,65534,65534)
""",
    "utime": """
import os
os.utime(os.__file__)
""",
    "setxattr": """
import os
open('f','w').close()
os.setxattr('f','user.x',b'1')
""",
    "setxattr dir": """
import os
os.setxattr('.','user.x',b'1')
""",
    "mknod": """
import os
os.mknod('d',0o600|0o020000,os.makedev(1,1))
""",
    "mkfifo": """
import os
os.mkfifo('f')
""",
    "mount": """
import ctypes
assert ctypes.CDLL(None).mount(b'none',b'/tmp',b'tmpfs',0,None)==0
""",
    "chroot": """
import os
os.chroot('.')
""",
    "pivot": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(155),b'.',b'.')==0
""",
    "setns": """
import ctypes
assert ctypes.CDLL(None).setns(0,0)==0
""",
    "unshare": """
import ctypes
assert ctypes.CDLL(None).unshare(0x10000000)==0
""",
    "unshare mount": """
import ctypes
assert ctypes.CDLL(None).unshare(0x00020000)==0
""",
    "tcp": """
import socket
socket.create_connection(('127.0.0.1',22),1)
""",
    "tcp socket": """
import socket
socket.socket()
""",
    "udp": """
import socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
s.sendto(b'x',('127.0.0.1',9))
""",
    "raw": """
import socket
socket.socket(socket.AF_INET,socket.SOCK_RAW,1)
""",
    "unix": r"""
import socket
socket.socket(socket.AF_UNIX).connect('\0x')
""",
    "unix dgram pair": """
import socket
socket.socketpair(socket.AF_UNIX,socket.SOCK_DGRAM)
""",
    "netlink": """
import socket
socket.socket(socket.AF_NETLINK,socket.SOCK_RAW,0)
""",
    "vsock": """
import socket
socket.socket(40,socket.SOCK_STREAM)
""",
    "alg": """
import socket
socket.socket(38,socket.SOCK_SEQPACKET)
""",
    "packet": """
import socket
socket.socket(17,socket.SOCK_RAW)
""",
    "dns": """
import socket
socket.getaddrinfo('example.com',80)
""",
    "urllib": """
import urllib.request
urllib.request.urlopen('http://127.0.0.1',timeout=1)
""",
    "sendto address": """
import socket
a,b=socket.socketpair()
a.sendto(b'x','/dev/log')
""",
    "sendmsg": """
import socket
a,b=socket.socketpair()
a.sendmsg([b'x'])
""",
    "connect pair": """
import socket
a,b=socket.socketpair()
a.connect('/run/x')
""",
    "fork": """
import os
pid=os.fork()
if pid==0: os._exit(0)
""",
    "vfork clone": """
import ctypes
r=ctypes.CDLL(None).syscall(ctypes.c_long(56),17,0,0,0,0)
if r==0:
    import os; os._exit(0)
assert r>0
""",
    "clone3": """
import ctypes,struct
b=ctypes.create_string_buffer(struct.pack('11Q',0,0,0,0,17,0,0,0,0,0,0))
r=ctypes.CDLL(None).syscall(ctypes.c_long(435),b,88)
if r==0:
    import os; os._exit(0)
assert r>0
""",
    "vfork": """
import ctypes
r=ctypes.CDLL(None).syscall(ctypes.c_long(58))
assert r>=0
""",
    "subprocess": """
import subprocess
subprocess.run(['/bin/true'])
""",
    "os system": """
import os
assert os.system('true')==0
""",
    "popen": """
import os
assert os.popen('echo hi').read()
""",
    "exec": """
import os
os.execv('/bin/sh',['sh','-c','echo ESCAPED'])
""",
    "execveat": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(322),-100,b'/bin/true',0,0,0)==0
""",
    "posix spawn": """
import os
os.posix_spawn('/bin/true',['true'],{})
""",
    "multiprocessing": """
import multiprocessing as m
p=m.get_context('fork').Process(target=print)
p.start()
""",
    "pty": """
import pty
pty.fork()
""",
    "setsid": """
import os
os.setsid()
""",
    "setpgid": """
import os
os.setpgid(0,os.getppid())
""",
    "daemonize": """
import os
if os.fork(): os._exit(0)
os.setsid()
""",
    "kill parent": """
import os,signal
os.kill(os.getppid(),0)
""",
    "kill parent 9": """
import os,signal
os.kill(os.getppid(),9)
""",
    "kill 1": """
import os
os.kill(1,0)
""",
    "kill all": """
import os
os.kill(-1,0)
""",
    "kill group": """
import os
os.killpg(0,0)
""",
    "kill others": """
import os
ok=False
for i in range(1,3000):
    if i!=os.getpid():
        try: os.kill(i,0); ok=True
        except OSError: pass
assert ok
""",
    "pidfd": """
import os,signal
signal.pidfd_send_signal(os.pidfd_open(os.getppid()),0)
""",
    "sigqueue": """
import ctypes,os
assert ctypes.CDLL(None).sigqueue(os.getppid(),0,0)==0
""",
    "tgkill parent": """
import ctypes,os
assert ctypes.CDLL(None).syscall(ctypes.c_long(234),os.getppid(),os.getppid(),0)==0
""",
    "fcntl setown": """
import fcntl,os
r,w=os.pipe()
fcntl.fcntl(r,fcntl.F_SETOWN,os.getppid())
""",
    "fcntl setsig": """
import fcntl,os
r,w=os.pipe()
fcntl.fcntl(r,10,9)
""",
    "ptrace": """
import ctypes,os
assert ctypes.CDLL(None).ptrace(16,os.getppid(),0,0)==0
""",
    "ptrace me": """
import ctypes
assert ctypes.CDLL(None).ptrace(0,0,0,0)==0
""",
    "process_vm_readv": """
import ctypes,os
assert ctypes.CDLL(None).process_vm_readv(os.getppid(),0,0,0,0,0)>=0
""",
    "prlimit parent": """
import resource,os
resource.prlimit(os.getppid(),resource.RLIMIT_CPU)
""",
    "setpriority": """
import os
os.setpriority(os.PRIO_PROCESS,os.getppid(),5)
""",
    "affinity parent": """
import os
os.sched_setaffinity(os.getppid(),{0})
""",
    "affinity own": """
import os
os.sched_setaffinity(0,{0})
""",
    "scheduler": """
import os
os.sched_setscheduler(0,os.SCHED_FIFO,os.sched_param(1))
""",
    "memfd": """
import os
os.memfd_create('x')
""",
    "io_uring": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(425),1,ctypes.create_string_buffer(120))>=0
""",
    "bpf": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(321),0,ctypes.create_string_buffer(64),64)>=0
""",
    "perf": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(298),ctypes.create_string_buffer(128),0,-1,-1,0)>=0
""",
    "userfaultfd": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(323),1)>=0
""",
    "keyctl": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(250),0,-3,1,0,0)>=0
""",
    "add_key": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(248),b'user',b'd',b'p',1,-3)>=0
""",
    "shmget": """
import ctypes
assert ctypes.CDLL(None).shmget(0,4096,0o1600)>=0
""",
    "msgget": """
import ctypes
assert ctypes.CDLL(None).msgget(0,0o1600)>=0
""",
    "semget": """
import ctypes
assert ctypes.CDLL(None).semget(0,1,0o1600)>=0
""",
    "posix shm": """
from multiprocessing import shared_memory as s
s.SharedMemory(create=True,size=10)
""",
    "inotify": """
import ctypes
assert ctypes.CDLL(None).inotify_init()>=0
""",
    "fanotify": """
import ctypes
assert ctypes.CDLL(None).fanotify_init(0,0)>=0
""",
    "landlock again": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(444),0,0,1)>=0
""",
    "seccomp listener": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(317),1,8,0)>=0
""",
    "prctl dumpable": """
import ctypes
assert ctypes.CDLL(None).prctl(4,1,0,0,0)==0
""",
    "prctl ptracer": """
import ctypes
assert ctypes.CDLL(None).prctl(0x59616d61,-1,0,0,0)==0
""",
    "personality": """
import ctypes
assert ctypes.CDLL(None).personality(0x0400000)>=0
""",
    "setuid": """
import os
os.setuid(0)
os.seteuid(0)
""",
    "setgroups": """
import os
os.setgroups([0])
""",
    "capset": """
import ctypes,struct
assert ctypes.CDLL(None).capset(struct.pack('Ii',0x20080522,0),struct.pack('6I',*[0xffffffff]*6))==0
""",
    "sethostname": """
import socket
socket.sethostname('evil')
""",
    "settime": """
import time
time.clock_settime(time.CLOCK_REALTIME,0)
""",
    "reboot": """
import ctypes
assert ctypes.CDLL(None).reboot(0)==0
""",
    "module": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(175),b'x',1,b'')==0
""",
    "quotactl swapon": """
import ctypes
assert ctypes.CDLL(None).swapon(b'f',0)==0
""",
    "raise nofile": """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE,(4096,4096))
""",
    "raise as": """
import resource
resource.setrlimit(resource.RLIMIT_AS,(1<<40,1<<40))
""",
    "raise cpu": """
import resource
resource.setrlimit(resource.RLIMIT_CPU,(9999,9999))
""",
    "tiocsti": """
import fcntl,termios
fcntl.ioctl(0,termios.TIOCSTI,b'x')
""",
    "open tty": "open('/dev/tty','w')",
    "open vda": "open('/dev/vda','rb').read(1)",
    "open mem": "open('/dev/mem','rb').read(1)",
    "open kvm": "open('/dev/kvm','rb')",
    "x32": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000+39))>=0
""",
    "truncate path": """
import os
os.truncate(os.__file__,10)
""",
    "fd stdin write": """
import os
assert os.write(0,b'x')==1
""",
    "much memory": "x=bytearray(4<<30)",
    "much shared memory": """
import mmap
m=mmap.mmap(-1,4<<30)
m.write(b'x'*10)
""",
    "big file": """
f=open('f','wb')
for i in range(64): f.write(b'x'*(1<<20)); f.flush()
""",
    "many files total": """
for i in range(64):
    with open(f'f{i}','wb') as f: f.write(b'x'*(1<<20))
import time
time.sleep(0.5)
""",
    "many empty files": "for i in range(100000): open(f'f{i}','w').close()",
    "many fds": """
import os
k=[os.dup(0) for _ in range(2000)]
""",
    "deep dirs": """
import os
for i in range(5000): os.mkdir('d'); os.chdir('d')
import time
time.sleep(0.3)
""",
    "fallocate": """
import os
f=os.open('f',os.O_CREAT|os.O_RDWR)
os.posix_fallocate(f,0,1<<30)
""",
    "persist check": """
import os
assert os.listdir('.')
""",
    "persist tmp check": """
import os
assert os.path.exists('/tmp/persist') or os.path.exists('persist')
""",
}
"""Statements that raise where they are contained. REPOSITORY stands for the checkout."""

CHEATS: dict[str, tuple[str, str]] = {
    "exit 0": (
        """
import sys
sys.exit(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "os exit": (
        """
import os
os._exit(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "raise SystemExit": (
        "raise SystemExit(0)",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "exit in f": (
        """
import sys
def f(x): sys.exit(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "os exit in f": (
        """
import os
def f(x): os._exit(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "kill self": (
        """
import os,signal
def f(x): os.kill(os.getpid(),9)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "print PASSED": (
        """
print('PASSED'); print('{"outcome": "passed"}'); print('{"end": true}')
def f(x): print('PASSED')
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "always equal": (
        """
class E:
    def __eq__(s,o): return True
    def __ne__(s,o): return False
    def __hash__(s): return 0
def f(x): return E()
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "int equal": (
        """
class E(int):
    def __eq__(s,o): return True
    def __hash__(s): return 0
def f(x): return E(1)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "str equal": (
        """
class E(str):
    def __eq__(s,o): return True
    __hash__=str.__hash__
def f(x): return E('a')
""",
        "assert f(1) == 'b'",
    ),
    "list equal": (
        """
class E(list):
    def __eq__(s,o): return True
def f(x): return E([1])
""",
        "assert f(1) == [2]",
    ),
    "dict equal": (
        """
class E(dict):
    def __eq__(s,o): return True
def f(x): return E()
""",
        "assert f(1) == {'a':1}",
    ),
    "float close": (
        """
class E(float):
    def __sub__(s,o): return 0.0
    __rsub__=__sub__
    def __abs__(s): return 0.0
def f(x): return E(1)
""",
        "assert abs(f(1) - 3.14) < 1e-6",
    ),
    "object close": (
        """
class E:
    def __sub__(s,o): return 0.0
    __rsub__=__sub__
    def __abs__(s): return 0.0
    def __lt__(s,o): return True
    __gt__=__le__=__ge__=__lt__
def f(x): return E()
""",
        "assert abs(f(1) - 3.14) < 1e-6",
    ),
    "class as function": (
        """
class f:
    def __init__(s,x): pass
    def __eq__(s,o): return True
    def __sub__(s,o): return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "less than": (
        """
class E:
    def __lt__(s,o): return True
    __gt__=__le__=__ge__=__lt__
def f(x): return E()
""",
        """
assert f(1) < 5
assert f(1) > 5
""",
    ),
    "contains": (
        """
class E:
    def __contains__(s,o): return True
    def __iter__(s): return iter([])
def f(x): return E()
""",
        "assert 3 in f(1)",
    ),
    "element equal": (
        """
class E:
    def __eq__(s,o): return True
    def __hash__(s): return hash(3)
def f(x): return [E()]
""",
        "assert f(1) == [3]",
    ),
    "set equal": (
        """
class E:
    def __eq__(s,o): return True
    def __hash__(s): return hash(3)
def f(x): return {E()}
""",
        "assert f(1) == {3}",
    ),
    "sorted equal": (
        """
class E:
    def __eq__(s,o): return True
    def __lt__(s,o): return True
def f(x): return [E(),E()]
""",
        "assert sorted(f(1)) == [1,2]",
    ),
    "returns self": (
        """
class Solution:
    def g(s,x): return s
    def __eq__(s,o): return True
    def __contains__(s,o): return True
    def __sub__(s,o): return 0
""",
        "assert Solution().g(3) == 9",
    ),
    "returns self contains": (
        """
class Solution:
    def g(s,x): return s
    def __contains__(s,o): return True
    def __sub__(s,o): return 0
""",
        "assert 5 in Solution().g(3)",
    ),
    "returns self close": (
        """
class Solution:
    def g(s,x): return s
    def __sub__(s,o): return 0
""",
        """
s = Solution()
assert abs(s.g(3) - 5.5) < 1e-6
""",
    ),
    "equal anything class": (
        """
class P:
    def __init__(s,x): s.x=x
    def __eq__(s,o): return True
def f(x): return P(0)
""",
        """
assert f(1) == P(5)
assert f(1).x == 5
""",
    ),
    "equal anything class only": (
        """
class P:
    def __init__(s,x): s.x=x
    def __eq__(s,o): return True
def f(x): return P(0)
""",
        "assert f(1) == P(5)",
    ),
    "builtins eq": (
        """
import builtins
builtins.all=lambda x: True
builtins.abs=lambda x: 0
builtins.isinstance=lambda *a: True
builtins.sorted=lambda x,**k: []
def f(x): return 1
""",
        """
assert abs(f(1)-5) < 1
assert all([f(1)==5])
""",
    ),
    "shadow abs": (
        """
def abs(x): return 0
def f(x): return 1
""",
        "assert abs(f(1)-5) < 1",
    ),
    "shadow abs only": (
        "def abs(x): return 0",
        "assert abs(f(1)-5) < 1",
    ),
    "shadow all": (
        """
def all(x): return True
def f(x): return 1
""",
        "assert all(f(i) == i*i for i in range(5))",
    ),
    "shadow all only": (
        "def all(x): return True",
        "assert all(f(i) == i*i for i in range(5))",
    ),
    "shadow len sorted": (
        """
len=lambda x: 3
sorted=lambda x: [1]
set=list
str=lambda x:'a'
round=lambda *a: 3
def f(x): return []
""",
        "assert len(f(1)) == 3",
    ),
    "shadow isinstance": (
        """
isinstance=lambda *a: True
def f(x): return None
""",
        "assert isinstance(f(1), int)",
    ),
    "shadow AssertionError": (
        """
class AssertionError(Exception): pass
Exception=BaseException
def f(x): raise AssertionError
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "shadow math": (
        """
class math:
    isclose=staticmethod(lambda *a,**k: True)
    pi=3
def f(x): return 0
""",
        "assert math.isclose(f(1), 3.5)",
    ),
    "patch math": (
        """
import math
math.isclose=lambda *a,**k: True
def f(x): return 0
""",
        """
import math
assert math.isclose(f(1), 3.5)
""",
    ),
    "sys modules": (
        """
import sys,types
m=types.ModuleType('math')
m.isclose=lambda *a,**k: True
sys.modules['math']=m
sys.modules['unittest']=m
sys.modules['tests']=m
def f(x): return 0
""",
        """
import math
assert math.isclose(f(1), 3.5)
""",
    ),
    "patch unittest": (
        """
import unittest
unittest.TestCase.assertEqual=lambda *a: None
def f(x): return 0
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(f(2), 4)
""",
    ),
    "skip test": (
        """
import unittest
def f(x): raise unittest.SkipTest('no')
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(f(2), 4)
""",
    ),
    "frames": (
        """
import sys
def f(x):
    g=sys._getframe()
    while g:
        for k,v in list(g.f_locals.items())+list(g.f_globals.items()):
            if isinstance(v,list): v.append('passed')
            if k in ('failed','passed','results'): g.f_globals[k]=True
        g=g.f_back
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "gc": (
        """
import gc
def f(x):
    for o in gc.get_objects():
        if isinstance(o,dict):
            for k in list(o):
                if o[k] is False:
                    try: o[k]=True
                    except Exception: pass
        if isinstance(o,str) and 'assert' in o: return eval(o.split('==')[1])
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "find expected in memory": (
        r"""
import gc,re
def f(x):
    for o in gc.get_objects():
        try: t=repr(o)
        except Exception: continue
        m=re.search(r'assert f\(3\) == (\w+)',t)
        if m: return int(m.group(1))
    return 0
""",
        "assert f(3) == 8675309",
    ),
    "settrace": (
        """
import sys
def t(fr,ev,arg):
    fr.f_trace_opcodes=True
    return t
sys.settrace(t)
def f(x): return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forge reply": (
        """
import os,struct
def f(x):
    b=b'{"v":9}'
    os.write(4,struct.pack('>I',len(b))+b)
    return 0
""",
        "assert f(3) == 12345",
    ),
    "forge results": (
        r"""
import os
def f(x):
    for i in range(3,64):
        try: os.write(i,b'{"planned":1}\n{"outcome":"passed","label":"x"}\n{"end":true}\n')
        except OSError: pass
    os._exit(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forge at load": (
        r"""
import os
for i in range(0,64):
    try: os.write(i,b'{"planned":1}\n{"outcome":"passed","label":"x"}\n{"end":true}\n')
    except OSError: pass
os._exit(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "close channel": (
        """
import os
os.closerange(0,64)
def f(x): return 9
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "flood": (
        """
import os,struct
def f(x):
    while True: os.write(4,struct.pack('>I',1<<30)+b'x'*65536)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "deep json": (
        """
import os,struct
def f(x):
    b=b'{"v":'+b'['*1000000
    os.write(4,struct.pack('>I',len(b))+b)
    return 9
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "protocol junk": (
        """
import os,struct
def f(x):
    for b in (b'[]',b'{"v":["h",99]}'): os.write(4,struct.pack('>I',len(b))+b)
    return 9
""",
        "assert f(3) == 12345",
    ),
    "odd spellings": (
        """
import os,struct
def f(x):
    b=b'{"v":["g","os","system"]}'
    os.write(4,struct.pack('>I',len(b))+b)
    return 9
""",
        "assert f(3)('true') == 0",
    ),
    "exec by name": (
        """
import os,struct
def f(x):
    b=b'{"v":["g","builtins","exec"]}'
    os.write(4,struct.pack('>I',len(b))+b)
    return 9
""",
        "assert f(3)('1') is None",
    ),
    "swallowed death": (
        """
import os
def f(x): os._exit(0)
""",
        """
try:
    f(-1)
except BaseException:
    pass
assert True
""",
    ),
    "death in raises": (
        """
import os
def f(x): os._exit(0)
""",
        """
ok = False
try:
    f(-1)
except BaseException:
    ok = True
assert ok
""",
    ),
    "callback globals": (
        """
def f(g):
    g.__globals__['expected']=0
    return 0
""",
        """
expected = 5
def cb(): return 1
assert f(cb) == expected
""",
    ),
    "callback code": (
        """
def f(g):
    try: g.__code__=(lambda: 0).__code__
    except AttributeError: pass
    return g
""",
        """
def cb(): return 5
assert f(cb)() == 0
""",
    ),
    "generator frame": (
        """
def f(g):
    try: g.gi_frame.f_globals['expected']=0
    except AttributeError: pass
    return 0
""",
        """
expected = 5
assert f(i for i in [1]) == expected
""",
    ),
    "test object globals": (
        """
def f(o):
    for n in ('__class__','__init__','__dict__','_secret'):
        try:
            v=getattr(o,n)
            if n=='_secret': return v
            v.__globals__['expected']=0
        except Exception: pass
    return 0
""",
        """
expected = 5
class A:
    def __init__(self): self._secret = 5
assert f(A()) == expected
""",
    ),
    "partial outputs": (
        "def f(n): return [1]",
        """
assert f(3) == [1,2]
assert all(a == b for a, b in zip(f(1), [1]))
""",
    ),
    "hang": (
        """
def f(x):
    while True: pass
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "hang at load": (
        "while True: pass",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "sleep": (
        """
import time
def f(x): time.sleep(100)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "ignore signals": (
        """
import signal,time
for s in range(1,65):
    try: signal.signal(s,signal.SIG_IGN)
    except Exception: pass
while True: pass
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "segfault": (
        """
import ctypes
def f(x): ctypes.string_at(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "segfault at load": (
        """
import ctypes
ctypes.string_at(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "stack overflow": (
        """
import sys
sys.setrecursionlimit(10**9)
def f(x):
    a=[]
    for _ in range(10**6): a=[a]
    return repr(a)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "nested return": (
        """
def f(x):
    a=[]
    for _ in range(10**5): a=[a]
    return a
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "memory": (
        "def f(x): return 'x'*(1<<40)",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "memory slow": (
        """
def f(x):
    l=[]
    while True: l.append(bytearray(1<<24))
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "thread bomb": (
        """
import threading,time
def f(x):
    while True: threading.Thread(target=time.sleep,args=(100,)).start()
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "huge int": (
        "def f(x): return 10**(10**7)",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "pow": (
        "def f(x): return 9**9**9",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "regex": (
        """
import re
def f(x): return re.match(r'(a+)+$','a'*40+'b')
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "huge frame": (
        "def f(x): return 'x'*(20<<20)",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "endless generator": (
        """
def f(x):
    while True: yield 1
""",
        "assert list(f(1)) == [1]",
    ),
    "endless iterator len": (
        """
class E:
    def __len__(s): return 2
    def __getitem__(s,i): return i
def f(x): return E()
""",
        "assert list(f(1)) == [0,1]",
    ),
    "endless callbacks": (
        """
def f(g):
    while True: g()
""",
        "assert f(lambda: 1) == 1",
    ),
    "recursion through callbacks": (
        "def f(g): return g(f, g)",
        "assert f(lambda h, g: h(g)) == 1",
    ),
    "print flood": (
        """
def f(x):
    while True: print('x'*1000)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "syntax error": (
        "def f(x) return 9",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "null byte": (
        "x='\\0'\n\x00",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "no definition": (
        "pass",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "async never": (
        """
import asyncio
async def f(x): await asyncio.sleep(1000)
""",
        """
import asyncio
assert asyncio.run(f(1)) == 2
""",
    ),
    "monkeypatched agent": (
        """
import sys
for n,m in list(sys.modules.items()):
    if n.startswith('rewards'):
        for k,v in list(vars(m).items()):
            if callable(v):
                try: setattr(m,k,lambda *a,**k: True)
                except Exception: pass
def f(x): return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "repr trick": (
        """
class E:
    def __repr__(s): return '9'
    __str__=__repr__
def f(x): return E()
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "str of str": (
        """
class E(str):
    def __repr__(s): return "'b'"
    def __str__(s): return 'b'
def f(x): return E('a')
""",
        "assert f(1) == 'b'",
    ),
    "hash trick": (
        """
class E:
    def __eq__(s,o): return True
    def __hash__(s): return hash('k')
def f(x): return {E(): 1}
""",
        """
assert f(1) == {'k': 1}
assert f(1)['k'] == 1
""",
    ),
    "key trick": (
        """
class E:
    def __eq__(s,o): return True
    def __hash__(s): return hash(9)
def f(x): return E()
""",
        """
d = {9: 1}
assert d[f(1)] == 1
""",
    ),
    "index trick": (
        """
class E:
    def __index__(s): return 0
def f(x): return E()
""",
        "assert [1,2].index(f(1)) == 0",
    ),
    "type name trick": (
        """
class int:
    def __eq__(s,o): return True
int.__module__='builtins'
int.__qualname__='int'
def f(x): return int()
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "class lies": (
        """
class E:
    __class__=int
    def __eq__(s,o): return True
def f(x): return E()
""",
        """
assert isinstance(f(1), int)
assert f(1) == 3
""",
    ),
    "metaclass lies": (
        """
class M(type):
    def __instancecheck__(c,o): return True
    def __eq__(c,o): return True
    def __hash__(c): return 0
class E(metaclass=M): pass
def f(x): return E
""",
        """
assert f(1) == int
assert isinstance(3, f(1))
""",
    ),
    "exceptions equal": (
        """
class E(Exception):
    def __eq__(s,o): return True
    __hash__=None
def f(x): return E()
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "error equal": (
        """
def f(x):
    class E(ValueError):
        def __eq__(s,o): return True
    return E()
""",
        "assert f(1) == 9",
    ),
    "raise AssertionError subclass": (
        """
class Ok(AssertionError): pass
def f(x): raise Ok
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "raise StopIteration": (
        "def f(x): raise StopIteration(9)",
        "assert next(f(x) for x in [1]) == 9",
    ),
    "raise GeneratorExit": (
        "def f(x): raise GeneratorExit",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "raise KeyboardInterrupt": (
        "def f(x): raise KeyboardInterrupt",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "module getattr": (
        "def __getattr__(n): return lambda *a: True",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "rename f at runtime": (
        """
import sys
class M(type(sys)):
    def __eq__(s,o): return True
sys.modules[__name__].__class__=M
def f(x): return sys.modules[__name__]
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "mutate the expected": (
        """
def f(xs):
    xs.clear()
    return [1]
""",
        """
xs = [3,1,2]
want = sorted(xs)
assert f(xs) == want
""",
    ),
    "background forger": (
        """
import threading,os,struct,time
def bg():
    while True:
        b=b'{"v":9}'
        try: os.write(4,struct.pack('>I',len(b))+b)
        except OSError: return
threading.Thread(target=bg,daemon=True).start()
def f(x): return 0
""",
        "assert f(3) == 12345",
    ),
}
"""A module that does not do what is asked, and asserts that it must not pass."""

PRINTED: dict[str, tuple[str, str, str]] = {
    "nothing": (
        "",
        "3\n",
        "SECRET-9",
    ),
    "prefix": (
        "print('SECRET-9'[:-1])",
        "3\n",
        "SECRET-9",
    ),
    "extra": (
        """
print('a')
print('b')
print('c')
""",
        "",
        "a\nb",
    ),
    "fewer": (
        "print('a')",
        "",
        "a\nb",
    ),
    "nonzero": (
        """
print('SECRET-9')
raise SystemExit(2)
""",
        "3\n",
        "SECRET-9",
    ),
    "raises after": (
        """
print('SECRET-9')
1/0
""",
        "3\n",
        "SECRET-9",
    ),
    "abort after": (
        """
print('SECRET-9',flush=True)
import os
os.abort()
""",
        "3\n",
        "SECRET-9",
    ),
    "hang after": (
        """
print('SECRET-9',flush=True)
while True: pass
""",
        "3\n",
        "SECRET-9",
    ),
    "close and hang": (
        """
import os,time
print('SECRET-9',flush=True)
os.close(1)
os.close(2)
time.sleep(100)
""",
        "3\n",
        "SECRET-9",
    ),
    "flood": (
        "while True: print('x'*10000)",
        "3\n",
        "SECRET-9",
    ),
    "flood stderr": (
        """
import sys
while True: print('x'*10000,file=sys.stderr)
""",
        "3\n",
        "SECRET-9",
    ),
    "fds": (
        """
import os
for i in range(64):
    try: print(os.pread(i,1000,0))
    except OSError: pass
""",
        "3\n",
        "SECRET-9",
    ),
    "regex exit": (
        """
import os
print('PASSED')
os._exit(0)
""",
        "3\n",
        "SECRET-9",
    ),
    "search memory": (
        """
import gc
for o in gc.get_objects():
    try:
        r=repr(o)
        i=r.find('SECR')
        if i>=0: print(r[i:i+8]); break
    except Exception: pass
""",
        "3\n",
        "SECRET-9",
    ),
    "leading blank": (
        """
print()
print('SECRET-9')
""",
        "3\n",
        "SECRET-9",
    ),
    "stopped": (
        """
import os,signal
print('SECRET-9',flush=True)
os.kill(os.getpid(),signal.SIGSTOP)
""",
        "3\n",
        "SECRET-9",
    ),
}
"""A program, its standard input, and an output that it must not be credited with."""
