"""Which names of repositories and files a folder may hold: so that none leaves it, and no two are one on any disk."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pretrain.errors import Refused
from pretrain.models.files import CONFIG, INDEX
from pretrain.types import Revision

_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_FILE_PART = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,200}", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{40}", re.ASCII)
_LONGEST = 200


def split_repository(repo: str) -> tuple[str, str]:
    """Return namespace and name; raises ValueError when it is not ``namespace/name`` as a commitment may hold it."""
    namespace, slash, name = repo.partition("/")
    if not slash or len(repo) > _LONGEST or not (_PART.fullmatch(namespace) and _PART.fullmatch(name)):
        raise ValueError(f"repository {repo!r}: expected namespace/name of letters, digits, '.', '_' and '-'")
    return namespace, name


def is_revision(text: str) -> bool:
    """Whether it is 40 lower-case hex digits."""
    return _REVISION.fullmatch(text) is not None


def is_file_name(name: str) -> bool:
    """Whether it is a relative path of plain parts, none of them ``.`` or ``..``."""
    return len(name) <= _LONGEST and all(_FILE_PART.fullmatch(part) for part in name.split("/"))


def may_be_of_a_model(name: str) -> bool:
    """Whether a file may belong to a model (protocol.md section 2): nothing else is listed, or read without a token."""
    return "/" not in name and is_file_name(name) and (name in {CONFIG, INDEX} or name.endswith(".safetensors"))


def as_revision(digest: str) -> Revision:
    """Return the first 40 digits of a hex digest."""
    return Revision(digest[:40])


def list_folder(folder: Path) -> tuple[tuple[str, Path], ...]:
    """Return the name and path of every file under a folder, ordered by name as bytes.

    Raises Refused for a link, something not a plain file, a name with odd characters, two names that differ in case
    alone (one file on some disks), and for a folder with no files.
    """
    found: list[tuple[str, Path]] = []
    for path in sorted(folder.rglob("*")):
        name = PurePosixPath(path.relative_to(folder)).as_posix()
        if path.is_symlink():
            raise Refused(f"{path} is a link: only plain files are published", code="InvalidFile")
        if path.is_dir():
            continue
        if not path.is_file():
            raise Refused(f"{path} is not a plain file", code="InvalidFile")
        if not is_file_name(name):
            raise Refused(f"file name {name!r}: letters, digits, '.', '_' and '-' in each part", code="InvalidFile")
        found.append((name, path))
    _check_distinct(name for name, _ in found)
    if not found:
        raise Refused(f"{folder} holds no file to publish", code="InvalidFile")
    return tuple(sorted(found, key=lambda item: item[0].encode()))


def _check_distinct(names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise Refused(f"files {other!r} and {name!r} differ in case alone", code="InvalidFile")
