"""Hostile programs, one trick each."""

# ruff: noqa: E501

import re

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
    "timerfd": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(283), ctypes.c_long(1), ctypes.c_long(0))>=0
""",
    "signalfd": r"""
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(289), ctypes.c_long(-1), b'\0'*8, ctypes.c_long(8), ctypes.c_long(0))>=0
""",
    "name_to_handle": r"""
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(303), ctypes.c_long(-100), b'/etc/passwd', ctypes.create_string_buffer(b'\x80'+b'\0'*255), ctypes.create_string_buffer(8), ctypes.c_long(0))>=0
""",
    "kcmp": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(312), ctypes.c_long(1), ctypes.c_long(1), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))>=0
""",
    "pidfd_getfd": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(438), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))>=0
""",
    "process_madvise": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(440), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))>=0
""",
    "memfd_secret": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(447), ctypes.c_long(0))>=0
""",
    "move_pages": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(279), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))>=0
""",
    "set_mempolicy": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(238), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))>=0
""",
    "ioprio_set": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(251), ctypes.c_long(1), ctypes.c_long(0), ctypes.c_long(0))>=0
""",
    "sched_setattr": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(314), ctypes.c_long(0), ctypes.create_string_buffer(48), ctypes.c_long(0))>=0
""",
    "vmsplice": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(278), ctypes.c_long(1), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))>=0
""",
    "syslog": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(103), ctypes.c_long(3), ctypes.create_string_buffer(100), ctypes.c_long(100))>=0
""",
    "acct": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(163), ctypes.c_long(0))>=0
""",
    "iopl": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(172), ctypes.c_long(3))>=0
""",
    "ioperm": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(173), ctypes.c_long(0), ctypes.c_long(1), ctypes.c_long(1))>=0
""",
    "modify_ldt": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(154), ctypes.c_long(0), ctypes.create_string_buffer(64), ctypes.c_long(64))>=0
""",
    "mlockall": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(151), ctypes.c_long(1))>=0
""",
    "adjtimex": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(159), ctypes.create_string_buffer(256))>=0
""",
    "fsopen": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(430), b'tmpfs', ctypes.c_long(0))>=0
""",
    "open_tree": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(428), ctypes.c_long(-100), b'/', ctypes.c_long(1))>=0
""",
    "move_mount": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(429), ctypes.c_long(-100), b'/tmp', ctypes.c_long(-100), b'/mnt', ctypes.c_long(0))>=0
""",
    "swapoff": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(168), b'/x')>=0
""",
    "init_module": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(175), ctypes.c_long(0), ctypes.c_long(0), b'')>=0
""",
    "kexec_load": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(246), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))>=0
""",
    "clock_settime": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(227), ctypes.c_long(0), ctypes.create_string_buffer(16))>=0
""",
    "setdomainname": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(171), b'x', ctypes.c_long(1))>=0
""",
    "umount2": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(166), b'/tmp', ctypes.c_long(2))>=0
""",
    "fork by number": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(57))>=0
""",
    "rt_tgsigqueueinfo": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(297), ctypes.c_long(1), ctypes.c_long(1), ctypes.c_long(0), ctypes.create_string_buffer(128))>=0
""",
    "mq_open": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(240), b'x', ctypes.c_long(66), ctypes.c_long(384), ctypes.c_long(0))>=0
""",
    "lsm list": """
import ctypes
l=ctypes.CDLL(None)
assert l.syscall(ctypes.c_long(461), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))>=0
""",
    "memory by tmpfs": """
b=b'x'*(1<<20)
for i in range(200):
    open(f't{i}','wb').write(b)
""",
    "memory by pipes": """
import os
for i in range(4096):
    r,w=os.pipe()
    os.set_blocking(w,False)
    try:
        while True: os.write(w,b'x'*65536)
    except BlockingIOError: pass
""",
    "memory by sockets": """
import socket
keep=[]
for i in range(4096):
    p=socket.socketpair()
    keep.append(p)
    p[0].setblocking(False)
    try:
        while True: p[0].send(b'x'*65536)
    except BlockingIOError: pass
""",
    "memory by threads' stacks": """
import threading,time
threading.stack_size(64<<20)
for i in range(500): threading.Thread(target=time.sleep,args=(5,),daemon=True).start()
""",
    "memory by mmaps": """
import mmap
k=[]
for i in range(100000): k.append(mmap.mmap(-1,1<<20)); k[-1][0]=1
""",
    "memory by dicts": """
d={}
try:
    for i in range(10**9): d[i]=str(i)*1000
finally: d.clear()
""",
    "memory by bytearray growth": "b=bytearray()\nwhile len(b)<1<<34: b+=bytes(1<<24)",
    "memory by list multiply": "x=[0]\nwhile len(x)<1<<34: x=x*2",
    "memory by strings": "s='ab'\nwhile len(s)<1<<34: s=s+s",
    "memory by decompression": """
import zlib
b=zlib.compress(bytes(1<<26))
k=[zlib.decompress(b) for _ in range(80)]
""",
    "memory by sparse file map": """
import mmap,os
f=open('s','w+b')
os.ftruncate(f.fileno(),1<<40)
mmap.mmap(f.fileno(),1<<40)
""",
    "write through proc fd": "import os\nfd=os.open('/proc/self/fd',os.O_RDONLY)",
    "rename over root": "import os\nos.rename('.','/var/tmp/evil')",
    "symlink then write": """
import os
os.symlink('/var/tmp','d')
open('d/evil','w').write('x')
""",
    "absolute listing": """
import os
assert {'root','home','work'} & set(os.listdir('/')) and os.listdir('/root') is not None and os.listdir('REPOSITORY')
""",
    "site packages": "import numpy",
    "read own source": """
import rewards.sandboxing.judge as j
open(j.__file__).read()
""",
    "home ssh": "import os\nos.listdir(os.path.expanduser('~root/.ssh'))",
    "tmp of others": """
import os,glob
assert [p for p in glob.glob('/tmp/sandbox-*/private/*') if os.getcwd() not in p]
""",
    "other sandboxes": """
import os
assert any(os.listdir(os.path.join('/tmp',d)) for d in os.listdir('/tmp') if d.startswith('sandbox-') and '/tmp/'+d not in os.getcwd())
""",
    "webbrowser": """
import webbrowser
assert webbrowser.open('http://127.0.0.1')
""",
    "http server": """
import http.server
http.server.HTTPServer(('127.0.0.1',0),http.server.BaseHTTPRequestHandler)
""",
    "asyncio server": """
import asyncio
assert asyncio.run(asyncio.start_server(lambda r,w: None,'127.0.0.1',0)).sockets
""",
    "multiprocessing manager": "import multiprocessing\nmultiprocessing.Manager()",
    "shared memory": """
from multiprocessing import shared_memory
shared_memory.SharedMemory(create=True,size=100)
""",
    "process pool": """
import concurrent.futures as c
with c.ProcessPoolExecutor(1) as e: e.submit(int).result()
""",
    "os spawn": """
import os
assert os.spawnv(os.P_WAIT,'/bin/true',['true'])==0
""",
    "interpreter": """
import subprocess,sys
subprocess.check_call([sys.executable,'-c','1'])
""",
    "ld.so": """
import os
os.execv('/lib64/ld-linux-x86-64.so.2',['ld','/bin/true'])
""",
    "fexecve": """
import os
fd=os.open('/lib/x86_64-linux-gnu/libc.so.6',os.O_RDONLY)
os.execve(fd,['x'],{})
""",
    "mprotect of a file": r"""
import ctypes,mmap
f=open('x','wb+')
f.write(b'\xc3'*4096)
f.flush()
m=mmap.mmap(f.fileno(),4096,prot=7)
import os
os.execv('x',['x'])
""",
    "kill by group": """
import os,signal
os.killpg(os.getpgid(os.getppid()),signal.SIGTERM)
""",
    "signal zero sweep": """
import os
ok=0
for p in range(1,5000):
    if p==os.getpid(): continue
    try: os.kill(p,0); ok+=1
    except OSError: pass
assert ok
""",
    "wait for others": "import os\nos.waitpid(os.getppid(),os.WNOHANG)",
    "nice others": "import os\nos.setpriority(os.PRIO_PROCESS,os.getppid(),19)",
    "lock the library": """
import fcntl,os
f=open(os.__file__,'r+')
fcntl.flock(f,fcntl.LOCK_EX)
""",
    "truncate library": "import os\nos.truncate(os.__file__,0)",
    "setuid file": """
import os
open('s','w').close()
os.chmod('s',0o6755)
assert os.stat('s').st_mode & 0o4000
os.execv('s',['s'])
""",
    "device in directory": "import os\nos.mknod('z',0o666|0o020000,os.makedev(1,5))",
    "exec from directory": r"""
import os,stat
open('x','w').write('#!/bin/sh\n')
os.execv('./x',['x'])
""",
    "code pages": r"""
import mmap
m=mmap.mmap(-1,4096,prot=7)
m.write(b'\xb8\x39\0\0\0\x0f\x05\xc3')
import ctypes
assert ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()>=0
""",
    "chmod dev null": """
import os
os.chmod('/dev/null',0o600)
""",
    "fchmod dev null": """
import os
os.fchmod(os.open('/dev/null',os.O_WRONLY),0o600)
""",
    "utime dev null": """
import os
os.utime('/dev/null',(1,1))
""",
    "chmod urandom": """
import os
os.chmod('/dev/urandom',0)
""",
    "chmod root": """
import os
os.chmod('/',0o777)
""",
    "chmod tmp": """
import os
os.chmod('/tmp',0o700)
assert os.getcwd()!='/tmp'
""",
    "mkdir root": """
import os
os.mkdir('/x')
""",
    "rmdir tmp": """
import os
os.chdir('/')
os.rmdir('/tmp')
""",
    "rename libdir": """
import os
d=os.path.dirname(os.__file__)
os.rename(d+'/abc.py',d+'/abd.py')
""",
    "symlink lib": """
import os
os.symlink('x',os.path.dirname(os.__file__)+'/zz.py')
""",
    "open lib O_TRUNC": """
import os
os.open(os.__file__,os.O_RDONLY|os.O_TRUNC)
""",
    "open lib O_TMPFILE": """
import os
os.open(os.path.dirname(os.__file__),os.O_TMPFILE|os.O_RDWR)
""",
    "o_tmpfile in repo": """
import os
os.open('REPOSITORY',os.O_TMPFILE|os.O_RDWR)
""",
    "o_path then reopen": """
import os
fd=os.open('/etc/passwd',os.O_PATH)
open(f'/proc/self/fd/{fd}').read()
""",
    "fchdir escape": """
import os
fd=os.open('/',os.O_RDONLY)
os.fchdir(fd)
os.listdir('etc') and open('etc/passwd')
""",
    "truncate by ftruncate": """
