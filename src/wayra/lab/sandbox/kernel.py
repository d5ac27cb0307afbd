"""The few system calls that Python 3.11 has no function for, each raising OSError with what it tried."""

import contextlib
import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
ANY_NAMESPACE = 0x7E020080

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 4, 24, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
MAX_CAPABILITIES = 64
CAPABILITY_VERSION_3 = 0x20080522

SYS_MOUNT_SETATTR = 442
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True)
_long = ctypes.c_long


def _checked(result: int, tried: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{tried}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    given = [text.encode() for text in (source, target, kind, options)]
    _checked(_libc.mount(given[0], given[1], given[2], ctypes.c_ulong(flags), given[3]), f"mount {target}")


def unmount(target: str) -> None:
    _checked(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def prctl(option: int, value: int = 0, second: int = 0) -> None:
    _checked(_libc.prctl(option, *map(ctypes.c_ulong, (value, second, 0, 0))), f"prctl {option}")


def pivot_root(put_old: str) -> None:
    """The working directory becomes the root, and what was the root lies at put_old."""
    number = SYS_PIVOT_ROOT[os.uname().machine]
    _checked(_libc.syscall(_long(number), b".", put_old.encode()), "pivot_root")


def make_read_only(target: str, flags: int) -> None:
    """Of a bind mount, with all mounted below it where the kernel can (5.12); flags: MS_RDONLY and further ones."""
    attributes = (ctypes.c_uint64 * 4)(flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC), 0, 0, 0)
    at_fdcwd, at_recursive = _long(-100), _long(0x8000)
    done = _libc.syscall(
        _long(SYS_MOUNT_SETATTR), at_fdcwd, target.encode(), at_recursive, attributes, _long(ctypes.sizeof(attributes))
    )
    if done == 0:
        return
    # The old way has to repeat flags that the mount came with.
    had = os.statvfs(target).f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | 1024 | 2048)
    relatime = (1 << 21) if os.statvfs(target).f_flag & 4096 else 0
    mount("none", target, "none", MS_REMOUNT | MS_BIND | had | relatime | flags)


def drop_capabilities() -> None:
    """All of them, for good: effective, permitted, inheritable, ambient, and the bound on what exec could give."""
    for capability in range(MAX_CAPABILITIES):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            # Unknown to this kernel, or already without the right to; no_new_privs and the empty sets hold anyway.
            break
    with contextlib.suppress(OSError):
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _checked(_libc.syscall(_long(SYS_CAPSET[os.uname().machine]), header, nothing), "capset")


def make_read_only_here(target: str, flags: int) -> None:
    """Of this mount alone, not of those below it."""
    mount("none", target, "none", MS_REMOUNT | MS_BIND | flags)
