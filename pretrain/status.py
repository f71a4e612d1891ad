"""What a daemon is doing right now, in one small JSON file that anybody may read at any time."""

import json
from pathlib import Path

FILE = "status.json"

Fact = str | int | float | bool | None


def write_status(folder: Path, **facts: Fact) -> None:
    """Replace ``status.json`` in a folder; a reader finds the old facts or the new ones, never a part."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{FILE}.tmp"
    draft.write_text(json.dumps(facts) + "\n")
    draft.replace(folder / FILE)


def read_status(folder: Path) -> dict[str, Fact]:
    """Return the facts last written; empty when there are none yet."""
    try:
        facts: dict[str, Fact] = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return {}
    return facts