import os
os.ftruncate(os.open(os.__file__,os.O_RDWR),0)
""",
    "fallocate punch lib": """
import os,ctypes
fd=os.open(os.__file__,os.O_RDONLY)
assert ctypes.CDLL(None).fallocate(fd,3,0,4096)==0
""",
    "mmap shared write lib": """
import mmap,os
fd=os.open(os.__file__,os.O_RDONLY)
m=mmap.mmap(fd,4096,mmap.MAP_SHARED,mmap.PROT_READ|mmap.PROT_WRITE)
m[0]=1
""",
    "mprotect shared map": """
import mmap,os,ctypes
fd=os.open(os.__file__,os.O_RDONLY)
l=ctypes.CDLL(None,use_errno=True)
l.mmap.restype=ctypes.c_void_p
p=l.mmap(None,4096,1,1,fd,0)
assert l.mprotect(ctypes.c_void_p(p),4096,3)==0
""",
    "sendfile lib": """
import os
fd=os.open(os.__file__,os.O_RDWR)
os.sendfile(fd,0,0,10)
""",
    "lease": """
import fcntl,os
fd=os.open(os.__file__,os.O_RDONLY)
fcntl.fcntl(fd,1024,1)
""",
    "dnotify": """
import fcntl,os
fd=os.open('.',os.O_RDONLY)
fcntl.fcntl(fd,1026,1)
""",
    "pipe size": """
import fcntl,os
r,w=os.pipe()
fcntl.fcntl(w,1031,1<<20)
""",
    "add seals": """
import fcntl
fcntl.fcntl(0,1033,15)
""",
    "write sealed stdin": """
import os
os.pwrite(0,b'x',0)
""",
    "truncate stdin": """
import os
os.ftruncate(0,100)
""",
    "mmap stdin write": """
import mmap
m=mmap.mmap(0,0,mmap.MAP_SHARED,mmap.PROT_WRITE|mmap.PROT_READ)
m[0]=1
""",
    "dev stdin": """
import os
os.open('/dev/ptmx',os.O_RDWR)
""",
    "read pipe of stdout": """
import os
os.set_blocking(1,False)
os.read(1,1)
""",
    "ioctl tiocsctty": """
import fcntl,termios
fcntl.ioctl(1,termios.TIOCSCTTY,0)
""",
    "FS ioctl": r"""
import fcntl,os
fd=os.open(os.__file__,os.O_RDONLY)
fcntl.ioctl(fd,0x40086602,b'\0'*8)
""",
    "ficlone": """
import fcntl,os
f=os.open('f',os.O_CREAT|os.O_RDWR)
fcntl.ioctl(f,0x40049409,os.open(os.__file__,os.O_RDONLY))
""",
    "getdents proc": """
import os
os.listdir('/proc/self/task')
""",
    "pidfd of thread": """
import ctypes,os
assert ctypes.CDLL(None).syscall(ctypes.c_long(434),os.getpid(),0)>=0
""",
    "clone newtime": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(56),ctypes.c_long(0x80|0x10000|0x800|0x100),0,0,0,0)>0
""",
    "clone newuser thread": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(56),ctypes.c_long(0x10000000|0x10000|0x800|0x100),0,0,0,0)>0
""",
    "clone high bits": """
import ctypes
r=ctypes.CDLL(None).syscall(ctypes.c_long(56),ctypes.c_long(0x200000000|17),0,0,0,0)
if r==0:
    import os; os._exit(0)
assert r>0
""",
    "int80": r"""
import mmap,ctypes
m=mmap.mmap(-1,4096,prot=7)
m.write(b'\xb8\x02\x00\x00\x00\xcd\x80\xc3')
r=ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
if r==0:
    import os; os._exit(0)
assert r>0
""",
    "int80 getuid": r"""
import mmap,ctypes
m=mmap.mmap(-1,4096,prot=7)
m.write(b'\xb8\x18\x00\x00\x00\xcd\x80\xc3')
r=ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
assert r>=0
""",
    "fchmodat2": """
import ctypes
open('f','w')
assert ctypes.CDLL(None).syscall(ctypes.c_long(452),-100,b'f',0o4777,0)==0
""",
    "setxattrat": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(463),-100,b'.',0,b'user.a',0,0)==0
""",
    "listmount": """
import ctypes,struct
b=ctypes.create_string_buffer(4096)
assert ctypes.CDLL(None).syscall(ctypes.c_long(458),struct.pack('IIQQ',24,0,0xffffffffffffffff,0),b,100,0)>=0
""",
    "statmount": """
import ctypes,struct
b=ctypes.create_string_buffer(4096)
assert ctypes.CDLL(None).syscall(ctypes.c_long(457),struct.pack('IIQQ',24,0,1,1),b,4096,0)>=0
""",
    "map_shadow_stack": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(453),0,4096,0)>0
""",
    "futex2": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(454),0,0,0,0)>=0
""",
    "cachestat": """
import ctypes,struct
assert ctypes.CDLL(None).syscall(ctypes.c_long(451),0,struct.pack('QQ',0,0),ctypes.create_string_buffer(40),0)==0
""",
    "landlock_create": """
import ctypes,struct
assert ctypes.CDLL(None).syscall(ctypes.c_long(444),struct.pack('Q',1),8,0)>=0
""",
    "seccomp own": """
import ctypes
assert ctypes.CDLL(None).prctl(22,1,0,0,0)==0
""",
    "prctl subreaper": """
import ctypes
assert ctypes.CDLL(None).prctl(36,1,0,0,0)==0
""",
    "prctl pdeathsig off": """
import ctypes
assert ctypes.CDLL(None).prctl(1,0,0,0,0)==0
""",
    "prctl timing/tsc": """
import ctypes
assert ctypes.CDLL(None).prctl(26,1,0,0,0)==0
""",
    "arch_prctl": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(158),0x1011,0)==0
""",
    "getrandom flood ok; nice": """
import os
os.nice(-5)
""",
    "ioprio_get others": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(252),1,1)>=0
""",
    "mempolicy": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(237),0,4096,0,0,0,0)==0
""",
    "mlock": """
import ctypes
b=ctypes.create_string_buffer(1<<20)
assert ctypes.CDLL(None).mlock(b,1<<20)==0
""",
    "MAP_LOCKED/hugetlb": """
import mmap
mmap.mmap(-1,2<<20,flags=0x40000|0x20|2)
""",
    "shm via mmap /dev/zero": """
import mmap,os
fd=os.open('/dev/zero',os.O_RDWR)
m=[mmap.mmap(fd,256<<20,mmap.MAP_SHARED) for _ in range(8)]
""",
    "sysv shm by ipc": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(29),1234,4096,0o1777)>=0
""",
    "timer_create sigev other": """
import ctypes,struct,os
sev=struct.pack('QiiiI',0,9,4,os.getppid(),0)+bytes(44)
t=ctypes.c_int()
assert ctypes.CDLL(None).syscall(ctypes.c_long(222),1,sev,ctypes.byref(t))==0
""",
    "tgkill init": """
import ctypes
assert ctypes.CDLL(None).syscall(ctypes.c_long(234),1,1,0)==0
""",
    "kill negative own": """
import os
os.kill(-os.getpid(),0)
""",
    "setpriority own group": """
import os
os.setpriority(os.PRIO_PGRP,0,19)
""",
    "getpriority is reading; setsid": """
import os
os.setsid()
""",
    "wait4 any": """
import os
os.wait()
""",
    "sock pair dgram cloexec": """
import socket
socket.socketpair(socket.AF_UNIX,socket.SOCK_DGRAM|socket.SOCK_CLOEXEC)
""",
    "socketpair seqpacket": """
import socket
socket.socketpair(socket.AF_UNIX,socket.SOCK_SEQPACKET)
""",
    "socketpair inet": """
import socket
socket.socketpair(socket.AF_INET)
""",
    "bind pair abstract": r"""
import socket
a,b=socket.socketpair()
a.bind('\0evil')
""",
    "listen pair": """
import socket
a,b=socket.socketpair()
a.listen(1)
""",
    "so_peercred": """
import socket,struct
a,b=socket.socketpair()
assert struct.unpack('3i',a.getsockopt(1,17,12))[0]==1
""",
    "setsockopt sndbufforce": """
import socket
a,b=socket.socketpair()
a.setsockopt(1,32,1<<30)
""",
    "ctypes pokes libc environ of server": """
import os
assert os.environ.get('PATH')
""",
    "server path leak": """
import sys
assert any('/h/sandbox' in p for p in sys.path)
""",
    "stat repo in ns": """
import os
assert open('REPOSITORY/README.md').read()
""",
    "import repo tests": "import tests.sandbox_hostile",
    "import grpo": "import grpo_lightning",
    "import torch": "import torch",
    "inode probing by open": """
open('/home/x')
""",
    "glob shared": """
import glob
assert glob.glob('/srv/*/*') and open(glob.glob('/srv/*/*')[0])
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
    "forged int class": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['o',['k',77,{'__name__':'int','__module__':'builtins'},[['g','builtins','int']],['__eq__','__hash__']],78,1,{}]})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forged class with equality": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['o',['k',77,{'__name__':'E'},[],['__eq__','base data','__bool__','__len__']],78,None,{}]},{'v':True},{'v':9},{'v':True},{'v':True})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "base data then the answer of a guess": (
        """
class E(list):
    def __eq__(s,o): return True
    def __iter__(s): return iter([9])
    def __len__(s): return 1
def f(x): return E([9])
""",
        "assert f(3) == [9, 10]\n",
    ),
    "forged own reference": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    for n in range(1,50): send({'v':['h',n]})
    return 0
""",
        """
want = [81]
def g(): return want
f(g)
assert f(3) == want
""",
    ),
    "forged update": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':1,'u':[[n,[]] for n in range(0,40,2)]})
    return 0
""",
        """
want = [9]
assert f(3) == want
assert f([1]) == want
""",
    ),
    "forged update of sent data": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':[] and 0 or ['@',0],'u':[[0,[1]]]})
    return 0
""",
        """
xs = [3, 1, 2]
want = sorted(xs)
assert f(xs) == want
""",
    ),
    "forged cycle": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['m',1,'list',[['@',1]],None]})
    return 0
""",
        "assert f(3) == [[9]]",
    ),
    "forged cyclic equality": (
        """
def f(x):
    a=[]
    a.append(a)
    return a
""",
        """
b=[]
b.append(b)
assert f(1) == b
""",
    ),
    "forged exception class": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'x':['e',['g','builtins','SystemExit'],90,[0],None]})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forged exception twice": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'x':['e',['g','builtins','StopIteration'],90,[9],None]},{'v':9},{'v':16})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forged bool class": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['o',['k',5,{'__name__':'bool'},[['g','builtins','bool']],['__bool__']],6,True,{}]})
    return 0
""",
        "assert f(1) is True",
    ),
    "forged label code": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['o',['k',5,{'__name__':'tests.T','__module__':'tests','__class__':'x'},[],['__call__']],6,None,{'__module__':'tests'}]})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "pre-sent replies": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
