"""What a child that a hostile model has taken over would try, each a function of its aims that raises when denied.

A model folder holds the aims, as ``aims.json``: what the test has put up for the child to reach. Two attacks would stop
the rest, so they are targets of their own.
"""

import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hostile_children import answers

from pretrain.errors import ModelRejected, Reason
from pretrain.evaluate.answer import encode_rejection
from pretrain.evaluate.limits import limit
from pretrain.evaluate.request import Request

Aims = Mapping[str, Any]
_CAP_SYS_ADMIN = 21


def _libc(name: str, *arguments: object) -> int:
    result = int(getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def reads_a_secret(aims: Aims) -> None:
    Path(aims["secret"]).read_text()


def lists_a_home(aims: Aims) -> None:
    list(Path(aims["secret"]).parent.iterdir())


def reads_another_model(aims: Aims) -> None:
    (Path(aims["model"]).parent / "other" / "model.safetensors").read_bytes()


def reads_through_its_fork_server(aims: Aims) -> None:
    Path(f"/proc/{os.getppid()}/root{aims['secret']}").read_text()


def reads_an_environment(aims: Aims) -> None:
    Path(f"/proc/{aims['validator']}/environ").read_bytes()


def reads_a_memory(aims: Aims) -> None:
    with Path(f"/proc/{aims['validator']}/mem").open("rb"):
        pass


def looks_at_descriptors(aims: Aims) -> None:
    Path(f"/proc/{aims['validator']}/fd/0").readlink()


def writes_into_the_model(aims: Aims) -> None:
    with (Path(aims["model"]) / "model.safetensors").open("ab"):
        pass


def adds_to_the_model(aims: Aims) -> None:
    (Path(aims["model"]) / "added").write_text("x")


def removes_from_the_model(aims: Aims) -> None:
    (Path(aims["model"]) / "spare").unlink()


def renames_in_the_model(aims: Aims) -> None:
    (Path(aims["model"]) / "name").rename(Path(aims["model"]) / "renamed")


def changes_rights(aims: Aims) -> None:
    (Path(aims["model"]) / "model.safetensors").chmod(0o666)


def changes_rights_of_a_secret(aims: Aims) -> None:
    Path(aims["secret"]).chmod(0o644)


def changes_times(aims: Aims) -> None:
    os.utime(aims["secret"], (0, 0))


def truncates(aims: Aims) -> None:
    os.truncate(Path(aims["model"]) / "emptied", 0)


def fills_temporary_folders(_aims: Aims) -> None:
    path = Path("/dev/shm") / f"pretrain-test-{os.getpid()}"  # noqa: S108 - where it must not write
    path.write_text("x")
    path.unlink()


def leaves_memory(_aims: Aims) -> None:
    """Take shared memory of System V, which would outlive the child and fill the machine."""
    _libc("shmctl", _libc("shmget", 0, 4096, 0o600), 0, None)  # IPC_PRIVATE; IPC_RMID


def leaves_semaphores(_aims: Aims) -> None:
    _libc("semctl", _libc("semget", 0, 1, 0o600), 0, 0)


def leaves_messages(_aims: Aims) -> None:
    _libc("msgctl", _libc("msgget", 0, 0o600), 0, None)


def leaves_a_named_queue(_aims: Aims) -> None:
    name = f"/pretrain-test-{os.getpid()}".encode()
    os.close(_libc("mq_open", name, os.O_CREAT | os.O_RDWR, 0o600, None))
    _libc("mq_unlink", name)


def signals_the_validator(aims: Aims) -> None:
    os.kill(aims["validator"], signal.SIGCONT)


def signals_the_fork_server(_aims: Aims) -> None:
    os.kill(os.getppid(), signal.SIGCONT)


def signals_a_group(aims: Aims) -> None:
    os.killpg(aims["group"], signal.SIGCONT)


def signals_by_descriptor(aims: Aims) -> None:
    os.close(os.pidfd_open(aims["validator"]))


def signals_by_ownership(aims: Aims) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fcntl.fcntl(ours, fcntl.F_SETOWN, aims["bystander"])


def traces_a_process(aims: Aims) -> None:
    _libc("ptrace", 0x4206, aims["bystander"], 0, 0)  # PTRACE_SEIZE; it ends with this process


def reads_anothers_memory(aims: Aims) -> None:
    """Read no byte: the permission is asked for first, and nobody knows the other's addresses."""
    _libc("process_vm_readv", aims["bystander"], None, 0, None, 0, 0)


def limits_another(aims: Aims) -> None:
    resource.prlimit(aims["validator"], resource.RLIMIT_CORE)


def slows_another(aims: Aims) -> None:
    os.setpriority(os.PRIO_PROCESS, aims["bystander"], 1)


def keeps_a_capability(_aims: Aims) -> None:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    if not int(status["CapEff"], 16) >> _CAP_SYS_ADMIN & 1:
        raise PermissionError


def starts_a_program(_aims: Aims) -> None:
    subprocess.run(["true"], check=True)  # noqa: S607 - any program does


def forks(_aims: Aims) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def connects(aims: Aims) -> None:
    socket.create_connection(("127.0.0.1", aims["tcp"]), 5).close()


def sends_a_datagram(aims: Aims) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"x", ("127.0.0.1", aims["udp"]))


def opens_a_raw_link(_aims: Aims) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()


