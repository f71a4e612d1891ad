"""A hub that serves whatever bytes it was given under whatever names, and counts what is read."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pretrain.errors import HubUnavailable
from pretrain.hub import RemoteFile, names
from pretrain.types import Revision

Files = Mapping[str, bytes]
REPO, REVISION = "alice/model", Revision("a" * 40)


@dataclass
class CountingHub:
    """A hub that says and serves what it was given; a request after ``most_bytes`` or ``most_requests`` fails."""

    files: Files
    twice: str = ""
    """A name that it lists two times."""
    links: frozenset[str] = frozenset()
    """Files that it brings as links to what lies outside the folder."""
    most_bytes: float = math.inf
    most_requests: float = math.inf
    bytes_of: Counter[str] = field(default_factory=Counter)
    """Bytes that were read, by file."""
    read_bytes: int = 0
    requests: int = 0
    escaped: list[Path] = field(default_factory=list)
    """Where it wrote that was not in the folder it was told."""

    async def describe(self, repo: str, revision: Revision) -> tuple[RemoteFile, ...]:  # noqa: ARG002 - there is one
        listed = [name for name in [*self.files, self.twice] if name and names.may_be_of_a_model(name)]
        return tuple(sorted(described(self.files, listed)))

    async def read(self, repo: str, revision: Revision, file: RemoteFile) -> bytes:  # noqa: ARG002
        return self._given(file.name, self.files[file.name])

    async def read_part(
        self,
        repo: str,  # noqa: ARG002
        revision: Revision,  # noqa: ARG002
        file: RemoteFile,
        start: int,
        stop: int,
    ) -> bytes:
        return self._given(file.name, self.files[file.name][start:stop])

    async def fetch(
        self,
        repo: str,  # noqa: ARG002
        revision: Revision,  # noqa: ARG002
        files: Sequence[RemoteFile],
        into: Path,
    ) -> None:
        for file in files:
            self._write(into, file.name, self._given(file.name, self.files[file.name]))

    async def publish(self, folder: Path, repo: str) -> Revision:
        raise AssertionError(f"a validator publishes nothing: {folder} to {repo}")

    async def is_public(self, repo: str) -> bool:
        return repo == REPO

    async def open(self, repo: str) -> None:
        raise AssertionError(f"a validator opens nothing: {repo}")

    def _given(self, name: str, content: bytes) -> bytes:
        self.requests += 1
        self.read_bytes += len(content)
        self.bytes_of[name] += len(content)
        if self.read_bytes > self.most_bytes or self.requests > self.most_requests:
            raise HubUnavailable("this is enough to see that nothing stops the attack")
        return content

    def _write(self, folder: Path, name: str, content: bytes) -> None:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if name in self.links:
            place.symlink_to(folder.with_suffix(".outside"))
        place.write_bytes(content)
        if not place.resolve().is_relative_to(folder.resolve()):
            self.escaped.append(place.resolve())


def described(files: Files, listed: Sequence[str]) -> list[RemoteFile]:
    """Return names, sizes and hashes of files, as a hub knows them."""
    return [RemoteFile(name, len(files[name]), hashlib.sha256(files[name]).hexdigest()) for name in listed]