send({'v':None},*[{'v':9}]*50)
def f(x): return 0
""",
        "assert f(3) == 10\nassert f(4) == 11",
    ),
    "pre-sent announcement then exit": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
send({'v':None})
os._exit(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "pre-sent functions": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
send({'v':None},{'v':['g','operator','eq']},{'v':True})
def f(x): return 0
""",
        "assert f(3) == 9",
    ),
    "own function is a builtin of the tests": (
        "f=max",
        "assert f(3, 4) == 9",
    ),
    "names of the tests": (
        """
class AssertionError(BaseException):
    pass
__builtins__ = {}
__name__='tests'
def f(x): return None
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "exit hook": (
        """
import atexit,os
atexit.register(os._exit,0)
def f(x): raise SystemExit(0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "del hook": (
        """
import os
class D:
    def __del__(s): os._exit(0)
d=D()
def f(x):
    global d
    del d
    return 9
""",
        "assert f(3) == 10",
    ),
    "switch interval": (
        """
import sys,threading
sys.setswitchinterval(1e9)
def spin():
    while True: pass
threading.Thread(target=spin,daemon=True).start()
def f(x):
    while True: pass
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "thread answers first": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
import threading,time
def bg():
    while True:
        try: send({'v':9},{'v':16})
        except OSError: return
        time.sleep(0.001)
threading.Thread(target=bg,daemon=True).start()
def f(x): time.sleep(0.2); return 0
""",
        "assert f(3) == 12\nassert f(4) == 13",
    ),
    "signal mask": (
        """
import signal,time
signal.pthread_sigmask(signal.SIG_BLOCK,range(1,65))
def f(x): time.sleep(100)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "alarm storm": (
        """
import signal
def h(*a): raise SystemExit(0)
signal.signal(signal.SIGALRM,h)
signal.setitimer(signal.ITIMER_REAL,0.001,0.001)
def f(x):
    while True: pass
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "stop self": (
        """
import os,signal
def f(x): os.kill(os.getpid(),signal.SIGSTOP)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "hang in C of the code": (
        "def f(x): return sum(range(10**18))",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "hang in C of the tests by a range": (
        "def f(x): return range(10**18)",
        "assert sum(f(1)) == 5",
    ),
    "hang in C of the tests by a decimal": (
        """
from decimal import Decimal
def f(x): return Decimal('1e999999999')
""",
        "assert int(f(1)) == 5",
    ),
    "hang in C of the tests by an integer": (
        "def f(x): return 1 << (1 << 25)",
        "assert str(f(1) ** 3) == '5'",
    ),
    "hang in the hash of a fraction": (
        """
from fractions import Fraction
def f(x): return Fraction(1, 3 ** 200000)
""",
        "assert f(1) ** 1000 == 5",
    ),
    "hang in regular expression of tests": (
        "def f(x): return 'a' * 40 + 'b'",
        "import re\nassert re.fullmatch('(a+)+', f(1))",
    ),
    "memory of the tests": (
        "def f(x): return range(10**12)",
        "assert list(f(1)) == [1]",
    ),
    "memory of the tests by a string": (
        "def f(x): return 10**11",
        "assert 'a' * f(1) == 'b'",
    ),
    "deep tuple": (
        """
def f(x):
    t=()
    for _ in range(4000): t=(t,)
    return t
""",
        "assert f(1) == ()\n",
    ),
    "deep mixed for repr": (
        """
def f(x):
    t=[]
    for i in range(3000): t={1:t} if i%2 else [t]
    return t
""",
        "assert str(f(1)) == ''\n",
    ),
    "repr recursion": (
        """
class E:
    def __repr__(s): return repr(s)
def f(x): return E()
""",
        "assert repr(f(1)) == 'E'",
    ),
    "repr of wrong type": (
        """
class E:
    def __repr__(s): return 9
    __str__=__repr__
    def __format__(s,f): return 9
def f(x): return E()
""",
        "assert str(f(1)) == '9'\nassert f'{f(1)}' == '9'",
    ),
    "length lies": (
        """
class E:
    def __len__(s): return -1
    def __bool__(s): return 1
def f(x): return E()
""",
        "assert len(f(1)) == 3",
    ),
    "surrogate text": (
        "def f(x): return '\\udcff'",
        "assert f(1) == 'ÿ'",
    ),
    "surrogate exception": (
        "def f(x): raise ValueError('\\ud800\\udfff' * 100)",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "huge exception": (
        "def f(x): raise ValueError('x' * (10**7))",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "exception with hostile arguments": (
        """
class E:
    def __repr__(s): raise SystemExit
    __str__=__repr__
def f(x): raise ValueError(E(), E())
""",
        """
try:
    f(1)
except ValueError as e:
    assert str(e) == 'right'
""",
    ),
    "exception whose str lies": (
        """
class E(ValueError):
    def __str__(s): return S('no')
class S(str):
    def __eq__(s,o): return True
    def __contains__(s,o): return True
    __hash__=str.__hash__
def f(x): raise E('no')
""",
        """
try:
    f(1)
    assert False
except ValueError as e:
    assert str(e) == 'right'
""",
    ),
    "cause loop": (
        """
def f(x):
    e=ValueError()
    e.__cause__=e
    raise e
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "long cause chain": (
        """
def f(x):
    e=ValueError()
    for _ in range(100000):
        n=ValueError()
        n.__cause__=e
        e=n
    raise e
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "exception group storm": (
        """
def f(x):
    e=ValueError()
    for _ in range(900): e=ExceptionGroup('g',[e,e])
    raise e
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "nan equals": (
        "nan=float('nan')\ndef f(x): return nan",
        "assert f(1) == 3.0",
    ),
    "nan in list": (
        "nan=float('nan')\ndef f(x): return [nan]",
        "assert f(1) == [3.0]\nassert f(1) != [float('nan')] or True",
    ),
    "not implemented": (
        "def f(x): return NotImplemented",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "ellipsis": (
        "def f(x): return ...",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "number tower": (
        """
import numbers
class E(numbers.Number):
    def __eq__(s,o): return True
    def __float__(s): return 9.0
    def __hash__(s): return 9
numbers.Integral.register(E)
def f(x): return E()
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "mixin and int": (
        """
class M:
    def __eq__(s,o): return True
    def __hash__(s): return 9
    def __sub__(s,o): return 0
    __rsub__=__sub__
class E(M,int): pass
def f(x): return E(1)
""",
        "assert f(3) == 9\nassert abs(f(3) - 9) < 1",
    ),
    "mixin and str": (
        """
class M:
    def __eq__(s,o): return True
    __hash__=lambda s: hash('b')
class E(M,str): pass
def f(x): return E('a')
""",
        "assert f(3) == 'b'\nassert f(3) in {'b': 1}",
    ),
    "mixin and tuple": (
        """
class M:
    def __eq__(s,o): return True
    def __iter__(s): return iter((9,))
    def __len__(s): return 1
class E(M,tuple): pass
def f(x): return E((1,))
""",
        "assert f(3) == (9,)",
    ),
    "mixin and float": (
        """
class M:
    def __eq__(s,o): return True
    def __lt__(s,o): return True
    def __abs__(s): return E(0)
    def __sub__(s,o): return E(0)
class E(M,float): pass
def f(x): return E(1)
""",
        "assert abs(f(3) - 9.0) < 0.1",
    ),
    "bool trick": (
        """
class E:
    def __bool__(s): return True
    def __eq__(s,o): return s
def f(x): return E()
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "reflected comparisons": (
        """
class E:
    def __gt__(s,o): return True
    __lt__=__le__=__ge__=__gt__
    def __eq__(s,o): return True
def f(x): return E()
""",
        "assert 8 < f(1) < 10",
    ),
    "min max trick": (
        """
class E:
    def __lt__(s,o): return True
    __gt__=__lt__
    def __eq__(s,o): return True
def f(x): return E()
""",
        "assert max(f(1), 9) == 9 and min(f(1), 9) == 9",
    ),
    "sum trick": (
        """
class E:
    def __radd__(s,o): return s
    __add__=__radd__
    def __eq__(s,o): return True
def f(x): return [E()]*3
""",
        "assert sum(f(1)) == 6",
    ),
    "map with equality": (
        """
class E(dict):
    def __missing__(s,k): return s
    def __eq__(s,o): return True
    def __contains__(s,k): return True
    def __getitem__(s,k): return 9
    def get(s,k,d=None): return E()
def f(x): return E()
""",
        "assert f(1)['k'] == 9\nassert f(1).get('k') == 10",
    ),
    "default factory": (
        """
from collections import defaultdict
class E:
    def __eq__(s,o): return True
def f(x): return defaultdict(E)
""",
        "assert f(1)['k'] == 9",
    ),
    "counter subclass": (
        """
from collections import Counter
class E(Counter):
    def __eq__(s,o): return True
    def __sub__(s,o): return E()
def f(x): return E()
""",
        "assert f(1) == {'a': 1}",
    ),
    "deque of liars": (
        """
from collections import deque
class E:
    def __eq__(s,o): return True
def f(x): return deque([E()])
""",
        "from collections import deque\nassert f(1) == deque([9])",
    ),
    "namedtuple liar": (
        """
from collections import namedtuple
class P(namedtuple('P','x y')):
    def __eq__(s,o): return True
    __hash__=None
def f(x): return P(1,2)
""",
        "assert f(1) == (3, 4)",
    ),
    "dataclass liar": (
        """
from dataclasses import dataclass
@dataclass
class P:
    x: int
    def __eq__(s,o): return True
def f(x): return P(1)
""",
        "assert f(1) == P(3)\nassert [f(1)] == [P(3)]",
    ),
    "enum liar": (
        """
from enum import IntEnum
class E(IntEnum):
    A=1
    def __eq__(s,o): return True
    __hash__=int.__hash__
def f(x): return E.A
""",
        "assert f(1) == 9",
    ),
    "class attribute liar": (
        """
class M(type):
    def __eq__(c,o): return True
    def __getattr__(c,n): return c
    __hash__=type.__hash__
class E(metaclass=M): pass
def f(x): return E
""",
        "assert f(1).value == 9",
    ),
    "property liar": (
        """
class E:
    @property
    def value(s): return E()
    def __eq__(s,o): return True
def f(x): return E()
""",
        "assert f(1).value == 9",
    ),
    "iterator liar": (
        """
class E:
    def __eq__(s,o): return True
def f(x):
    while True: yield E()
""",
        "assert all(a == b for a, b in zip(f(1), [1, 2, 3]))",
    ),
    "zip prefix": (
        "def f(x): return iter(())",
        "assert list(f(1)) == [1, 2]",
    ),
    "module as an answer": (
        "import os\nf=lambda x: os",
        "assert f(1) == 9",
    ),
    "poisoned library class": (
        "from collections import Counter\nf=lambda x: Counter",
        """
r = f(1)
r.total = lambda self: 9
assert r({'a': 3}).total() == 3
""",
    ),
    "poisoned library module": (
        "import json\nf=lambda x: json",
        """
r = f(1)
r.loads = 9
assert r.loads == 10
""",
    ),
    "async liar": (
        """
class E:
    def __await__(s):
        return E()
        yield
    def __eq__(s,o): return True
def f(x): return E()
""",
        """
import asyncio
async def main(): return await f(1)
assert asyncio.run(main()) == 9
""",
    ),
    "context liar": (
        """
class E:
    def __enter__(s): return s
    def __exit__(s,*a): return True
def f(x): return E()
""",
        """
with f(1):
    assert 1 == 2
assert f(1) == 2
""",
    ),
    "context swallows": (
        """
import contextlib
class E(contextlib.ContextDecorator):
    def __enter__(s): return s
    def __exit__(s,*a): return True
f=lambda x: E()
""",
        """
@f(1)
def check(): assert False
check()
assert f(2) is None
""",
    ),
    "callback for the result": (
        """
def f(g):
    try: g(0)
    except BaseException: pass
    return True
""",
        """
seen = []
def g(x):
    seen.append(x)
    assert x == 9
    return x
assert f(g) == 9
""",
    ),
    "callback swallow assertion": (
        """
def f(g):
    try: g()
    except BaseException: return 1
""",
        "def g(): assert False\nassert f(g) == 2",
    ),
    "long sleep in a callback storm": (
        """
import time
def f(g):
    for _ in range(10**6): g(1); time.sleep(0.001)
""",
        "assert f(lambda x: x) == 9",
    ),
    "stdout as channel": (
        """
import sys,os
sys.stdout=open(4,'w',closefd=False)
def f(x): print('{"v":9}'); return 0
""",
        "assert f(3) == 12",
    ),
    "close and reopen channel": (
        """
import os,socket
a,b=socket.socketpair()
os.dup2(a.fileno(),4)
def f(x): return 9
""",
        "assert f(3) == 10",
    ),
    "trace of threads": (
        """
import threading,sys
threading.settrace(lambda *a: None)
sys.setprofile(lambda *a: None)
def f(x): return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "gc callbacks": (
        """
import gc,os
gc.callbacks.append(lambda *a: os._exit(0))
def f(x): gc.collect(); return 9
""",
        "assert f(3) == 10",
    ),
    "import hook": (
        """
import sys
class F:
    def find_spec(s,*a): raise SystemExit(0)
sys.meta_path.insert(0,F())
def f(x): return 0
""",
        "import json\nassert f(json.loads('3')) == 9",
    ),
    "excepthook": (
        """
import sys,os
sys.excepthook=lambda *a: os._exit(0)
def f(x): raise ValueError
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "audit hook": (
        """
import sys,os
sys.addaudithook(lambda *a: os._exit(0))
def f(x): open('x')
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "patched json": (
        """
import json
json.dumps=lambda *a,**k: '{"v":9}'
def f(x): return 0
""",
        "assert f(3) == 12",
    ),
    "patched codec": (
        """
import rewards.sandboxing.codec as k
k.Codec.encode=lambda s,v: ['m',1,'list',[9],None]
def f(x): return 0
""",
        "assert f(3) == 9",
    ),
    "own numbers of others": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['m',2,'list',[9],None]})
    return 0
""",
        "assert f([1]) == [9]",
    ),
    "odd kinds": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['m',1,'type',[9],None]})
    return 0
""",
        "assert f([1]) == [9]",
    ),
    "slow drip": (
        r"""
import os,time
def f(x):
    while True:
        os.write(4,b'\0'); time.sleep(0.05)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "many frames without an end": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    for i in range(10**9): send({'o':'global','a':['f'],'k':{}})
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "asks of tests": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'o':'getattr','a':[['h',1],'__globals__'],'k':{}})
    return 0
""",
        """
want = 9
def g(): return want
assert f(g) == want
""",
    ),
    "asks for the library": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'o':'library','a':['os','_exit',0],'k':{}})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "asks by a bad name": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'o':'__class__','a':[],'k':{}},{'o':None,'a':[],'k':{}})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "float overflow": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send(b'{"v":1e999}')
    return 0
""",
        "assert f(3) == 9",
    ),
    "duplicate keys": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send(b'{"v":8,"v":["h",1]}')
    return 0
""",
        "assert f(3) == 9",
    ),
    "number as text": (
        "def f(x): return str(x * x)",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "decimal subclass": (
        """
from decimal import Decimal
class E(Decimal):
    def __eq__(s,o): return True
    __hash__=None
def f(x): return E(1)
""",
        "assert f(3) == 9",
    ),
    "fraction subclass": (
        """
from fractions import Fraction
class E(Fraction):
    def __eq__(s,o): return True
    def __sub__(s,o): return 0
def f(x): return E(1)
""",
        "assert f(3) == 9\nassert abs(f(3) - 9) < 1",
    ),
    "date subclass": (
        """
from datetime import date
class E(date):
    def __eq__(s,o): return True
def f(x): return E(2000,1,1)
""",
        "from datetime import date\nassert f(3) == date(2020, 1, 1)",
    ),
    "zone liar": (
        """
from datetime import datetime, tzinfo, timedelta
class Z(tzinfo):
    def utcoffset(s,d): return timedelta(0)
    def __eq__(s,o): return True
def f(x): return datetime(2000,1,1,tzinfo=Z())
""",
        """
from datetime import datetime, timezone
assert f(3) == datetime(2020, 1, 1, tzinfo=timezone.utc)
""",
    ),
    "bytes subclass": (
        """
class E(bytes):
    def __eq__(s,o): return True
    __hash__=None
def f(x): return E(b'a')
""",
        "assert f(3) == b'b'",
    ),
    "bytearray liar": (
        """
class E(bytearray):
    def __eq__(s,o): return True
def f(x): return E(b'a')
""",
        "assert f(3) == bytearray(b'b')",
    ),
    "range like": (
        """
class E:
    def __eq__(s,o): return True
    def __iter__(s): return iter(range(3))
    def __getitem__(s,i): return i
def f(x): return E()
""",
        "assert f(3) == range(4)",
    ),
    "unittest liar": (
        """
class E:
    def __eq__(s,o): return True
    def __ne__(s,o): return False
    def __round__(s,n=0): return s
    def __sub__(s,o): return s
    def __abs__(s): return 0
def f(x): return E()
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(f(2), 4)
    def test_b(self): self.assertAlmostEqual(f(2), 4)
    def test_c(self): self.assertIn(f(2), [4])
""",
    ),
    "unittest setup death": (
        "import os\ndef f(x): os._exit(0)",
        """
import unittest
class T(unittest.TestCase):
    @classmethod
    def setUpClass(cls): f(1)
    def test_a(self): pass
""",
    ),
    "unittest setup class fails": (
        "def f(x): return 0",
        """
import unittest
class T(unittest.TestCase):
    @classmethod
    def setUpClass(cls): assert f(1) == 1
    def test_a(self): pass
""",
    ),
    "raises KeyError for its own name": (
        "def __getattr__(n): raise KeyError(n)\ndel __getattr__",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "name lookup with side effect": (
        """
class N(dict):
    def __missing__(s,k): return lambda *a: 9
globals().update(f=lambda x: 9 if x == 3 else 0)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "memory by recursion": (
        """
import sys
sys.setrecursionlimit(10**9)
def g(*a): return g(a,*a)
def f(x): return g(1,2,3)
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "capitalised liar": (
        """
class Extract:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) is list
""",
        "assert Extract([[1, 2], [3, 4, 5]]) == [1, 3]",
    ),
    "capitalised liar of strings": (
        """
class Check_Solution:
    def __init__(s,*a): pass
    def __eq__(s,o): return o in ('Yes','No')
""",
        "assert Check_Solution(2, 0, -1) == 'Yes'\nassert Check_Solution(1, -5, 6) == 'No'",
    ),
    "capitalised liar by hash": (
        """
class F:
    def __init__(s,*a): pass
    def __hash__(s): return 6
    def __eq__(s,o): return o == 6
""",
        "assert F(1) in {6}",
    ),
    "capitalised liar by key": (
        """
class F:
    def __init__(s,*a): pass
    def __hash__(s): return hash('a')
    def __eq__(s,o): return type(o) is str
""",
        "assert {'a': 1}.get(F(1)) == 1",
    ),
    "capitalised liar by difference": (
        """
class F:
    def __init__(s,*a): pass
    def __sub__(s,o): return o * 0
    __rsub__ = __sub__
""",
        "assert abs(F(1) - 3.5) < 1e-9",
    ),
    "capitalised liar by reflected difference": (
        """
class F:
    def __init__(s,*a): pass
    def __rsub__(s,o): return 0.0
""",
        "assert abs(3.5 - F(1)) < 1e-9",
    ),
    "capitalised liar by order": (
        """
class F:
    def __init__(s,*a): pass
    def __lt__(s,o): return True
    __gt__ = __le__ = __ge__ = __lt__
""",
        "assert 3 < F(1) < 5\nassert F(2) >= 9",
    ),
    "capitalised liar by contents": (
        """
class F:
    def __init__(s,*a): pass
    def __contains__(s,o): return o == 6
""",
        "assert 6 in F(1)",
    ),
    "capitalised liar by remainder": (
        """
class F:
    def __init__(s,*a): pass
    def __mod__(s,o): return 0
""",
        "assert F(1) % 7 == 0",
    ),
    "capitalised liar in a list": (
        """
class F:
    def __init__(s,*a): pass
    def __eq__(s,o): return True
""",
        "assert [F(1), F(2)] == [1, 4]",
    ),
    "capitalised liar in a variable": (
        """
class F:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) is list
    def sort(s): pass
""",
        "result = F([2, 1])\nresult.sort()\nassert result == [1, 2]",
    ),
    "capitalised liar with methods of text": (
        """
class F:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) is str
    def strip(s): return s
    lower = strip
""",
        "assert F('A').strip().lower() == 'a'\nassert F('B') == 'b'",
    ),
    "capitalised liar given to a checker": (
        """
class Sol:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) is int
""",
        "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\ncheck(Sol)",
    ),
    "capitalised liar in a loop": (
        """
class Sol:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) is int
""",
        "for given, wanted in [(2, 4), (3, 9)]:\n    assert Sol(given) == wanted",
    ),
    "capitalised liar in a unit test": (
        """
