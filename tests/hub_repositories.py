"""What the loopback hub holds: tokens, repositories with their commits, and the storage of large files."""

import hashlib
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

LARGE = 1000
"""Bytes from which a file is stored as a large one, whatever its name."""


def is_large(name: str, size: int) -> bool:
    """Whether a file goes to the storage of large ones: as the real hub does it with its own ``.gitattributes``."""
    return size >= LARGE or (name.endswith(".safetensors") and size > 0)


@dataclass(frozen=True)
class Blob:
    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """Git's name for it: of a large file, for the pointer that lies in its place."""
        raw = self.content
        if self.large:
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(raw)}\n"
            raw = pointer.encode()
        return hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid


@dataclass
class Repository:
    id: str
    private: bool = True
    gated: str | bool = False
    disabled: bool = False
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    """Files by revision; the last one is the head."""
    branches: dict[str, str] = field(default_factory=dict)
    """Revisions by name, beside ``main``."""

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def commit(self, files: dict[str, Blob], number: int) -> str:
        """Add a revision; as in git the same files again make another one."""
        listed = "".join(f"{name} {blob.oid}\n" for name, blob in sorted(files.items()))
        text = f"{self.id} {number} {[*self.commits][-1:]}\n{listed}"
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = files
        return sha

    def at(self, revision: str) -> dict[str, Blob] | None:
        return self.commits.get(self.resolved(revision))

    def resolved(self, revision: str) -> str:
        """Return the revision that a name stands for, or itself."""
        return self.head if revision == "main" else self.branches.get(revision, revision)


@dataclass
class State:
    tokens: dict[str, str]
    """Whose namespace a token owns."""
    repositories: dict[str, Repository] = field(default_factory=dict)
    """By name in lower case."""
    renamed: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """The storage of large files, by sha256."""
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """Of files that come up in parts, by sha256 and number."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def make(self, repo: str, *, private: bool = True) -> Repository:
        made = self.repositories[repo.lower()] = Repository(repo, private)
        self.commit(made, {".gitattributes": Blob(b"*.safetensors filter=lfs\n", large=False)})
        return made

    def commit(self, repository: Repository, files: dict[str, Blob]) -> str:
        for blob in files.values():
            if blob.large:
                self.objects[blob.sha256] = blob.content
        return repository.commit(files, next(self._numbers))

    def publish(self, repo: str, files: dict[str, bytes], plain: Collection[str] = ()) -> str:
        """Make a public repository with these files, as a test needs it; return its revision.

        Those named ``plain`` are git's own, whatever their names and sizes.
        """
        made = self.repositories.get(repo.lower()) or self.make(repo, private=False)
        blobs = {
            name: Blob(content, large=name not in plain and is_large(name, len(content)))
            for name, content in files.items()
        }
        return self.commit(made, made.commits[made.head] | blobs)
