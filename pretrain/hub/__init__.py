"""The model hub as a miner and a validator see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pretrain.types import Revision


@dataclass(frozen=True, order=True)
class RemoteFile:
    """A file of one revision, known before it is downloaded."""

    name: str
    """Path inside the repository."""
    size: int
    """In bytes."""
    sha256: str
    """Lower-case hex of its content."""


class Hub(Protocol):
    """Repositories of files at immutable revisions.

    Reads are anonymous: a repository that needs a token is not readable. Every method raises HubUnavailable when the
    hub does not answer; reads raise ModelRejected(UNAVAILABLE) when it answers that the repository or revision is
    private, gated, gone or somewhere else; writes raise Refused when it says no.
    """

    async def describe(self, repo: str, revision: Revision) -> tuple[RemoteFile, ...]:
        """List the files of a revision that may belong to a model, ordered by name, without a token.

        They are config.json, model.safetensors.index.json and every *.safetensors, at the top level and with a name of
        plain letters. Nothing else is listed, read or fetched: a hub may have to read a file to know its sha256.
        """

    async def read(self, repo: str, revision: Revision, file: RemoteFile) -> bytes:
        """Return a small file's bytes, at most ``file.size`` of them, without a token; its sha256 is checked."""

    async def read_part(self, repo: str, revision: Revision, file: RemoteFile, start: int, stop: int) -> bytes:
        """Return bytes ``start`` to ``stop`` of a file, without a token; fewer only where the file ends.

        No digest covers a part, so it is a first look alone: what it shows is looked at again in the whole file.
        """

    async def fetch(self, repo: str, revision: Revision, files: Sequence[RemoteFile], into: Path) -> None:
        """Download just these files into a folder, each checked against its sha256 while it is written."""

    async def publish(self, folder: Path, repo: str) -> Revision:
        """Upload a folder's files into a repository that is (made) private, and return the new revision."""

    async def is_public(self, repo: str) -> bool:
        """Whether the repository exists and is readable without a token."""

    async def open(self, repo: str) -> None:
        """Make the repository readable without a token."""
