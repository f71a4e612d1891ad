"""Landlock (linux/landlock.h): a process gives up, for good, the files and the processes that it does not need.

It needs no privilege, holds for root too, and reaches what other guards of files do not: /proc of other processes,
tracing them, and, from Linux 6.12 on, signals and abstract sockets.
"""

import ctypes
import os
import stat
from collections.abc import Mapping

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, of the same number on every machine
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH
_WRITE_FILE, _READ_FILE, _READ_DIR, _IOCTL_DEVICE = 1 << 1, 1 << 2, 1 << 3, 1 << 15
_FILES_SINCE = {1: 13, 2: 14, 3: 15, 5: 16}  # rights on files that each version knows
_NET_SINCE, _NET = 4, 0b11  # bind and connect, TCP
_SCOPES_SINCE, _SCOPES = 6, 0b11  # abstract sockets and signals

READ = _READ_FILE | _READ_DIR
"""To read files and list folders; never to execute."""
USE = _READ_FILE | _WRITE_FILE | _IOCTL_DEVICE
"""What a device takes."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def restrict(allowed: Mapping[int, int]) -> int:
    """Deny this process everything but the rights given by descriptor of a file or folder (``O_PATH`` will do).

    The caller has set ``PR_SET_NO_NEW_PRIVS`` and has one thread. Returns the version of Landlock in force; raises
    OSError where there is none.
    """
    version = _call(_CREATE, None, 0, _VERSION)
    handled = (1 << _FILES_SINCE[max(since for since in _FILES_SINCE if since <= version)]) - 1
    net = _NET if version >= _NET_SINCE else 0
    scopes = _SCOPES if version >= _SCOPES_SINCE else 0
    wanted = _Ruleset(handled, net, scopes)
    ruleset = _call(_CREATE, ctypes.byref(wanted), ctypes.sizeof(wanted), 0)
    try:
        for descriptor, rights in allowed.items():
            fitting = handled if stat.S_ISDIR(os.fstat(descriptor).st_mode) else handled & ~_READ_DIR
            rule = _Rule(rights & fitting, descriptor)
            _call(_ADD, ruleset, _BENEATH, ctypes.byref(rule), 0)
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _call(number: int, *arguments: object) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
