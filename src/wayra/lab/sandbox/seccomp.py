"""The filter of system calls: which ones a sandboxed program is denied, as a classic BPF program for two processors.

All that could reach out of the sandbox or widen the kernel's surface is denied by name; so is every call that is newer
than this list. Addresses other than of local sockets, and clone with new namespaces, are denied by their arguments.
"""

import ctypes
import errno
import os
import struct

from wayra.lab.sandbox import kernel

LAST_KNOWN_CALL = 451
CLONE3 = 435
X32_BIT = 0x40000000
AF_UNIX = 1
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

ALLOW, KILL, DENY = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT, SECOND_ARGUMENT_AT = 0, 4, 16, 24
"""Offsets in struct seccomp_data; of arguments, the low half (both processors are little-endian)."""

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
SOCKET = {"x86_64": 41, "aarch64": 198}
SOCKETPAIR = {"x86_64": 53, "aarch64": 199}
IOCTL = {"x86_64": 16, "aarch64": 29}

# fmt: off
DENIED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "pidfd_getfd": (438, 438), "process_mrelease": (448, 448),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "mknod": (133, None), "mknodat": (259, 33),
    "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "sethostname": (170, 161),
    "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "personality": (135, 92), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "lookup_dcookie": (212, 18), "syslog": (103, 116), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "vhangup": (153, 58), "mbind": (237, 235),
    "set_mempolicy": (238, 237), "migrate_pages": (256, 238), "move_pages": (279, 239), "uselib": (134, None),
    "ustat": (136, None), "sysfs": (139, None), "sysctl": (156, None), "nfsservctl": (180, 42),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152),
    "setgroups": (116, 159), "capset": (126, 91), "fanotify_init": (300, 262),
    # Memory that no limit of a process counts.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "shmdt": (67, 197), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191),
    "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_open": (240, 180), "mq_unlink": (241, 181),
}
# fmt: on
"""Call -> its number on x86_64 and on aarch64."""


def denied_numbers(machine: str) -> list[int]:
    place = 0 if machine == "x86_64" else 1
    return sorted(numbers[place] for numbers in DENIED.values() if numbers[place] is not None)  # type: ignore[misc]


def filter_program(machine: str) -> bytes:
    """Instructions of 8 bytes: code, jump if true, jump if false, operand."""
    deny, no_such_call = DENY | errno.EPERM, DENY | errno.ENOSYS
    steps: list[tuple[int, int, int, int]] = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
    ]
    if machine == "x86_64":
        steps += [(AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, KILL)]
    # clone3 hides its flags behind a pointer; without it the C library falls back to clone.
    steps += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, no_such_call)]
    steps += [(AT_LEAST, 0, 1, LAST_KNOWN_CALL + 1), (RETURN, 0, 0, no_such_call)]
    for number in denied_numbers(machine):
        steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, deny)]
    steps += [(EQUAL, 0, 4, CLONE[machine]), (LOAD, 0, 0, FIRST_ARGUMENT_AT)]
    steps += [(ANY_BIT, 0, 1, kernel.ANY_NAMESPACE), (RETURN, 0, 0, deny), (RETURN, 0, 0, ALLOW)]
    for call in (SOCKET, SOCKETPAIR):
        steps += [(EQUAL, 0, 4, call[machine]), (LOAD, 0, 0, FIRST_ARGUMENT_AT)]
        steps += [(EQUAL, 1, 0, AF_UNIX), (RETURN, 0, 0, deny), (RETURN, 0, 0, ALLOW)]
    steps += [(EQUAL, 0, 4, IOCTL[machine]), (LOAD, 0, 0, SECOND_ARGUMENT_AT)]
    steps += [(EQUAL, 1, 0, TIOCSTI), (EQUAL, 0, 1, TIOCLINUX), (RETURN, 0, 0, deny)]
    steps += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def deny_calls() -> None:
    """For this process and all it will start, for good. Raises OSError where the kernel has no such filters."""
    program = filter_program(os.uname().machine)
    held = ctypes.create_string_buffer(program, len(program))
    described = _FilterProgram(len(program) // 8, ctypes.addressof(held))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    pr_set_seccomp, mode_filter = 22, 2
    kernel.prctl(pr_set_seccomp, mode_filter, ctypes.addressof(described))
