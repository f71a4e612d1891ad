"""The filter of each machine, run by an interpreter of its few instructions: this machine is only one of them."""

import errno
import struct

import pytest

from pretrain.evaluate import seccomp

PID = 77
READ, KILL, SOCKET, FCNTL, CLONE, CHMOD = 0, 1, 2, 3, 4, 5
NUMBERS = {"x86_64": (0, 62, 41, 72, 56, 91), "aarch64": (63, 129, 198, 25, 220, 52)}
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE3, I386 = 435, 0x40000003


def verdict(machine: str, number: int, *arguments: int, told: int | None = None) -> int:
    """Return the error that a call ends with; 0: it is allowed."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, told or MACHINES[machine], 0, *padded)
    program = [struct.unpack("HBBI", one) for one in seccomp._program(machine, PID)]  # noqa: SLF001 - what is installed
    at = held = 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        match code:
            case 0x20:
                held = struct.unpack_from("<I", data, value)[0]
            case 0x54:
                held &= value
            case 0x15:
                at += yes if held == value else no
            case 0x35:
                at += yes if held >= value else no
            case 0x45:
                at += yes if held & value else no
            case _:
                return 0 if value == 0x7FFF0000 else value & 0xFFFF


@pytest.mark.parametrize("machine", list(MACHINES))
@pytest.mark.parametrize(
    ("call", "arguments", "error"),
    [
        (READ, (3,), 0),
        (KILL, (PID, 9), 0),
        (KILL, (PID + 1, 9), errno.EPERM),
        (KILL, (0, 9), errno.EPERM),
        (KILL, ((1 << 64) - 1, 9), errno.EPERM),
        (KILL, (PID | 1 << 32, 9), 0),  # the kernel reads 32 bits too
        (SOCKET, (1, 1), 0),
        (SOCKET, (1, 5 | 0o2000000), 0),
        (SOCKET, (1, 2), errno.EACCES),
        (SOCKET, (1, 3), errno.EACCES),
        (SOCKET, (2, 1), errno.EACCES),
        (SOCKET, (10, 2), errno.EACCES),
        (FCNTL, (3, 1), 0),
        (FCNTL, (3, 8, 1), errno.EPERM),
        (CLONE, (0x3D0F00,), 0),
        (CLONE, (17,), errno.EPERM),
        (CHMOD, (3, 0o777), errno.EPERM),
    ],
)
def test_a_call_is_denied_for_what_it_asks(machine: str, call: int, arguments: tuple[int, ...], error: int) -> None:
    assert verdict(machine, NUMBERS[machine][call], *arguments) == error


@pytest.mark.parametrize("machine", list(MACHINES))
def test_other_numberings_of_calls_are_no_way_around(machine: str) -> None:
    assert verdict(machine, NUMBERS[machine][READ], told=I386) == errno.EPERM
    assert verdict(machine, 0x40000000 | NUMBERS[machine][READ]) == errno.ENOSYS
    assert verdict(machine, CLONE3) == errno.ENOSYS  # so that libc falls back to clone
