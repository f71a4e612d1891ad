"""Children that judge as the real ones do, with a measurement that takes what there is not; this imports torch."""

import mmap
import socket
from collections.abc import Callable
from typing import BinaryIO

import torch

from pretrain.evaluate import child


def _addresses() -> None:
    private, anonymous, unreserved = 0x02, 0x20, 0x4000  # only the address space is taken, so only its limit denies it
    mmap.mmap(-1, 1 << 44, flags=private | anonymous | unreserved).close()


def _objects() -> None:
    bytearray(1 << 44)


def _a_tensor() -> None:
    torch.empty(1 << 44, dtype=torch.uint8)


def _another_error() -> None:
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def _judging(measure: Callable[[], None]) -> Callable[[bytes, BinaryIO, socket.socket], None]:
    def judge(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
        vars(child)["measure"] = lambda *_: measure()
        child.judge(raw, samples, answer)

    return judge


takes_many_addresses = _judging(_addresses)
takes_a_large_object = _judging(_objects)
takes_a_large_tensor = _judging(_a_tensor)
errs = _judging(_another_error)
