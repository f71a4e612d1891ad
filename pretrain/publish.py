"""How a miner publishes: private upload, commitment, read back, open (protocol.md section 2).

The order protects the miner: what can be read before its commitment stands can be committed by somebody else first. An
interruption anywhere is followed by the same call again; every step looks whether it was done before it is done.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pretrain.chain import IN_FLIGHT, Chain, Network
from pretrain.commitment import Commitment, Entry, content_digest, secure_hash
from pretrain.errors import ChainUnavailable, ConfigError, Refused
from pretrain.hub import Hub
from pretrain.models.files import index_file, local_files, model_files
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision

JOURNAL = "publication.json"
_ANY_REVISION = Revision("0" * 40)

Tell = Callable[[str], None]
"""Says one line to the miner."""


@dataclass(frozen=True)
class Publication:
    """What is to be published, by whom, and where."""

    folder: Path
    """The model: config.json and safetensors."""
    repo: str
    competition: CompetitionId
    hotkey: Hotkey
    network: Network
    netuid: int


class Journal(BaseModel):
    """What is remembered between two tries, in a file beside the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    """As it was called; the genesis alone says which chain it is."""
    genesis: str
    netuid: int
    hotkey: Hotkey
    repo: str
    competition: CompetitionId
    content: Digest
    revision: Revision | None = None
    """Set when the upload is done."""
    sent: Block | None = None
    """The newest block before a commitment was sent, until it is known what became of it."""
    until: Block | None = None
    """The last block that it can still get into, as the first look after it was lost has found."""
    block: Block | None = None
    """Set when the commitment reads back."""


async def publish(
    publication: Publication, chain: Chain, hub: Hub, journal: Path, tell: Tell, *, poll: float = 1.0
) -> Entry:
    """Publish a model and return its entry; called again after an interruption it goes on where it was.

    While the chain says that it is too early, its head is looked at every ``poll`` seconds.

    Raises Refused while the repository is readable without a token before its commitment stands, and when the hotkey
    already holds this digest in this competition by another repository; ConfigError when the journal is of another
    chain, subnet or hotkey, or a name is too long for a commitment; ModelRejected when the folder holds no model;
    Unavailable when the world does not answer.
    """
    content = await _content(publication)
    digest = secure_hash(content, publication.hotkey)
    _commitment(publication, _ANY_REVISION, digest)
    refuse_another_place(journal, publication)
    tell(
        f"network {publication.network}, netuid {publication.netuid}: {publication.hotkey} enters competition"
        f" {publication.competition} with {publication.repo}"
    )
    held = await _arrived(chain, _Model(publication.competition, digest), journal, tell, poll)
    old = read_journal(journal)
    if held is not None and old is not None and old.sent is not None and old.content == content:
        _write(journal, old.model_copy(update={"sent": None, "until": None, "block": held.block}))
    if held is None:
        await _refuse_public(hub, publication.repo)
        begun = await _upload(publication, hub, journal, _begin(journal, publication, content), tell)
        text = _commitment(publication, begun.revision or _ANY_REVISION, digest).encode()
        block = None
        while block is None:
            await _refuse_public(hub, publication.repo)  # also after a wait: it must be private when it is committed
            _write(journal, begun.model_copy(update={"sent": (await chain.head()).block}))
            block = await _commit(chain, text, tell, poll, not_landed=lambda: _write(journal, begun))
        held = await chain.commitment()
        if held is None or held.block != block:
            raise Refused(f"the commitment of block {block} was replaced by another one of {publication.hotkey}")
        _write(journal, begun.model_copy(update={"block": block}))
        tell(f"committed at block {block}")
    elif held.commitment.repo != publication.repo and await hub.is_public(held.commitment.repo):
        raise Refused(
            f"{held.hotkey} holds this very model in competition {held.competition} since block {held.block}"
            f" ({held.commitment.repo}); committing it again would only lose that block"
        )
    await _open(hub, held, content, tell)
    return held


@dataclass(frozen=True)
class _Model:
    """What an entry is looked for by."""

    competition: CompetitionId
    secure_hash: Digest


async def _arrived(chain: Chain, model: _Model, journal: Path, tell: Tell, poll: float) -> Entry | None:
    """Return the entry of this very model, also one whose commitment was sent in an earlier try and still arrives.

    Sent again it would land twice, and the later block is the one that counts. Whatever was sent was signed before the
    first look here, so it lands within ``IN_FLIGHT`` blocks of it. The head is read before the entry: what it has
    finalised the entry shows.
    """
    told = False
    while True:
        head = await chain.head()
        held = await _held(chain, model)
        old = read_journal(journal)
        if held is not None or old is None or old.sent is None:
            return held
        until = old.until or Block(max(old.sent, head.block) + IN_FLIGHT)
        if old.until is None:
            _write(journal, old.model_copy(update={"until": until}))
        if head.finalized >= until:
            return None
        if not told:
            tell(f"a commitment sent after block {old.sent} may still arrive; looking until block {until} is finalised")
            told = True
        await asyncio.sleep(poll)


