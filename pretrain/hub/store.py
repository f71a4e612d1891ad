"""Models on this machine's disk, found by their content digest, so that no content is downloaded twice.

A download goes into a folder of its own and becomes a model by one rename, after size and sha256 of every byte have
been checked here, whatever the hub's client did. Two processes may share a store: the first to finish wins and the
other takes what is there. What a killed process left unfinished is swept at the next start. Room for a download is made
before it begins (``room``); what somebody needs is never dropped (``leases``).
"""

import asyncio
import errno
import logging
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec

from pretrain.commitment import content_digest
from pretrain.errors import EvaluatorUnavailable, HubUnavailable, ModelRejected, Reason
from pretrain.hub import Hub, RemoteFile, leases
from pretrain.hub.checked import check, digest_of
from pretrain.hub.layout import is_model, model_name, models, strangers, sweep_dead, unfinished
from pretrain.hub.leases import Leases
from pretrain.hub.names import is_file_name
from pretrain.hub.room import Budget, Wanted, gb, make_room
from pretrain.hub.unfinished import sync_folder
from pretrain.types import Digest, Revision

log = logging.getLogger("pretrain.store")
P = ParamSpec("P")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOST = {errno.EIO, errno.ENOENT, errno.EBADMSG, errno.EUCLEAN}
"""How a disk says that a sector cannot be read, a file is gone, or its own checksum is wrong."""
_TOLD = 5  # names of foreign things in one line


