"""A filter of system calls (linux/seccomp.h) for a process that computes, and has no business with any other.

It needs no privilege, works in containers too, and denies a list: the libraries of a GPU's maker call what they like,
so a list of all that is allowed would break with their next release. What is denied: starting processes and programs,
sockets to anywhere, signals to and a look into other processes, memory and messages that outlive a process, and changes
to files that Landlock does not guard.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

_SET_SECCOMP, _FILTER = 22, 2  # prctl
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF instructions
_MASK = 0x54
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data; the low half of an argument comes first
_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
_OTHER_ABI = 0x40000000  # x32's calls are numbered from here

_UNIX, _KIND, _STREAM, _PACKETS = 1, 0xF, 1, 5  # sockets
_THREAD = 0x10000  # CLONE_THREAD
_OWNER_COMMANDS = (8, 15)  # F_SETOWN, F_SETOWN_EX: whom the kernel signals
_OWNER_REQUESTS = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP
_DEATH_SIGNAL = (1,)  # PR_SET_PDEATHSIG

_CALLS = {
    # name: x86_64, aarch64; None: no such call
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "unshare": (272, 97),
    "setns": (308, 268),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "setpriority": (141, 140),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
"""Denied whatever their arguments."""

_Block = list[bytes]


def restrict() -> None:
    """Put the filter in force for this process and all its threads to come.

    The caller has set ``PR_SET_NO_NEW_PRIVS``. Raises OSError where the kernel has no filters, or the machine is not
    one of ours.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"the system calls of a {machine} are not known")
    code = b"".join(_program(machine, os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_SECCOMP, _FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _program(machine: str, pid: int) -> _Block:
    """Return the instructions: each block below looks at one call and returns, or falls through to the next."""
    which = tuple(_MACHINES).index(machine)

    def of(x86_64: int, aarch64: int, body: _Block) -> _Block:
        return _when((x86_64, aarch64)[which], body)

    blocks = [
        [_op(_LOAD, _MACHINE_AT), _op(_EQUAL, _MACHINES[machine], yes=1), _deny(errno.EPERM)],
        [_op(_LOAD, _NUMBER_AT), _op(_AT_LEAST, _OTHER_ABI, no=1), _deny(errno.ENOSYS)],
        of(435, 435, [_deny(errno.ENOSYS)]),  # clone3: its flags are out of reach, so libc is sent to clone
        of(56, 220, [_argument(0), _op(_ANY_BIT, _THREAD, yes=1), _deny(errno.EPERM), _op(_RETURN, _ALLOW)]),
        of(41, 198, _unix_stream()),
        of(53, 199, _unix_stream()),  # socketpair
        of(42, 203, [_deny(errno.ECONNREFUSED)]),  # connect: as if nobody listened
        of(302, 261, _only(0, (0, pid))),  # prlimit64
        of(72, 25, _but(1, _OWNER_COMMANDS)),  # fcntl
        of(16, 29, _but(1, _OWNER_REQUESTS)),  # ioctl
        of(157, 167, _but(0, _DEATH_SIGNAL)),  # prctl
        *(of(*numbers, _only(0, (pid,))) for numbers in ((62, 129), (200, 130), (234, 131), (129, 138), (297, 240))),
        *(_when(number, [_deny(errno.EPERM)]) for calls in _CALLS.values() if (number := calls[which]) is not None),
        [_op(_RETURN, _ALLOW)],
    ]
    return [instruction for block in blocks for instruction in block]


def _when(number: int, body: _Block) -> _Block:
    """Do what a body says about a call of this number; the body returns."""
    return [_op(_EQUAL, number, no=len(body)), *body]


def _only(argument: int, values: Sequence[int]) -> _Block:
    """Allow a call whose argument is one of some values."""
    matches = [_op(_EQUAL, value, yes=len(values) - at) for at, value in enumerate(values)]
    return [_argument(argument), *matches, _deny(errno.EPERM), _op(_RETURN, _ALLOW)]


def _but(argument: int, values: Sequence[int]) -> _Block:
    """Allow a call whose argument is none of some values."""
    matches = [_op(_EQUAL, value, yes=len(values) - at) for at, value in enumerate(values)]
    return [_argument(argument), *matches, _op(_RETURN, _ALLOW), _deny(errno.EPERM)]


def _unix_stream() -> _Block:
    """Allow a socket of this machine that, without ``connect``, reaches nobody: a datagram's can name a receiver."""
    return [
        _argument(0),
        _op(_EQUAL, _UNIX, no=4),
        _argument(1),
        _op(_MASK, _KIND),
        _op(_EQUAL, _STREAM, yes=2),
        _op(_EQUAL, _PACKETS, yes=1),
        _deny(errno.EACCES),
        _op(_RETURN, _ALLOW),
    ]


def _argument(index: int) -> bytes:
    return _op(_LOAD, _ARGUMENTS_AT + 8 * index)


def _deny(number: int) -> bytes:
    return _op(_RETURN, _ERRNO | number)


def _op(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)
