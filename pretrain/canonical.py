"""One text for one value, so that two machines can compare digests of what they mean."""

import hashlib
import json
from collections.abc import Mapping

from pretrain.types import Digest


def digest_of(value: object) -> Digest:
    """Return lower-case hex of sha256 over the canonical JSON of a value made of JSON types."""
    return Digest(hashlib.sha256(text(value).encode()).hexdigest())


def text(value: object) -> str:
    """Return canonical JSON: keys sorted, no spaces, floats as Python's shortest repr, ASCII; ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def without_local_paths(value: object) -> object:
    """Drop ``path`` beside a pinned ``digest``: where a file lies on one machine is no rule, what it holds is."""
    if isinstance(value, Mapping):
        digest = value.get("digest")
        pinned = isinstance(digest, str) and digest != "unpinned"
        return {key: without_local_paths(part) for key, part in value.items() if not (pinned and key == "path")}
    if isinstance(value, list | tuple):
        return [without_local_paths(part) for part in value]
    return value