async def held_entry(publication: Publication, chain: Chain) -> Entry | None:
    """Return the hotkey's entry when it is this very model in this competition; None when it is another, or none."""
    digest = secure_hash(await _content(publication), publication.hotkey)
    return await _held(chain, _Model(publication.competition, digest))


async def _held(chain: Chain, model: _Model) -> Entry | None:
    held = await chain.commitment()
    return held if held and _Model(held.competition, held.commitment.secure_hash) == model else None


async def _content(publication: Publication) -> Digest:
    """Return the content digest, read from every byte of the model."""
    return content_digest(await asyncio.to_thread(local_files, publication.folder))


async def _upload(publication: Publication, hub: Hub, journal: Path, begun: Journal, tell: Tell) -> Journal:
    """Upload unless the journal says that it was done; what is written there is on the hub."""
    if begun.revision is not None:
        return begun
    revision = await hub.publish(publication.folder, publication.repo)
    done = begun.model_copy(update={"revision": revision})
    _write(journal, done)
    tell(f"uploaded to {publication.repo} (private), revision {revision}")
    return done


async def _commit(chain: Chain, text: str, tell: Tell, poll: float, *, not_landed: Callable[[], None]) -> Block | None:
    """Commit and return the block; None after a wait, when the chain said that it was too early."""
    try:
        return await chain.commit(text)
    except ChainUnavailable as error:
        if error.not_landed:
            not_landed()
        raise
    except Refused as error:
        not_landed()
        if not error.wait_blocks:
            raise
        tell(f"{error}; waiting {error.wait_blocks} blocks")
        await _wait(chain, error.wait_blocks, poll)
        return None


async def _wait(chain: Chain, blocks: int, poll: float) -> None:
    """Look at the head until it is so many blocks further; no chain tells its blocks by itself."""
    until = (await chain.head()).block + blocks
    while (await chain.head()).block < until:  # noqa: ASYNC110 - another process makes the blocks
        await asyncio.sleep(poll)


async def _open(hub: Hub, held: Entry, content: Digest, tell: Tell) -> None:
    """Open the committed repository, and see that strangers now read from it what was committed."""
    repo, revision = held.commitment.repo, held.commitment.revision
    await hub.open(repo)
    described = await hub.describe(repo, revision)
    index = index_file(described)
    found = content_digest(model_files(described, await hub.read(repo, revision, index) if index else None))
    if found != content:
        raise Refused(f"{repo} at {revision} holds content {found}, but {content} was committed; it will be refused")
    tell(f"{repo} is open; it is judged when its commitment of block {held.block} is old enough")


async def _refuse_public(hub: Hub, repo: str) -> None:
    if await hub.is_public(repo):
        raise Refused(
            f"{repo} is readable without a token, so that others could commit what is in it first;"
            " publish to a new repository"
        )


def _commitment(publication: Publication, revision: Revision, digest: Digest) -> Commitment:
    """Return the commitment; raises ConfigError when it does not fit, before anything is uploaded."""
    namespace, _, name = publication.repo.partition("/")
    commitment = Commitment(namespace, name, revision, digest, publication.competition)
    try:
        commitment.encode()
    except ValueError as error:
        raise ConfigError(f"--repo {publication.repo}: {error}") from error
    return commitment


def refuse_another_place(path: Path, publication: Publication) -> None:
    """Raise ConfigError when the journal is of another chain, subnet or hotkey, even when all of it is done.

    A folder that served one chain must not reach another by a forgotten flag. Chains are told apart by their genesis: a
    chain that was made anew under the old name is another one, and one that is reached by another name is the same.
    """
    old = read_journal(path)
    if old is None:
        return
    here = publication.network
    if old.genesis != here.genesis:
        then = f"{old.network} with genesis {old.genesis[:16]}"
        raise ConfigError(f"{path} is of network {then}, now {here} is asked for; use another --dir for it")
    for field, now in (("netuid", publication.netuid), ("hotkey", publication.hotkey)):
        if getattr(old, field) != now:
            was = getattr(old, field)
            raise ConfigError(f"{path} is of {field} {was}, now {now} is asked for; use another --dir for it")


def _begin(path: Path, publication: Publication, content: Digest) -> Journal:
    """Return the journal to go on with: the one on disk when it is of this model, else a new one."""
    new = Journal(
        network=publication.network.name,
        genesis=publication.network.genesis,
        netuid=publication.netuid,
        hotkey=publication.hotkey,
        repo=publication.repo,
        competition=publication.competition,
        content=content,
    )
    old = read_journal(path)
    if old is not None and (old.repo, old.content) == (new.repo, new.content):
        return new.model_copy(update={"revision": old.revision})
    _write(path, new)
    return new


def read_journal(path: Path) -> Journal | None:
    """Return what is remembered; None when there is nothing. Raises ConfigError when it cannot be read."""
    try:
        return Journal.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ConfigError(
            f"{path} is not a publication's journal of this version, which names its chain's genesis; remove it to"
            " begin anew: what is committed already is found on chain"
        ) from error


def _write(path: Path, journal: Journal) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(journal.model_dump_json(indent=2) + "\n")
    draft.replace(path)
