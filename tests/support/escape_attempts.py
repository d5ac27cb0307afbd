"""Programs that try to leave the sandbox, or to take more than their share. Each prints ESCAPED only if it succeeds."""

# ruff: noqa: E501 - programs of one line stay on one line

from collections.abc import Mapping
from types import MappingProxyType

SYSCALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
x86 = os.uname().machine == "x86_64"
def call(on_x86, on_arm, *arguments):
    numbers = [a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a) for a in arguments]
    return libc.syscall(ctypes.c_long(on_x86 if x86 else on_arm), *numbers)
"""
READ = "print('ESCAPED', open({path!r}, 'rb').read(20))"
WRITE = "open({path!r}, 'w').write('x'); print('ESCAPED')"


def _denied(on_x86: int, on_arm: int, *arguments: object) -> str:
    """A system call that must not succeed."""
    given = ", ".join(map(repr, arguments))
    return f"{SYSCALL}\nif call({on_x86}, {on_arm}, {given}) >= 0: print('ESCAPED')"


ESCAPES: Mapping[str, str] = MappingProxyType(
    {
        "connect to an address": "import socket\nsocket.create_connection(('1.1.1.1', 53), 2); print('ESCAPED')",
        "connect to localhost": "import socket\ns = socket.socket(); s.settimeout(2); s.connect(('127.0.0.1', 22)); print('ESCAPED')",
        "listen": "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); print('ESCAPED')",
        "resolve a name": "import socket\nprint('ESCAPED', socket.gethostbyname('example.org'))",
        "raw socket": "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW); print('ESCAPED')",
        "socket of a virtual machine": "import socket\nsocket.socket(40, socket.SOCK_STREAM); print('ESCAPED')",
        "pair of sockets of another family": "import socket\ntry: socket.socketpair(socket.AF_VSOCK)\nexcept PermissionError: pass\nexcept OSError as error: print('ESCAPED', error)",
        "netlink": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW); print('ESCAPED')",
        "local socket of the host": "import socket\ns = socket.socket(socket.AF_UNIX); s.connect('/run/docker.sock'); print('ESCAPED')",
        "nameless socket of the host": "import socket\ns = socket.socket(socket.AF_UNIX); s.connect('\\0wayra-escape'); print('ESCAPED')",
        "read /etc/passwd": READ.format(path="/etc/passwd"),
        "read /etc/shadow": READ.format(path="/etc/shadow"),
        "read the keys of root": "import os\nif os.path.exists('/' + 'root/.ssh'): print('ESCAPED')",
        "read home folders": "import os\nprint('ESCAPED', os.listdir('/home'))",
        "read the environment of the host's first process": READ.format(path="/proc/1/environ"),
        "read the kernel's memory map": READ.format(path="/proc/kallsyms"),
        "see processes": "import os\nprint('ESCAPED', os.listdir('/proc'))",
        "see its own process": "import os\nfor path in ('/proc/self/root', '/proc/self/mem', '/../proc'):\n    if os.path.lexists(path): print('ESCAPED', path)",
        "see devices": "import os\nprint('ESCAPED', os.listdir('/sys'))",
        "read raw memory": READ.format(path="/dev/mem"),
        "read a disk": "import os\nfound = [n for n in os.listdir('/dev') if n not in ('null', 'zero', 'urandom')]\nif found: print('ESCAPED', found)",
        "terminal": READ.format(path="/dev/tty"),
        "write to the root": WRITE.format(path="/x"),
        "write to /etc": WRITE.format(path="/etc/x"),
        "file without a name": "import os\nfor path in ('/', '/packages', '/dev', os.path.dirname(os.__file__)):\n    try: os.open(path, os.O_TMPFILE | os.O_RDWR)\n    except OSError: continue\n    print('ESCAPED', path)",
        "shared memory by a file": "open('/dev/shm/x', 'w'); print('ESCAPED')",
        "write to the libraries": "import os\nopen(os.path.dirname(os.__file__) + '/x.py', 'w'); print('ESCAPED')",
        "replace the interpreter": "import sys\nopen(sys.executable, 'ab'); print('ESCAPED')",
        "make the libraries writable": "import os\nos.chmod(os.__file__, 0o777); print('ESCAPED')",
        "symbolic link out": "import os\nos.symlink('/etc/shadow', 'link'); print('ESCAPED', open('link').read(9))",
        "link through parents": READ.format(path="/tmp/../../../../etc/shadow"),
        "hard link": "import os\nos.link(os.__file__, '/tmp/mine'); print('ESCAPED')",
        "where the old root was": "import os\nif os.path.exists('/old'): print('ESCAPED', os.listdir('/old'))",
        "kill all others": "import os, signal\nfor pid in [1, *range(3, 400)]:\n    try:\n        os.kill(pid, signal.SIGKILL)\n    except ProcessLookupError: continue\n    if pid != 1: print('ESCAPED', pid)",
        "kill the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time; time.sleep(0.2)\nif os.getppid() != 1: print('ESCAPED')",
        "keep a capability": SYSCALL + "\nheader, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\nif call(125, 90, header, held) != 0 or any(held): print('ESCAPED', list(held))",
        "become root": "import os\nos.setuid(0); print('ESCAPED')",
        "become another group": "import os\nos.setgroups([0]); print('ESCAPED')",
        "be root already": "import os\nif 0 in (os.getuid(), os.geteuid(), os.getgid()) or 0 in os.getgroups(): print('ESCAPED')",
        "trace a process": _denied(101, 117, 0, 0, 0, 0),
        "read a process's memory": _denied(310, 270, 1, 0, 0, 0, 0, 0),
        "mount": _denied(165, 40, b"none", b"/tmp", b"tmpfs", 0, b""),
        "unmount": _denied(166, 39, b"/tmp", 2),
        "change the root": _denied(161, 51, b"/tmp"),
        "new user namespace": _denied(272, 97, 0x10000000),
        "new namespace by clone": SYSCALL + "\npid = call(56, 220, 0x10000000 | 17, 0, 0, 0, 0)\nif pid >= 0: print('ESCAPED', flush=True)",
        "new namespace by clone3": SYSCALL + "\nargs = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)\nif call(435, 435, args, 88) >= 0: print('ESCAPED', flush=True)",
        "load a kernel program": _denied(321, 280, 0, bytes(64), 64),
        "kernel keys": _denied(250, 219, 0, -3, 1),
        "watch the processor": _denied(298, 241, bytes(112), 0, -1, -1, 0),
        "page faults in user space": _denied(323, 282, 0),
        "ring of requests": _denied(425, 425, 4, bytes(120)),
        "memory without limit": _denied(319, 279, b"x", 0),
        "shared memory without limit": _denied(29, 194, 0, 4096, 0o1600),
        "device node": "import os, stat\nos.mknod('/tmp/disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0)); print('ESCAPED')",
        "load a kernel module": _denied(175, 105, bytes(8), 8, b""),
        "stop the machine": _denied(169, 142, 0xFEE1DEAD - 2**32, 672274793, 0x1234567, 0),
        "set the clock": "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0.0); print('ESCAPED')",
        "rename the host": "import socket\nsocket.sethostname('x'); print('ESCAPED')",
        "call of another processor mode": SYSCALL + "\nif call(0x40000000 + 39, 999, 0) >= 0: print('ESCAPED')",
        "call of a 32-bit program": SYSCALL + "\nimport mmap\ncode = mmap.mmap(-1, 4096, prot=7); code.write(bytes.fromhex('b814000000cd80c3'))\nat = ctypes.addressof(ctypes.c_char.from_buffer(code))\nif x86 and ctypes.CFUNCTYPE(ctypes.c_int)(at)() > 0: print('ESCAPED', flush=True)",
        "filter taken off": SYSCALL + "\nif libc.prctl(22, 0, 0, 0, 0) == 0: print('ESCAPED')",
        "another's namespace": _denied(308, 268, 0, 0),
        "processor before all others": "import os\nos.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); print('ESCAPED')",
        "higher priority": "import os\nos.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 1); print('ESCAPED')",
        "call newer than the list": _denied(460, 460, 0, 0, 0),
        "raise its limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1)); print('ESCAPED')",
        "program of its own": SYSCALL + "\nimport sys, shutil\nshutil.copyfile(sys.executable, '/tmp/python'); os.chmod('/tmp/python', 0o700)\nos.execv('/tmp/python', ['python', '-c', 'print(\"ESCAPED\")'])",
        "shell": "import subprocess\nprint('ESCAPED', subprocess.run(['/bin/sh', '-c', 'id'], capture_output=True).stdout)",
        "inherited descriptors": "import os\nfor number in range(3, 256):\n    try: os.fstat(number)\n    except OSError: continue\n    print('ESCAPED', number)",
        "read what the caller typed": "import sys\nif sys.stdin.read(): print('ESCAPED')",
        "secrets of the environment": "import os\nif any('SECRET' in k + v for k, v in os.environ.items()): print('ESCAPED')",
    }
)  # fmt: skip