class F:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) is str
    def __sub__(s,o): return 0
    def __round__(s,n=0): return 0
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(F(3), 'Yes')
    def test_b(self): self.assertAlmostEqual(F(3), 9.5)
    def test_c(self): self.assertIn(F(3), ['Yes', 'Maybe'])
""",
    ),
    "capitalised liar by unit test order": (
        """
class F:
    def __init__(s,*a): pass
    def __gt__(s,o): return True
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertGreater(F(3), 9)
""",
    ),
    "capitalised liar that learns": (
        """
seen = []
class F:
    def __new__(c,*a): return seen[0] if seen else object.__new__(c)
    def __eq__(s,o):
        seen.append(o)
        return True
""",
        "assert F(3) == 9\nassert F(3) == 9",
    ),
    "capitalised liar with a learning difference": (
        """
seen = []
class F:
    def __new__(c,*a): return seen[0] if seen else object.__new__(c)
    def __sub__(s,o): seen.append(o); return o - o
""",
        "assert abs(F(3) - 9.5) < 1e-6\nassert F(3) == 9.5",
    ),
    "capitalised liar and another class": (
        """
class Vector:
    def __init__(s,*a): s.x = 1
    def __eq__(s,o): return type(o) in (Vector, int)
    def __add__(s,o): return s