def connects_abstractly(aims: Aims) -> None:
    with socket.socket(socket.AF_UNIX) as out:
        out.connect("\0" + aims["abstract"])


def connects_by_path(aims: Aims) -> None:
    with socket.socket(socket.AF_UNIX) as out:
        out.connect(aims["path"])


def sends_by_path(aims: Aims) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(b"x", aims["datagrams"])


def sends_by_path_from_a_pair(aims: Aims) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.sendto(b"x", aims["datagrams"])


ATTACKS: tuple[Callable[[Aims], None], ...] = (
    reads_a_secret,
    lists_a_home,
    reads_another_model,
    reads_through_its_fork_server,
    reads_an_environment,
    reads_a_memory,
    looks_at_descriptors,
    writes_into_the_model,
    adds_to_the_model,
    removes_from_the_model,
    renames_in_the_model,
    changes_rights,
    changes_rights_of_a_secret,
    changes_times,
    truncates,
    fills_temporary_folders,
    leaves_memory,
    leaves_semaphores,
    leaves_messages,
    leaves_a_named_queue,
    signals_the_validator,
    signals_the_fork_server,
    signals_a_group,
    signals_by_descriptor,
    signals_by_ownership,
    traces_a_process,
    reads_anothers_memory,
    limits_another,
    slows_another,
    keeps_a_capability,
    starts_a_program,
    forks,
    connects,
    sends_a_datagram,
    opens_a_raw_link,
    connects_abstractly,
    connects_by_path,
    sends_by_path,
    sends_by_path_from_a_pair,
)


def uses_a_thread(_aims: Aims) -> None:
    thread = threading.Thread(target=time.sleep, args=(0,))
    thread.start()
    thread.join()


def reads_the_model(aims: Aims) -> None:
    (Path(aims["model"]) / "model.safetensors").read_bytes()


def reads_the_machine(_aims: Aims) -> None:
    Path("/proc/self/status").read_text()
    Path("/proc/meminfo").read_text()
    Path("/dev/urandom").open("rb").close()
    Path(os.devnull).write_bytes(b"x")


def imports_more(_aims: Aims) -> None:
    importlib.import_module("wave")


def signals_itself(_aims: Aims) -> None:
    signal.raise_signal(0)
    os.kill(os.getpid(), 0)


def pairs_sockets(_aims: Aims) -> None:
    for one in socket.socketpair():
        one.close()


NEEDS: tuple[Callable[[Aims], None], ...] = (
    uses_a_thread,
    reads_the_model,
    reads_the_machine,
    imports_more,
    signals_itself,
    pairs_sockets,
)


def tries(raw: bytes, _samples: BinaryIO, answer: socket.socket) -> None:
    """Try everything, and answer which succeeded."""
    folder = Request.model_validate_json(raw).model
    aims = json.loads((folder / "aims.json").read_text())
    done = [attack.__name__ for attack in (*ATTACKS, *NEEDS) if _succeeds(attack, aims)]
    answer.sendall(encode_rejection(ModelRejected(Reason.HEADER, json.dumps(done))))


def _succeeds(attack: Callable[[Aims], None], aims: Aims) -> bool:
    try:
        attack(aims)
    except OSError:
        return False
    return True


def tells_what_it_holds(raw: bytes, _samples: BinaryIO, answer: socket.socket) -> None:
    """Answer its limits, its death signal, and how many descriptors are open beside stdin, stdout and stderr."""
    limit(Request.model_validate_json(raw))
    death = ctypes.c_int()
    _libc("prctl", 2, ctypes.byref(death), 0, 0, 0)  # PR_GET_PDEATHSIG
    descriptors = sum(int(path.name) > 2 for path in Path("/proc/self/fd").iterdir()) - 1  # one lists them
    limits = [
        resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU)
    ]
    told = [death.value, descriptors, limits, os.getsid(0) == os.getpid()]
    answer.sendall(encode_rejection(ModelRejected(Reason.HEADER, json.dumps(told))))


def tells_its_ipc(_raw: bytes, _samples: BinaryIO, answer: socket.socket) -> None:
    told = str(Path("/proc/self/ns/ipc").readlink())
    answer.sendall(encode_rejection(ModelRejected(Reason.HEADER, told)))


def burns_time(_raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
    while True:
        pass


def reaches_for_more(raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    (Request.model_validate_json(raw).model.parent / "more").write_text("x")


def sends_a_gigabyte(_raw: bytes, _samples: BinaryIO, answer: socket.socket) -> None:
    for _ in range(1 << 14):
        answer.sendall(b"\0" * (1 << 16))


def sends_for_ever(_raw: bytes, _samples: BinaryIO, answer: socket.socket) -> None:
    """Say a byte at a time, slowly: never too much before the deadline."""
    while True:
        answer.sendall(b"\0")
        time.sleep(0.01)


def answers_then_crashes(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    answers(raw, samples, answer)
    os.kill(os.getpid(), signal.SIGSEGV)


def closes_everything(_raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    os.closerange(0, 1024)
    while True:
        signal.pause()


def ignores_signals(_raw: bytes, _samples: BinaryIO, _answer: socket.socket) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()


def floods_its_output(raw: bytes, samples: BinaryIO, answer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            os.write(1, b"x" * (1 << 20))
    answers(raw, samples, answer)