class ModelStore:
    """A folder of models; opening it sweeps what dead processes left, and reports what is not a store's.

    Every method raises EvaluatorUnavailable when this machine's disk refuses.
    """

    def __init__(self, root: Path, budget: Budget | None = None) -> None:
        self._root = root
        self._budget = budget or Budget()
        with _disk(root):
            self._prepare()
        self._leases = Leases(root)
        self._soon: list[str] = []
        """Names of the models that this step will judge yet, in order."""

    def path(self, digest: Digest) -> Path | None:
        """Return the folder of a model that is here, complete and checked when it came; None when it is not."""
        place = self._root / model_name(digest)
        return place if is_model(place) else None

    async def sound(self, digest: Digest) -> Path | None:
        """Return the folder of a model that is needed and here with every byte as it came; None when it is not.

        What the disk has spoilt, or can no longer read, is removed.
        """
        with _disk(self._root):
            place = self.path(digest)
            if place is None or await asyncio.to_thread(_read_again, place) == digest:
                return place
            log.warning("the bytes of %s have changed on disk, or cannot be read; it is removed", place)
            await asyncio.to_thread(self._remove, place)
            return None

    def keep(self, needed: Collection[Digest], soon: Sequence[Digest] = ()) -> None:
        """Need these until the next call, and nothing of what was fetched before.

        Those needed ``soon``, in this order, are dropped only when there is no other room.
        """
        names = {model_name(digest) for digest in needed}
        self._soon = list(dict.fromkeys(map(model_name, soon)))
        with _disk(self._root):
            self._leases.keep(names)
            here = {name for name in names.union(self._soon) if is_model(self._root / name)}
            leases.mark(self._root, here)

    def release(self, digest: Digest) -> None:
        """Need a model that was fetched no longer; what ``keep`` named stays needed."""
        name = model_name(digest)
        self._leases.give(name)
        self._soon = [other for other in self._soon if other != name]

    async def fetch(self, hub: Hub, repo: str, revision: Revision, files: Sequence[RemoteFile], digest: Digest) -> Path:
        """Return the folder of a model, downloaded unless it is here unspoilt; it is needed until ``release``.

        Raises ModelRejected (FILES: a name that could leave the folder; DIGEST: the files are not those of the digest),
        HubUnavailable when the bytes that came are not those of the files, EvaluatorUnavailable when there is no room
        for them, and what the hub raises. A download that fails or is cancelled leaves nothing.
        """
        wrong = [file.name for file in files if not is_file_name(file.name)]
        if wrong:
            raise ModelRejected(Reason.FILES, f"{repo} at {revision} names a file {wrong[0]!r}")
        if content_digest(files) != digest:
            raise ModelRejected(Reason.DIGEST, f"the files of {repo} at {revision} are not those of {digest}")
        with _disk(self._root), self._taken(digest) as name:
            place = await self.sound(digest) or await self._download(hub, repo, revision, files, name)
            leases.mark(self._root, {name})
            return place

    async def _download(self, hub: Hub, repo: str, revision: Revision, files: Sequence[RemoteFile], name: str) -> Path:
        self._refuse_foreign(self._root / name)
        with unfinished(self._root) as (folder, lock):
            wanted = Wanted(name, sum(file.size for file in files), lock)
            await _to_the_end(make_room, self._root, self._budget, wanted, tuple(self._soon))
            try:
                await hub.fetch(repo, revision, files, folder)
            except HubUnavailable as error:
                _raise_if_full(error)
                raise
            await asyncio.to_thread(check, folder, files)
            return self._settle(folder, name)

    @contextmanager
    def _taken(self, digest: Digest) -> Iterator[str]:
        """Need a model from before one looks whether it is here; no longer when there is an error."""
        name, done = model_name(digest), False
        self._leases.take(name)
        try:
            yield name
            done = True
        finally:
            if not done:
                self._leases.give(name)

    def _prepare(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        sweep_dead(self._root)
        leases.forget_absent(self._root, models(self._root))
        if foreign := strangers(self._root):
            told = ", ".join([*foreign[:_TOLD], *["..."][: len(foreign) - _TOLD]])
            log.warning("%s holds %d things of others, which are left alone: %s", self._root, len(foreign), told)
        free, wanted = shutil.disk_usage(self._root).free, self._budget.min_free
        if free < wanted:
            todo = "models will be dropped, or none downloaded, until more is free or --store.min_free_gb is lower"
            log.warning("the disk of %s has %s free and should keep %s: %s", self._root, gb(free), gb(wanted), todo)

    def _remove(self, place: Path) -> None:
        """Remove a model; nobody finds a part of it meanwhile."""
        with unfinished(self._root) as (folder, _), suppress(FileNotFoundError):
            place.rename(folder / "removed")

    def _refuse_foreign(self, place: Path) -> None:
        """Raise EvaluatorUnavailable, before anything is downloaded, when something else lies where a model would."""
        if (place.is_symlink() or place.exists()) and not is_model(place):
            raise EvaluatorUnavailable(f"{place} is no folder, and in the way of a model: move it away")

    def _settle(self, folder: Path, name: str) -> Path:
        """Make a checked download a model: in one piece with what awaited it, so that no cancelling comes between."""
        place = self._root / name
        try:
            folder.rename(place)
        except OSError:
            if not is_model(place):  # else another process was first, with the same content
                raise
        sync_folder(self._root)
        return place


async def _to_the_end(work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Do blocking work that must not be left behind half done: a cancelled caller waits for its end."""
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _read_again(place: Path) -> Digest | None:
    """Return the content digest of a model on disk; None when the disk has lost a part of it."""
    try:
        return digest_of(place)
    except OSError as error:
        if error.errno not in _LOST:
            raise
        log.warning("%s cannot be read: %s", place, error)
        return None


@contextmanager
def _disk(root: Path) -> Iterator[None]:
    """Say of a failing disk of ours that it is neither the hub's nor the miner's fault."""
    try:
        yield
    except OSError as error:
        todo = "; make room on that disk, or set a lower --store.max_gb" if error.errno in _FULL else ""
        raise EvaluatorUnavailable(f"the model store in {root} cannot be used: {error}{todo}") from error


def _raise_if_full(error: BaseException) -> None:
    """Raise the full disk behind what a hub's client raised: it writes here, and cannot tell whose disk that is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            raise OSError(cause.errno, cause.strerror) from error
        cause = cause.__cause__