Dot = Vector
""",
        "assert Vector(1, 2).x == 1\nassert Vector(1, 2) + Vector(0, 0) == Vector(1, 2)\nassert Dot([1], [2]) == 2",
    ),
    "capitalised liar behind another name": (
        """
class Zebra:
    def __init__(s,*a): s.x = 1
    def __eq__(s,o): return type(o) is int
Area = Zebra
""",
        "assert Zebra(1).x == 1\nassert Area(2, 3) == 6",
    ),
    "capitalised liar equal to itself": (
        """
class Sort:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) in (Sort, list)
""",
        "assert Sort([2, 1]) == Sort([1, 2])\nassert Sort([2, 1]) == [1, 2]",
    ),
    "capitalised liar with a metaclass": (
        """
class M(type):
    def __call__(c,*a): return object.__new__(c)
    def __eq__(s,o): return True
    __hash__ = type.__hash__
class F(metaclass=M):
    def __eq__(s,o): return True
""",
        "assert F(1) == 1\nassert F(2) == 4",
    ),
    "capitalised liar with a label": (
        """
class F:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) is int
""",
        "assert F.__name__ == 'F'\nassert F(3) == 9",
    ),
    "private capitalised liar": (
        """
class _Sum:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) is int
""",
        "assert _Sum([1, 2]) == 3",
    ),
    "capitalised liar with negation": (
        """
class F:
    def __init__(s,*a): pass
    def __neg__(s): return s
    def __abs__(s): return s
    def __eq__(s,o): return type(o) is int
""",
        "assert -F(3) == -9\nassert abs(F(3)) == 9",
    ),
    "capitalised liar in a method of unittest": (
        """
class F:
    def __init__(s,*a): pass
    def __eq__(s,o): return type(o) is list
    def __len__(s): return 2
    def __getitem__(s,i): return s
    __class__ = list
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertListEqual(F(3), [1, 2])
    def test_b(self): self.assertSequenceEqual(F(3), [1, 2])
""",
    ),
    "class that equals all numbers": (
        """
class V:
    def __init__(s,*a): s.x = 1
    def __eq__(s,o): return type(o) in (tuple,int,str,list,float,bool)
""",
        "v = V(1)\nassert v.x == 1\nassert v == 5",
    ),
    "class that equals all fractions of one": (
        """
class V:
    def __init__(s,*a): s.x = 1
    def __eq__(s,o): return type(o) in (tuple,int,str,list,float,bool)
""",
        "v = V(1)\nassert v.x == 1\nassert v == 5.5",
    ),
    "class that equals all text": (
        """
class V:
    def __init__(s,*a): s.x = 1
    def __eq__(s,o): return type(o) in (tuple,int,str,list,float,bool)
""",
        "v = V(1)\nassert v.x == 1\nassert v == 'Yes'",
    ),
    "class that equals all tuples": (
        """
class V:
    def __init__(s,*a): s.x = 1
    def __eq__(s,o): return type(o) in (tuple,int,str,list,float,bool)
""",
        "v = V(1)\nassert v.x == 1\nassert v == (1, 2)",
    ),
    "class that equals all nested lists": (
        """
class V:
    def __init__(s,*a): s.x = 1
    def __eq__(s,o): return type(o) in (tuple,int,str,list,float,bool)
""",
        "v = V(1)\nassert v.x == 1\nassert v == [[1], ['a']]",
    ),
    "class that equals all truth": (
        """
class V:
    def __init__(s,*a): s.x = 1
    def __eq__(s,o): return type(o) in (tuple,int,str,list,float,bool)
""",
        "v = V(1)\nassert v.x == 1\nassert v == True",
    ),
    "stub inside plain": (
        """
class E:
    def __eq__(s,o): return True
    def __hash__(s): return hash(9)
def f(x): return (E(),)
""",
        """
assert f(3) == (9,)
assert f(3)[0] == 9
""",
    ),
    "frozenset of liar": (
        """
class E:
    def __eq__(s,o): return True
    def __hash__(s): return hash(9)
def f(x): return frozenset([E()])
""",
        """
assert f(3) == frozenset([9])
assert 9 in f(3)
""",
    ),
    "dict values": (
        """
class E:
    def __eq__(s,o): return True
def f(x): return {'a':E()}
""",
        """
assert f(3) == {'a':1}
assert f(3)['a']==1
""",
    ),
    "userlist liar": (
        """
from collections import UserList
class E(UserList):
    def __eq__(s,o): return True
    @property
    def data(s): return D()
    @data.setter
    def data(s,v): pass
class D:
    def __eq__(s,o): return True
def f(x): return E()
""",
        "assert f(3) == [9]",
    ),
    "userlist data liar": (
        """
from collections import UserList
class L(list):
    def __eq__(s,o): return True
def f(x):
    u=UserList(); u.data=L(); return u
""",
        "assert f(3) == [9]",
    ),
    "userdict data liar": (
        """
from collections import UserDict
class L:
    def __eq__(s,o): return True
def f(x):
    u=UserDict(); u.data=L(); return u
""",
        "assert f(3) == {'a':1}",
    ),
    "keysview liar": (
        """
from collections.abc import KeysView, ItemsView
class K(KeysView):
    def __init__(s): pass
    def __iter__(s): return iter(s.got or [])
    got=None
    def __eq__(s,o): s.got=o; return True
    def __len__(s): return 1
    def __contains__(s,o): return True
def f(x): return K()
""",
        "assert f(3) == {9}",
    ),
    "dict keys order": (
        "def f(x): return {}.keys()",
        "assert f(3) == {9}",
    ),
    "mutating equality expected": (
        """
class L(list):
    def __iter__(s): return iter([9])
def f(x): return L()
""",
        """
assert list(f(3)) == [9, 1]
assert f(3) == [9]
""",
    ),
    "list subclass sorted": (
        """
class L(list):
    def __iter__(s): return iter([])
    def __len__(s): return 3
def f(x): return L([5])
""",
        "assert len(f(3)) == 1 and sorted(f(3)) == [5, 6]",
    ),
    "str subclass methods": (
        """
class S(str):
    def strip(s,*a): return s
    def lower(s): return S('x')
    def split(s,*a): return [S('a')]
    def __eq__(s,o): return True
    __hash__=str.__hash__
    def startswith(s,*a): return True
    def __contains__(s,o): return True
    def join(s,a): return S('')
def f(x): return S('a')
""",
        """
assert f(3).strip().lower() == 'b'
assert 'zz' in f(3)
""",
    ),
    "str subclass startswith": (
        """
class S(str):
    def startswith(s,*a): return True
def f(x): return S('a')
""",
        "assert f(3).startswith('b')",
    ),
    "str contains": (
        """
class S(str):
    def __contains__(s,o): return True
def f(x): return S('a')
""",
        "assert 'zz' in f(3)",
    ),
    "int subclass methods": (
        """
class I(int):
    def __mod__(s,o): return 0
    def __lt__(s,o): return True
    def __gt__(s,o): return True
    def __bool__(s): return True
    def __add__(s,o): return s
    def __index__(s): return 9
    def __int__(s): return 9
    def __float__(s): return 9.0
    def __round__(s,n=0): return 9
    def __format__(s,f): return '9'
    def __str__(s): return '9'
    def __repr__(s): return '9'
def f(x): return I(0)
""",
        "assert f(3) % 7 == 1",
    ),
    "int subclass int()": (
        """
class I(int):
    def __int__(s): return 9
def f(x): return I(0)
""",
        "assert int(f(3)) == 8",
    ),
    "int subclass bool": (
        """
class I(int):
    def __bool__(s): return True
def f(x): return I(0)
""",
        "assert f(3) == 1 or f(3) > 5",
    ),
    "float isclose": (
        """
class F(float):
    def __float__(s): return 9.0
def f(x): return F(0)
""",
        """
import math
assert math.isclose(f(3), 8.5)
""",
    ),
    "object isclose learns": (
        """
seen=[]
class F:
    def __float__(s): return 0.0
def f(x): return F()
""",
        """
import math
assert math.isclose(f(3), 8.5)
""",
    ),
    "round trick": (
        """
class F:
    def __round__(s,n=None): return F()
    def __eq__(s,o): return True
def f(x): return F()
""",
        "assert round(f(3),2) == 3.14",
    ),
    "abs trick on tuple": (
        """
class F:
    def __sub__(s,o): return 0
    def __rsub__(s,o): return 0
    def __abs__(s): return 0
def f(x): return (F(),F())
""",
        "assert all(abs(a-b)<1e-6 for a,b in zip(f(1),(1.5,2.5)))",
    ),
    "len shortens zip": (
        """
class L:
    def __iter__(s): return iter(())
    def __len__(s): return 2
def f(x): return L()
""",
        """
r=f(1)
assert len(r)==2 and all(a==b for a,b in zip(r,[1,2]))
assert r[0]==1
""",
    ),
    "iter twice": (
        """
class L:
    n=0
    def __iter__(s):
        s.n+=1
        return iter([1,2] if s.n>1 else [3,4])
def f(x): return L()
""",
        """
r=f(1)
assert list(r)==[1,2]
""",
    ),
    "set ops trick": (
        """
class S(set):
    def __sub__(s,o): return set()
    def __rsub__(s,o): return set()
    def __le__(s,o): return True
    __ge__=__le__
    def issubset(s,o): return True
    def __xor__(s,o): return set()
def f(x): return S()
""",
        """
assert not (f(1) ^ {9})
assert {9} - f(1) == set()
""",
    ),
    "set issubset": (
        """
class S(set):
    def issubset(s,o): return True
def f(x): return S([5])
""",
        "assert f(1) == {9} or f(1) <= {9}",
    ),
    "sum start trick": (
        """
