"""From an entry of `sources` in a competition file to the source that it describes."""

from pathlib import Path

from pretrain.data import Source
from pretrain.data.held_out import Split
from pretrain.data.stdlib import open_stdlib
from pretrain.data.text_files import open_files
from pretrain.errors import ConfigError
from pretrain.schedule import UNPINNED, FilesSource, ParquetSource, SourceRules, StdlibSource


def open_source(name: str, spec: SourceRules, *, root: Path, split: Split | None = None) -> Source:
    """Return the source that the competition file calls ``name``; paths in it are relative to ``root``.

    ``split`` asks for another side than the entry's own: a miner trains on the side that nobody is judged on. Raises
    ConfigError for a source that cannot be opened, and for one that is not what the file pins: the entry's digest is
    that of its own side, so the other side is taken as it is.
    """
    if isinstance(spec, ParquetSource):
        raise ConfigError(
            f"source {name}: kind {spec.kind} ({spec.repo}) is not built in this version, hub datasets come with a"
            " later one; use kind files, stdlib-prose or stdlib-code"
        )
    try:
        source = _open(spec, root, split or spec.split)
    except ConfigError as error:
        raise ConfigError(f"source {name}: {error}") from error
    if spec.digest not in (UNPINNED, source.digest) and split in (None, spec.split):
        mend = (
            "use the Python version that it was pinned with"
            if isinstance(spec, StdlibSource)
            else "use the files that it was pinned with, or pin the new digest"
        )
        raise ConfigError(
            f"source {name}: its texts have digest {source.digest}, but the competition file pins {spec.digest}; {mend}"
        )
    return source


def _open(spec: StdlibSource | FilesSource, root: Path, split: Split) -> Source:
    if isinstance(spec, StdlibSource):
        return open_stdlib(spec.kind, split)
    return open_files(root / spec.path, spec.column, split)
