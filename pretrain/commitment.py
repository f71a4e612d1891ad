"""What a miner writes on chain: at most 128 bytes that name a model and bind it to one hotkey (protocol section 2)."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision

MAX_BYTES = 128
_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{40}", re.ASCII)
_COMPETITION = re.compile(r"0|[1-9][0-9]?", re.ASCII)
_FORM = "namespace:name:revision:secure_hash:competition_id"


class File(Protocol):
    """What the content digest needs of a file."""

    @property
    def name(self) -> str:
        """The path inside the repository."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def sha256(self) -> str:
        """Lower-case hex, 64 digits."""


@dataclass(frozen=True, order=True)
class Commitment:
    """A model as named on chain."""

    namespace: str
    name: str
    revision: Revision
    secure_hash: Digest
    competition: CompetitionId

    @property
    def repo(self) -> str:
        """``namespace/name``, as hubs write it."""
        return f"{self.namespace}/{self.name}"

    def encode(self) -> str:
        """Return the text for the chain; raises ValueError when a part breaks the form or it is over 128 bytes."""
        text = ":".join((self.namespace, self.name, self.revision, self.secure_hash, str(self.competition)))
        if decode(text) != self:
            raise ValueError(f"commitment {text!r} does not read back as itself")
        return text


@dataclass(frozen=True, order=True)
class Entry:
    """A commitment with the hotkey that signed it and the block that holds it."""

    hotkey: Hotkey
    block: Block
    commitment: Commitment

    @property
    def competition(self) -> CompetitionId:
        """The competition it was made for."""
        return self.commitment.competition


def decode(text: str) -> Commitment:
    """Read a commitment; raises ValueError with the part, its value and what would be right."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"commitment of {len(text)} characters; at most {MAX_BYTES} fit on chain")
    if not text.isascii():
        raise ValueError(f"commitment {text!r} is not ASCII")
    parts = text.split(":")
    if len(parts) != len(_FORM.split(":")):
        raise ValueError(f"commitment {text!r} has {len(parts)} parts; expected {_FORM}")
    namespace, name, revision, secure_hash, competition = parts
    for field, value in (("namespace", namespace), ("name", name)):
        if not _PART.fullmatch(value):
            raise ValueError(f"{field} {value!r}: letters, digits, '.', '_' and '-', a letter or digit at both ends")
    if not _REVISION.fullmatch(revision):
        raise ValueError(f"revision {revision!r}: expected 40 lower-case hex digits")
    if not _is_canonical_sha256(secure_hash):
        raise ValueError(f"secure_hash {secure_hash!r}: expected the canonical base64 of a sha256, 44 characters")
    if not _COMPETITION.fullmatch(competition):
        raise ValueError(f"competition_id {competition!r}: expected a decimal from 0 to 99 without leading zero")
    return Commitment(namespace, name, Revision(revision), Digest(secure_hash), CompetitionId(int(competition)))


def content_digest(files: Iterable[File]) -> Digest:
    """Return base64 of sha256 over ``name NUL size NUL sha256 newline`` for each file, names sorted as bytes."""
    lines = sorted((file.name.encode(), file.size, file.sha256) for file in files)
    body = b"".join(b"%b\0%d\0%b\n" % (name, size, sha256.encode("ascii")) for name, size, sha256 in lines)
    return Digest(base64.b64encode(hashlib.sha256(body).digest()).decode("ascii"))


def secure_hash(content: Digest, hotkey: Hotkey) -> Digest:
    """Bind a content digest to one hotkey: a copied text is worthless to another."""
    return Digest(base64.b64encode(hashlib.sha256(f"{content}{hotkey}".encode("ascii")).digest()).decode("ascii"))


def _is_canonical_sha256(text: str) -> bool:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == hashlib.sha256().digest_size and base64.b64encode(raw).decode("ascii") == text