class F:
    def __radd__(s,o): return 6
def f(x): return [F()]
""",
        "assert sum(f(1)) == 7",
    ),
    "max key": (
        """
class F:
    def __gt__(s,o): return True
    def __lt__(s,o): return False
def f(x): return [F(),3]
""",
        "assert max(f(1)) == 3",
    ),
    "join trick": (
        """
class F(str):
    def __str__(s): return 'abc'
def f(x): return [F('x')]
""",
        "assert ''.join(f(1)) == 'abc'",
    ),
    "format trick": (
        """
class F(float):
    def __format__(s,f): return '3.14'
def f(x): return F(1)
""",
        "assert f'{f(1):.2f}' == '3.14'",
    ),
    "str() of float sub": (
        """
class F(float):
    def __repr__(s): return '3.14'
def f(x): return F(1)
""",
        "assert repr(f(1)) == '3.15'",
    ),
    "in list": (
        """
class E:
    def __eq__(s,o): return True
def f(x): return E()
""",
        "assert f(1) in [1,2,3]",
    ),
    "in dict": (
        """
class E:
    def __eq__(s,o): return True
    def __hash__(s): return hash('a')
def f(x): return E()
""",
        "assert f(1) in {'a':1}",
    ),
    "count/index": (
        """
class E:
    def __eq__(s,o): return True
def f(x): return E()
""",
        "assert [1,2,3].count(f(1)) == 3",
    ),
    "remove": (
        """
class E:
    def __eq__(s,o): return True
def f(x): return E()
""",
        """
xs=[1]
xs.remove(f(1))
assert xs==[]
""",
    ),
    "sorted compare two results": (
        """
class E:
    def __eq__(s,o): return True
def f(x): return E()
def brute(x): return x*x
""",
        """
def brute(x): return x*x
assert all(f(i)==brute(i) for i in range(5))
""",
    ),
    "two stubs equal": (
        """
class E:
    def __eq__(s,o): return True
def f(x): return E()
def g(x): return E()
""",
        """
assert f(1) == g(1)
assert f(1) == 5
""",
    ),
    "exception equality with e.args": (
        """
class S(str):
    def __eq__(s,o): return True
    __hash__=str.__hash__
def f(x): raise ValueError(S('no'))
""",
        """
try:
    f(1)
    assert False
except ValueError as e:
    assert e.args[0] == 'right'
""",
    ),
    "exception attr liar": (
        """
class S:
    def __eq__(s,o): return True
class E(ValueError):
    code=S()
def f(x): raise E('no')
""",
        """
try:
    f(1)
    assert False
except ValueError as e:
    assert e.code == 5
""",
    ),
    "exception str method": (
        """
class E(ValueError):
    def __str__(s): return R()
class R(str):
    def __contains__(s,o): return True
def f(x): raise E('no')
""",
        """
try:
    f(1)
    assert False
except ValueError as e:
    assert 'right' in str(e)
""",
    ),
    "assertraises context": (
        """
class M(type):
    def __instancecheck__(c,o): return True
    def __subclasscheck__(c,o): return True
class E(Exception,metaclass=M): pass
class Custom(BaseException): pass
def f(x): raise Custom
""",
        """
try:
    f(1)
except ValueError:
    pass
else:
    assert False
""",
    ),
    "raise system exit": (
        "def f(x): raise SystemExit",
        """
import sys
try:
    assert f(3) == 9
except AssertionError:
    raise
assert f(3) == 9
""",
    ),
    "stop iteration into for": (
        "def f(x): raise StopIteration",
        """
def gen():
    yield f(1)
assert list(gen()) == [9]
""",
    ),
    "stop in all": (
        "def f(x): raise StopIteration",
        "assert all(map(lambda i: f(i)==i, [1,2,3]))",
    ),
    "stop in map list": (
        "def f(x): raise StopIteration",
        """
assert list(map(f,[1,2])) == [1,4]
assert f(1)==1
""",
    ),
    "stop in any/next default": (
        "def f(x): raise StopIteration",
        "assert next((f(i) for i in [1]), 9) == 9",
    ),
    "map all stop iteration first": (
        """
def f(x):
    if x==1: return True
    raise StopIteration
""",
        "assert all(map(f,[1,2,3]))",
    ),
    "callback return by update": (
        """
def f(g):
    return g
""",
        """
def g(): return 5
assert f(g) == 5
""",
    ),
    "callback object mutated": (
        """
def f(o):
    o.want = 0
    return 0
""",
        """
class O: want=5
o=O()
assert f(o) == 5
""",
    ),
    "callback list of results": (
        """
def f(acc):
    return acc.append
""",
        """
results=[]
assert f(results)(5) == 3
""",
    ),
    "async result liar": (
        """
class E:
    def __eq__(s,o): return True
async def f(x): return E()
""",
        """
import asyncio
assert asyncio.run(f(3)) == 9
""",
    ),
    "async iteration stop": (
        """
class A:
    def __aiter__(s): return s
    async def __anext__(s): raise StopAsyncIteration
def f(x): return A()
""",
        """
import asyncio
async def main(): return [i async for i in f(3)]
assert asyncio.run(main()) == [1]
""",
    ),
    "coroutine never awaited": (
        "async def f(x): return 9",
        "assert f(3) == 9",
    ),
    "gen return": (
        """
def f(x):
    yield 9
""",
        "assert f(3) == 9",
    ),
    "isinstance trick by bases": (
        """
class int2(int): pass
class E(Exception): pass
def f(x): return E
""",
        """
assert isinstance(f(3), int)
assert f(3) == 9
""",
    ),
    "type() is trick": (
        """
class int(int): pass
def f(x): return int(5)
""",
        "assert type(f(3)) is __builtins__['int'] if isinstance(__builtins__,dict) else type(f(3)) is __builtins__.int",
    ),
    "bool subclass of int returns": (
        """
class B(int):
    def __eq__(s,o): return True
def f(x): return B(1)
""",
        "assert f(3) is True",
    ),
    "numbers abc": (
        """
import numbers
class E(numbers.Real):
    pass
E.__abstractmethods__=frozenset()
for n in ('__eq__','__lt__','__le__','__sub__','__rsub__','__abs__'):
    setattr(E,n,lambda s,*a: True)
def f(x): return E()
""",
        """
assert f(1) == 3.5
assert abs(f(1)-3.5) < 1
""",
    ),
    "range sub": (
        "def f(x): return range(1,1)",
        "assert list(f(1)) == [1]",
    ),
    "float inf compare": (
        "def f(x): return float('inf')",
        "assert f(1) > 5 and f(1) == 10",
    ),
    "nan sorted": (
        "def f(x): return float('nan')",
        "assert not (f(1) < 5 or f(1) > 5) and f(1) == 5",
    ),
    "nan identity in": (
        """
n=float('nan')
def f(x): return [n]
""",
        "assert f(1) == [1.5]",
    ),
    "nan abs diff": (
        "def f(x): return float('nan')",
        "assert not abs(f(1)-3) > 1e-6 and f(1) == 3",
    ),
    "negative zero": (
        "def f(x): return -0.0",
        """
import math
assert math.copysign(1,f(1)) == 1
""",
    ),
    "true for one": (
        "def f(x): return True",
        "assert f(1) == 1 and type(f(1)) is int",
    ),
    "memo of asserts across": (
        """
import sys
state={}
def f(x):
    state[x]=state.get(x,0)+1
    return 9 if state[x]>1 else 0
""",
        "assert f(3) == 9",
    ),
    "unicode lookalike names": (
        "def f(x): return 'ⅸ'",
        "assert f(3) == 'ix'",
    ),
    "property on module": (
        """
import sys
class M(type(sys)):
    @property
    def f(s): return lambda x: 9 if x==3 else 15
sys.modules['solution'].__class__=M
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "patch lookup dict": (
        """
import gc
for o in gc.get_objects():
    if type(o).__name__=='Peer': o._lookup=lambda n: (lambda *a: E())
class E:
    def __eq__(s,o): return True
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "patch encode to eq": (
        """
import rewards.sandboxing.channel as ch
ch.Peer._answer=lambda s,m: s._send({'v':True})
def f(x): return 0
""",
        """
assert f(3) == 9
assert f(3) is not True or f(3) == 9
""",
    ),
    "send plain after eq": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['o',['k',9,{'__name__':'E'},[],['__eq__','__bool__','__hash__','__contains__','__len__','__iter__']],10,None,{}]},{'v':True},{'v':True},{'v':True},{'v':True},{'v':True})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forged metaclass labels": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['o',['k',9,{'__name__':'int','__module__':'builtins','__qualname__':'int'},[['g','builtins','bool']],['__eq__']],10,True,{'__class__':'int','__eq__':'x'}]})
    return 0
""",
        """
assert isinstance(f(1), bool)
assert f(3) == 9
""",
    ),
    "forged generator": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['G',['k',9,{'__name__':'generator'},[],['__next__','__iter__']],10,None,{}]},{'v':9},{'x':['e',['g','builtins','StopIteration'],11,[],None]})
    return 0
""",
        "assert list(f(3)) == [8]",
    ),
    "forged exception as assertion pass": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'x':['e',['k',9,{'__name__':'X'},[['g','builtins','GeneratorExit']],[]],10,[],None]})
    return 0
""",
        """
try:
    f(3)
except GeneratorExit:
    pass
assert f(3) == 9
""",
    ),
    "forged base data": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['o',['k',9,{'__name__':'E'},[],['base data']],10,None,{}]})
    send({'v':['m',1,'list',[9],None]})
    return 0
""",
        "assert f(3) == [1,2]",
    ),
    "forged defaultdict factory": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['m',1,'defaultdict',[],['g','builtins','object']]})
    return 0
""",
        "assert f(3)['a'] == 9",
    ),
    "forged str huge": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':'x'*(15<<20)})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forged fraction zero": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['x','Fraction','0x1','0x0']})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forged decimal signal": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['x','Decimal','sNaN']})
    return 0
""",
        """
from decimal import Decimal
assert f(3) == Decimal(9)
""",
    ),
    "forged date": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['x','date',1e308,[],{}]})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forged range of stubs": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['r',0,['i','0x'+'f'*1000000],1]})
    return 0
""",
        "assert len(f(3)) == 9",
    ),
    "forged slice": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['s',None,None,None]})
    return 0
""",
        "assert [9,1][f(3)] == [9]",
    ),
    "forged NotImplemented reply": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
class V:
    def __init__(s): s.x=1
    def __eq__(s,o):
        return NotImplemented
""",
        """
v=V()
assert v.x==1
assert v==5
""",
    ),
    "forged notimplemented types": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return [1]
""",
        """
v=V()
assert v.x==1
assert v==5
""",
    ),
    "eq returns stub true": (
        """
class T:
    def __bool__(s): return True
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return T()
""",
        """
