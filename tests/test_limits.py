import errno
import resource
from pathlib import Path

import pytest
import torch

from pretrain.evaluate.limits import is_out_of_memory, most_memory

PAGE = resource.getpagesize()


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "self/statm").write_text("1000 500 10 1 0 90 0\n")
    (folder / "meminfo").write_text("MemTotal:       8000 kB\nMemAvailable:       6000 kB\n")
    return folder


def test_a_child_may_take_what_is_mapped_and_available_and_its_models_files(tmp_path: Path, proc: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "b.safetensors").write_bytes(b"x" * 5)
    assert most_memory(tmp_path, proc, tmp_path / "none") == 1000 * PAGE + 6000 * 1024 + 15


@pytest.mark.parametrize(
    ("most", "now", "left"),
    [("max", "5", 6000 * 1024), ("4096", "96", 4000), ("10", "20", 0), ("9" * 15, "0", 6144000)],
)
@pytest.mark.parametrize("stat", [None, "anon 5\nfile 99\n"])
def test_a_container_with_less_bounds_it(
    tmp_path: Path, proc: Path, most: str, now: str, left: int, stat: str | None
) -> None:
    if stat is not None:
        (tmp_path / "memory.stat").write_text(stat)
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text(f"{now}\n")
    assert most_memory(tmp_path, proc, tmp_path) == 1000 * PAGE + left


def test_files_that_a_container_holds_in_memory_are_left_to_a_child(tmp_path: Path, proc: Path) -> None:
    """A container that has just downloaded 3800 bytes is at its bound, and the kernel drops them when it must."""
    (tmp_path / "memory.max").write_text("4096\n")
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "memory.stat").write_text("anon 296\nfile 3850\nshmem 50\ninactive_file 3000\nactive_file 800\n")
    assert most_memory(tmp_path, proc, tmp_path) == 1000 * PAGE + 3800


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_memory_is_missing_is_told_from_other_errors(error: Exception, means: bool) -> None:  # noqa: FBT001
    assert is_out_of_memory(error) is means


def test_a_machine_that_says_nothing_bounds_nothing(tmp_path: Path) -> None:
    assert most_memory(tmp_path, tmp_path / "none", tmp_path) is None
