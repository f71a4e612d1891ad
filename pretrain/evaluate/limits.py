"""What one child may take of the machine: memory on the CPU, and processor time.

Memory is bounded by what the machine has, not by the model's size: what a forward pass takes depends on the libraries,
and an honest model that meets a bound looks like one that crashes. The size of a model is bounded before that, by the
competition. A child that meets the bound is told so, and tells it, before the kernel must choose whom to kill.
"""

import errno
import math
import resource
from pathlib import Path

from pretrain.evaluate.request import Request

_PAGE_BYTES = resource.getpagesize()
_SPARE_SECONDS = 60  # of processor time: the deadline on the clock comes first, and says TIMEOUT
_NO_MEMORY = ("out of memory", "can't allocate memory", "DefaultCPUAllocator", "std::bad_alloc")
"""What torch says, in a RuntimeError, where it or a GPU has no more."""


def limit(request: Request) -> None:
    """Bound this process, for good, before it touches the model."""
    seconds = math.ceil(request.seconds * (request.threads + 1)) + _SPARE_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    memory = request.memory or most_memory(request.model)
    if memory is not None and request.device == "cpu":  # a GPU's driver reserves addresses without measure
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def most_memory(model: Path, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes of address space that judging a model may take; None where the machine does not say.

    What is mapped already, and what is available to this machine or, where that is less, to its container, pages of
    files counted as available; with the model's files on top, whose pages the kernel can drop whenever it needs them.
    """
    try:
        mapped = int((proc / "self/statm").read_text().split()[0]) * _PAGE_BYTES
        lines = dict(line.split(":") for line in (proc / "meminfo").read_text().splitlines())
        available = int(lines["MemAvailable"].split()[0]) * 1024
    except (FileNotFoundError, KeyError):
        return None
    files = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    return mapped + min(available, _left_in(cgroup, available)) + files


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there is no more memory, of this machine, within the bound, or of its GPU."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    told = isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    return told or isinstance(error, MemoryError)


def _left_in(cgroup: Path, otherwise: int) -> int:
    try:
        most, now = ((cgroup / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except FileNotFoundError:
        return otherwise
    return otherwise if most == "max" else max(0, int(most) - int(now) + _droppable(cgroup))


def _droppable(cgroup: Path) -> int:
    """Return the bytes of files in memory that a container is charged for, such as models that were just downloaded."""
    try:
        lines = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except FileNotFoundError:
        return 0
    return sum(int(lines.get(name, "0")) for name in ("active_file", "inactive_file"))