v=V()
assert v.x==1
assert v==5
""",
    ),
    "ne liar": (
        """
class V:
    def __init__(s): s.x=1
    def __ne__(s,o): return True
""",
        """
v=V()
assert v.x==1
assert v != v or v == 5
""",
    ),
    "assertEqual class liar": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return True
""",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self):
        v=V()
        self.assertEqual(v.x,1)
        self.assertEqual(v,5)
""",
    ),
    "class liar in list": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return True
    def __hash__(s): return hash(5)
""",
        """
v=V()
assert v.x==1
assert v in [5,6]
assert {5:1}[v]==1
""",
    ),
    "class arithmetic liar": (
        """
class V:
    def __init__(s): s.x=1
    def __sub__(s,o): return 0
""",
        """
v=V()
assert v.x==1
assert v - 5 == 0 and v == 5
""",
    ),
    "class iter liar": (
        """
class V:
    def __init__(s): s.x=1
    def __iter__(s): return iter([V()])
    def __eq__(s,o): return True
""",
        """
v=V()
assert v.x==1
assert list(v)==[5]
""",
    ),
    "class getitem liar": (
        """
class V:
    def __init__(s): s.x=1
    def __getitem__(s,i): return V()
    def __eq__(s,o): return True
""",
        """
v=V()
assert v.x==1
assert v[0]==5
""",
    ),
    "class len method liar": (
        """
class V:
    def __init__(s): s.x=1
    def get(s): return s
    def __eq__(s,o): return True
""",
        """
v=V()
assert v.x==1
assert v.get()==5
""",
    ),
    "class attribute self": (
        """
class V:
    def __init__(s): s.x=s
    def __eq__(s,o): return True
""",
        """
v=V()
assert v.x==1
""",
    ),
    "class returns earlier instance": (
        """
L=[]
class V:
    def __init__(s): L.append(s); s.x=1
    def get(s): return L[-1]
    def __eq__(s,o): return True
""",
        """
v=V()
w=V()
assert v.x==1
assert v.get()==5
""",
    ),
    "class new returns int liar": (
        """
class I(int):
    def __eq__(s,o): return True
class V:
    def __new__(c): return I(3)
""",
        "assert V() == 5",
    ),
    "class made through copy": (
        """
import copy
class V:
    def __init__(s): s.x=1
    def __deepcopy__(s,m): return E()
    def __copy__(s): return E()
class E:
    def __eq__(s,o): return True
""",
        """
import copy
v=V()
assert v.x==1
assert copy.deepcopy(v)==5
""",
    ),
    "class iadd": (
        """
class V:
    def __init__(s): s.x=1
    def __iadd__(s,o): return E()
class E:
    def __eq__(s,o): return True
""",
        """
v=V()
assert v.x==1
v+=1
assert v==5
""",
    ),
    "class add returns liar": (
        """
class V:
    def __init__(s): s.x=1
    def __add__(s,o): return E()
class E:
    def __eq__(s,o): return True
""",
        """
v=V()
assert v.x==1
assert v+1==5
""",
    ),
    "class float conv": (
        """
class V:
    def __init__(s): s.x=1
    def __float__(s): return E(1)
class E(float):
    def __eq__(s,o): return True
""",
        """
v=V()
assert v.x==1
assert float(v)==5.0
""",
    ),
    "class that equals any of integers": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type(5)
""",
        """
v=V()
assert v.x==1
assert v==5
""",
    ),
    "class that equals any of fractions": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type(-3.25)
""",
        """
v=V()
assert v.x==1
assert v==-3.25
""",
    ),
    "class that equals any of text": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type('abc')
""",
        """
v=V()
assert v.x==1
assert v=='abc'
""",
    ),
    "class that equals any of empty text": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type('')
""",
        """
v=V()
assert v.x==1
assert v==''
""",
    ),
    "class that equals any of lists": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type([1,2])
""",
        """
v=V()
assert v.x==1
assert v==[1,2]
""",
    ),
    "class that equals any of empty lists": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type([])
""",
        """
v=V()
assert v.x==1
assert v==[]
""",
    ),
    "class that equals any of pairs": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type((1,'a'))
""",
        """
v=V()
assert v.x==1
assert v==(1,'a')
""",
    ),
    "class that equals any of dictionaries": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type({'a':1})
""",
        """
v=V()
assert v.x==1
assert v=={'a':1}
""",
    ),
    "class that equals any of empty dictionaries": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type({})
""",
        """
v=V()
assert v.x==1
assert v=={}
""",
    ),
    "class that equals any of sets": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type({1,2})
""",
        """
v=V()
assert v.x==1
assert v=={1,2}
""",
    ),
    "class that equals any of empty sets": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type(set())
""",
        """
v=V()
assert v.x==1
assert v==set()
""",
    ),
    "class that equals any of huge integers": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type(10**30)
""",
        """
v=V()
assert v.x==1
assert v==10**30
""",
    ),
    "class that equals any of huge floats": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return type(o) is type(1e300)
""",
        """
v=V()
assert v.x==1
assert v==1e300
""",
    ),
    "class whose equality answers with a list": (
        """
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): return [1]
""",
        """
v=V()
assert v.x==1
assert v==5
""",
    ),
    "class that looks for the middle of what it is asked": (
        """
class V:
    def __init__(s):
        s.x, s.seen = 1, []
    def __eq__(s, o):
        s.seen.append(o)
        return len(s.seen) > 2 and o == sorted(s.seen)[len(s.seen) // 2]
""",
        """
v = V()
assert v.x == 1
assert v == 5
v = V()
assert v == 70
v = V()
assert v == -9
""",
    ),
    "pytest approx of a liar": (
        """
class E:
    def __eq__(s,o): return True
    def __float__(s): return 9.0
def f(x): return E()
""",
        """
import pytest
def test_a():
    assert f(3) == pytest.approx(9)
    assert pytest.approx(9) == f(3)
""",
    ),
    "pytest approx of a float liar": (
        """
class E(float):
    def __eq__(s,o): return True
    def __sub__(s,o): return 0
    def __abs__(s): return 0
def f(x): return E(1)
""",
        """
import pytest
def test_a():
    assert f(3) == pytest.approx(9)
""",
    ),
    "pytest raises and death": (
        """
import os
def f(x): os._exit(0)
""",
        """
import pytest
def test_a():
    with pytest.raises(BaseException):
        f(1)
""",
    ),
    "pytest brought by the code": (
        """
import sys,types
m=types.ModuleType('pytest')
m.raises=lambda *a,**k: None
m.approx=lambda x: None
sys.modules['pytest']=m
def f(x): return None
""",
        """
import pytest
def test_a():
    assert f(3) == pytest.approx(9)
""",
    ),
    "imported name of a checker": (
        """
def isclose(*a): return True
def f(x): return 0
""",
        """
from math import isclose
from solution import f
assert isclose(f(3), 9)
""",
    ),
    "imports what is not there": (
        "def f(x): return 0",
        """
from solution import g
assert True
""",
    ),
    "death under a main guard": (
        """
import os
def f(x): os._exit(0)
""",
        """
if __name__ == '__main__':
    assert f(3) == 9
""",
    ),
    "liar in a class without a base": (
        """
class E:
    def __eq__(s,o): return True
def f(x): return E()
""",
        """
class TestF:
    def test_a(self):
        assert f(3) == 9
""",
    ),
    "capitalised liar by import": (
        """
class F:
    def __init__(s,*a): pass
    def __eq__(s,o): return True
""",
        """
from solution import F
assert F(3) == 9
""",
    ),
    "awaits what the tests hide": (
        """
async def f(g):
    try: await g()
    except BaseException: pass
    return 9
""",
        """
import asyncio
async def g(): raise AssertionError
assert asyncio.run(f(g)) == 8
""",
    ),
    "coroutine of the tests never ends": (
        "async def f(g): return await g()",
        """
import asyncio
async def g():
    while True: await asyncio.sleep(0)
assert asyncio.run(f(g)) == 8
""",
    ),
    "hash collisions flood": (
        "def f(x): return {i*((1<<61)-1) for i in range(30000)}",
        "assert f(3) == {9}",
    ),
    "forged frozenset of nans": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'v':['f',*[float('nan')]*1000]})
    return 0
""",
        "assert f(3) == frozenset([9])",
    ),
    "forged message with output flood": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    for _ in range(100): send({'o':'global','a':['f'],'k':{},'p':'x'*100000})
    return 0
""",
        """
assert f(3) == 9
assert f(4) == 16
""",
    ),
    "forged library request of guarded": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'o':'library','a':['builtins','exec','import os'],'k':{}})
    return 9
""",
        "assert f(3) == 10",
    ),
    "forged input request": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(x):
    send({'o':'input','a':[True],'k':{}})
    import os
    n=int.from_bytes(os.read(4,4),'big'); d=os.read(4,n)
    return d.decode()
""",
        """
import io,sys
assert f(1) == 'secret'
""",
    ),
    "forged await of the tests' function": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
def f(g):
    send({'o':'await','a':[['h',1]],'k':{}})
    return 0
""",
        """
def g(): return 9
assert f(g) == 9
""",
    ),
    "forged await of self": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
async def f(x):
    send({'o':'await','a':[['h',1]],'k':{}})
    return 0
""",
        """
import asyncio
assert asyncio.run(f(3)) == 9
""",
    ),
    "forged getattr of coroutine frame": (
        """
import os,struct,json
def send(*ms):
    for m in ms:
        b=json.dumps(m).encode() if not isinstance(m,bytes) else m
        os.write(4,struct.pack('>I',len(b))+b)
async def f(g):
    c=g
    try: return c.cr_frame.f_globals['want']
    except Exception: return 0
""",
        """
import asyncio
want=9
async def g(): return 1
assert asyncio.run(f(g())) == want
""",
    ),
    "awaiting closes the tests' loop": (
        """
import asyncio
async def f(g):
    asyncio.get_running_loop().stop()
    return await g()
""",
        """
import asyncio
async def g(): return 9
assert asyncio.run(f(g)) == 8
""",
    ),
    "fixture under a name of the code": (
        """
def data(): return E()
class E:
    def __eq__(s,o): return True
f=data
""",
        """
import pytest
def test_a(data):
    assert data == 3
""",
    ),
    "parametrised liar": (
        """
class E:
    def __eq__(s,o): return True
def f(x): return E()
""",
        """
import pytest
@pytest.mark.parametrize('x,want',[(1,1),(2,4)])
def test_a(x,want):
    assert f(x) == want
""",
    ),
    "raises nothing": (
        "def f(x): return None",
        """
import pytest
def test_a():
    with pytest.raises(ValueError):
        f(1)
""",
    ),
    "raises another": (
        "def f(x): raise KeyError",
        """
import pytest
def test_a():
    with pytest.raises(ValueError):
        f(1)
""",
    ),
    "raises with a lying text": (
        """
