"""What a process gives up before it touches a stranger's model, for as long as it lives.

Four layers, none of which needs a privilege: namespaces of its own for the network, without any interface, and for
System V IPC, which go with it; no capability (root's child is root without its powers), Landlock for files, and a
filter of system calls. Each is put in force where the kernel has
it; what is missing is said, and leaves the others as they are. docs/security.md tells what each stops.
"""

import ctypes
import os
import site
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from pretrain.evaluate import landlock, seccomp

OFF = "nothing; missing: all, switched off"
"""The report of a child that gave nothing up because it was not told to."""

_NEW_USER, _NEW_NET, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000  # linux/sched.h
_CAPABILITIES_VERSION = 0x20080522  # linux/capability.h
_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
_LIBRARIES = ("/usr", "/lib", "/lib64", "/nix/store", "/proc", "/sys", "/etc/ld.so.cache", "/etc/localtime")
_DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*", "nvidia-caps/*")


def isolate(model: int) -> str:
    """Give up all that judging the model in a folder, given by its descriptor, does not take.

    To be called by a process of one thread. Returns in one line what is in force and what the kernel refused, such as
    ``capabilities dropped, landlock 7, seccomp; missing: namespaces (Operation not permitted)``.
    """
    if sys.platform != "linux":
        return f"nothing; missing: all, on {sys.platform}"
    layers: dict[str, Callable[[], object]] = {
        "namespaces": _leave_namespaces,
        "capabilities dropped": _drop_capabilities,
        "landlock": lambda: _leave_files(model),
        "seccomp": seccomp.restrict,
    }
    in_force, missing = [], []
    for name, layer in layers.items():
        try:
            version = layer()
        except OSError as error:
            missing.append(f"{name} ({error.strerror})")
        else:
            in_force.append(name if version is None else f"{name} {version}")
    return (", ".join(in_force) or "nothing") + (f"; missing: {', '.join(missing)}" if missing else "")


def is_whole(report: str) -> bool:
    """Whether nothing is missing, by the report of ``isolate``."""
    return "; missing: " not in report


def _leave_namespaces() -> None:
    """Enter a network without interfaces and an IPC of its own; a user namespace allows it without a privilege."""
    user, group = os.getuid(), os.getgid()
    _must(ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER | _NEW_NET | _NEW_IPC))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", name).write_text(text, encoding="ascii")


def _drop_capabilities() -> None:
    """Give up every capability, and the ways to gain one by starting a program."""
    libc = ctypes.CDLL(None, use_errno=True)
    _must(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    _must(libc.capset(header, (ctypes.c_uint32 * 6)()))


def _leave_files(model: int) -> int:
    """Keep the model's folder, the libraries, and the devices; return the version of Landlock."""
    with ExitStack() as stack:
        allowed = {model: landlock.READ}
        for paths, rights in ((_readable(), landlock.READ), (_devices(), landlock.USE)):
            for descriptor in _opened(paths):
                stack.callback(os.close, descriptor)
                allowed[descriptor] = rights
        return landlock.restrict(allowed)


def _readable() -> list[str]:
    """Return where the interpreter and the libraries are: never the working folder, nor a home as a whole."""
    ours = [sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(__file__).parents[1])]
    packages = [entry for entry in [*site.getsitepackages(), *sys.path] if entry.endswith("-packages")]
    variables = (os.environ.get(name, "") for name in ("LD_LIBRARY_PATH", "CUDA_HOME"))
    told = [entry for value in variables for entry in value.split(os.pathsep) if entry.startswith("/")]
    return [*_LIBRARIES, *ours, *packages, *told]


def _devices() -> list[str]:
    return [str(path) for pattern in _DEVICES for path in Path("/dev").glob(pattern) if not path.is_dir()]


def _opened(paths: Iterable[str]) -> Iterator[int]:
    for path in paths:
        try:
            yield os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # absent, below a file, not this user's to enter, a loop: what cannot be opened is not needed
            continue


def _must(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