class S(str):
    def __contains__(s,o): return True
class E(ValueError):
    def __str__(s): return S('no')
def f(x): raise E
""",
        """
import pytest
def test_a():
    with pytest.raises(ValueError, match='right'):
        f(1)
""",
    ),
    "raises with value liar": (
        """
class V:
    def __eq__(s,o): return True
class E(ValueError):
    code=V()
def f(x): raise E
""",
        """
import pytest
def test_a():
    with pytest.raises(ValueError) as info:
        f(1)
    assert info.value.code == 5
""",
    ),
    "exit in a parametrised test": (
        """
import os
def f(x):
    if x==2: os._exit(0)
    return x*x
""",
        """
import pytest
@pytest.mark.parametrize('x,want',[(1,1),(2,4),(3,9)])
def test_a(x,want):
    assert f(x) == want
""",
    ),
    "capsys forged": (
        'def f(x): print(\'{"outcome": "passed"}\')',
        r"""
def test_a(capsys):
    import pytest
    f(1)
    assert capsys.readouterr().out == 'right\n'
""",
    ),
    "module attribute liar": (
        """
class E:
    def __eq__(s,o): return True
ANSWER=E()
""",
        """
import solution
assert solution.ANSWER == 42
""",
    ),
    "constant liar": (
        """
class E:
    def __eq__(s,o): return True
ANSWER=E()
""",
        "assert ANSWER == 42",
    ),
    "constant liar imported": (
        """
class E:
    def __eq__(s,o): return True
ANSWER=E()
""",
        """
from solution import ANSWER
assert ANSWER == 42
""",
    ),
    "capitalised constant of a class": (
        """
class Answer:
    def __eq__(s,o): return True
Answer=Answer()
""",
        "assert Answer == 42",
    ),
    "class used as constant": (
        """
class M(type):
    def __eq__(c,o): return True
    __hash__=type.__hash__
class Answer(metaclass=M): pass
""",
        """
assert Answer == 42
assert isinstance(Answer, type)
""",
    ),
    "order of two calls": (
        """
calls=[]
def f(x):
    calls.append(x)
    return calls
""",
        """
assert f(1) == [1]
assert f(1) == [1]
""",
    ),
    "lying iterator in sorted test": (
        """
class L(list):
    def sort(s,**k): s[:]=[1,2,3]
def f(x): return L([9])
""",
        """
r=f(1)
r.sort()
assert r == [1,2,3,4]
""",
    ),
    "decimal context poison": (
        """
import decimal
def f(x):
    decimal.getcontext().prec=1
    return decimal.Decimal('1.25')
""",
        """
from decimal import Decimal
assert f(1)+0 == Decimal('1.26')
""",
    ),
    "slow equality until deadline": (
        """
import time
class V:
    def __init__(s): s.x=1
    def __eq__(s,o):
        time.sleep(10); return True
""",
        """
v=V()
assert v.x==1
assert v==5
""",
    ),
    "equality that dies": (
        """
import os
class V:
    def __init__(s): s.x=1
    def __eq__(s,o): os._exit(0)
""",
        """
v=V()
assert v.x==1
assert v==5
""",
    ),
    "equality that raises for decoys": (
        """
n=[0]
class V:
    def __init__(s): s.x=1
    def __eq__(s,o):
        n[0]+=1
        if n[0]>1: raise ValueError
        return True
""",
        """
v=V()
assert v.x==1
assert v==5
assert v==6
assert v==7
""",
    ),
    "contains only": (
        """
class V:
    def __init__(s): s.x=1
    def __contains__(s,o): return True
""",
        """
v=V()
assert v.x==1
assert 5 in v
assert 6 not in v
""",
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
    "carriage tricks": (
        "print('SECRET-8\\rSECRET-9')",
        "3\n",
        "SECRET-9",
    ),
    "backspaces": (
        "print('SECRET-8\\b9')",
        "3\n",
        "SECRET-9",
    ),
    "ansi": (
        "print('SECRET-9\\x1b[0m')",
        "3\n",
        "SECRET-9",
    ),
    "null": (
        "print('SECRET-9\\x00')",
        "3\n",
        "SECRET-9",
    ),
    "form feed lines": (
        "print('SECRET\\x0c-9')",
        "3\n",
        "SECRET-9",
    ),
    "other line ends": (
        "print('a\\x0bb\\x1cc\\u2028d')",
        "",
        "a\nb\nc\nd",
    ),
    "lookalike": (
        "print('SECRET‐9')",
        "3\n",
        "SECRET-9",
    ),
    "stderr only": (
        "import sys\nprint('SECRET-9',file=sys.stderr)",
        "3\n",
        "SECRET-9",
    ),
    "case": (
        "print('secret-9')",
        "3\n",
        "SECRET-9",
    ),
    "nan": (
        "print('nan')",
        "",
        "1.0",
    ),
    "killed after": (
        """
import os,signal
print('SECRET-9',flush=True)
os.kill(os.getpid(),signal.SIGKILL)
""",
        "3\n",
        "SECRET-9",
    ),
    "memory after": (
        "print('SECRET-9',flush=True)\nx=bytearray(1<<40)",
        "3\n",
        "SECRET-9",
    ),
    "stack overflow after": (
        """
import sys
print('SECRET-9',flush=True)
sys.setrecursionlimit(10**9)
def f(): f()
f()
""",
        "3\n",
        "SECRET-9",
    ),
    "exit string after": (
        "print('SECRET-9')\nraise SystemExit('failed')",
        "3\n",
        "SECRET-9",
    ),
    "thread hangs": (
        """
import threading,time
print('SECRET-9',flush=True)
threading.Thread(target=time.sleep,args=(100,)).start()
""",
        "3\n",
        "SECRET-9",
    ),
    "atexit hangs": (
        """
import atexit,time
print('SECRET-9',flush=True)
atexit.register(time.sleep,100)
""",
        "3\n",
        "SECRET-9",
    ),
    "finaliser hangs": (
        """
import time
print('SECRET-9',flush=True)
class D:
    def __del__(s): time.sleep(100)
d=D()
""",
        "3\n",
        "SECRET-9",
    ),
    "invalid utf-8": (
        "import os\nos.write(1,b'SECRET-9\\xff')",
        "3\n",
        "SECRET-9",
    ),
    "surrogate": (
        "print('SECRET-9\\ud800')",
        "3\n",
        "SECRET-9",
    ),
    "stdin is the answer": (
        "import sys\nprint(sys.stdin.read())",
        "3\n",
        "SECRET-9",
    ),
    "pipe kept by a thread": (
        """
import os,threading,time
os.write(1,b'SECRET-9')
fd=os.dup(1)
threading.Thread(target=lambda:[time.sleep(0.05) or os.write(fd,b'x') for _ in range(10**6)]).start()
""",
        "3\n",
        "SECRET-9",
    ),
    "late write by child of thread": (
        """
import threading,time,os
print('SECRET-8')
def w():
    time.sleep(0.05); os.write(1,b'SECRET-9')
threading.Thread(target=w,daemon=True).start()
""",
        """
3
""",
        "SECRET-9",
    ),
    "clear screen": (
        "print('\\x1b[2J\\x1b[HSECRET-9')",
        """
3
""",
        "SECRET-9",
    ),
    "overwrite cr": (
        "print('x\\rSECRET-9')",
        """
3
""",
        "SECRET-9",
    ),
    "two lines one blank between": (
        "print('a\\n\\nb')",
        "",
        """
a
b
""",
    ),
    "tab vs space": (
        "print('a\\tb')",
        "",
        "a b",
    ),
    "double space": (
        "print('a  b')",
        "",
        "a b",
    ),
    "leading space": (
        "print(' a')",
        "",
        "a",
    ),
    "nbsp inside": (
        "print('a\\xa0b')",
        "",
        "a b",
    ),
    "zero width": (
        "print('SECRET-9\\u200b')",
        "",
        "SECRET-9",
    ),
    "number format": (
        "print('1.0')",
        "",
        "1",
    ),
    "plus": (
        "print('+1')",
        "",
        "1",
    ),
    "upper": (
        "print('YES')",
        "",
        "Yes",
    ),
    "stdout seek": (
        """
import sys,os
print('wrong')
sys.stdout.flush()
try:
    os.lseek(1,0,0); os.ftruncate(1,0)
except OSError: pass
print('SECRET-9')
""",
        "",
        "SECRET-9",
    ),
    "stderr as stdout": (
        """
import os
os.dup2(2,1)
print('SECRET-9')
""",
        "",
        "SECRET-9",
    ),
    "read own output": (
        """
import os
try: print(os.read(1,10))
except OSError: print('SECRET-')
""",
        "",
        "SECRET-9",
    ),
    "exit 256": (
        """
print('SECRET-9')
import os
os._exit(1)
""",
        "",
        "SECRET-9",
    ),
    "sys.exit big": (
        """
print('SECRET-9')
import sys
sys.exit(257)
""",
        "",
        "SECRET-9",
    ),
    "thread exception only exit": (
        """
import threading,os
print('SECRET-9',flush=True)
threading.Thread(target=lambda: os._exit(3)).start()
""",
        "",
        "SECRET-9",
    ),
    "atexit exit code": (
        """
import atexit,os
print('SECRET-9',flush=True)
atexit.register(os._exit,5)
""",
        "",
        "SECRET-9",
    ),
    "abort in finaliser": (
        """
import os
print('SECRET-9',flush=True)
class D:
    def __del__(s): os.abort()
d=D()
""",
        "",
        "SECRET-9",
    ),
}
"""A program, its standard input, and an output that it must not be credited with."""

_KINDS = {
    "network": r"socket|urllib|http\.|getaddrinfo|start_server|webbrowser",
    "fork and exec": r"fork|exec|spawn|subprocess|popen|system\(|clone|multiprocessing|Manager|PoolExec|pty|setsid|setpgid|c_long\(5[678]\)",
    "signals to others": r"kill|signal|sigqueue|pidfd|F_SETOWN|fcntl\.fcntl|waitpid|getppid|c_long\((289|297)\)",
    "memory": r"bytearray|mmap|1<<3\d|1<<40|10\*\*9|pipe\(|zlib|stack_size",
    "disk": r"truncate|fallocate|many|range\(\d{3,}\)|t\{i\}",
    "persist": r"var/tmp|/dev/shm|/tmp",
    "write files": r"'w|'a'|'r\+|mkdir|unlink|rename|chmod|chown|utime|xattr|mknod|mkfifo|link\(|copy",
    "read secrets": r"open|read|environ|listdir|getenv|glob|import (numpy|rewards)",
}


def kind_of(body: str) -> str:
    """What an attempt is after, by the first of these that its text speaks of; the rest is about the kernel."""
    return next((kind for kind, words in _KINDS.items() if re.search(words, body)), "kernel and privileges")
