"""Attacks by what is committed, and when: texts in reserve, texts that are none, and repositories open too early."""

import asyncio
import re
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fakes import model
from hostile_world import GOOD, KILOBYTES, THIEF, two
from outside import Attack, Found, Guard
from subnet import NETUID, Subnet, commitment, subnet

from pretrain.chain import Snapshot, ledger, runtime, state
from pretrain.chain.calls import Call, CommitmentField, SetCommitment, sign
from pretrain.chain.fields import Fields
from pretrain.commitment import Entry
from pretrain.errors import Refused
from pretrain.hub.folder import FolderHub, create
from pretrain.publish import Publication, publish
from pretrain.schedule import Schedule
from pretrain.types import Block, CompetitionId, Hotkey, Revision

ANYTHING = re.compile(".+")


def commit(net: Subnet, made: Fields, block: int) -> None:
    net.at(block - 1)
    keys, chain = net.pairs[2], net.chains[2]
    asyncio.run(chain.head())
    with ledger.reading(net.path) as database:
        nonce = runtime.next_nonce(database, keys.address)
    call = Call(chain.genesis.hash.hex(), NETUID, keys.address, nonce, Block(block), SetCommitment(made))
    asyncio.run(chain.submit(sign(call, keys.hotkey)))


def raw(text: str) -> Fields:
    return (CommitmentField("Raw", text.encode().hex()),)


def text_of(net: Subnet, name: str = "model") -> str:
    return commitment(net.pairs[2].address, name)


def entries_at(net: Subnet, sync: int) -> Sequence[Entry]:
    net.at(sync + 3)
    return asyncio.run(net.chains[2].snapshot(20)).entries


def held(root: Path, form: str) -> Found:
    """Commit well at block 5, and at block 13 in another form that shall keep that or a later place."""
    net = subnet(root)
    text = text_of(net, "other")
    data = text.encode().hex()
    forms: dict[str, Fields] = {
        "timelocked": (CommitmentField("TimelockEncrypted", data, 1),),
        "large": (CommitmentField("BigRaw", data),),
        "several": (*raw(text), CommitmentField("None")),
        "branch": raw(text.replace("0" * 40, "main")),
        "path": raw(text.replace("miner:", "..:")),
    }
    commit(net, raw(text_of(net)), 5)
    commit(net, forms[form], 13)
    return Found("an entry" if entries_at(net, 20) else "no entry")


def any_field(fields: Fields) -> bytes | None:
    """Read whatever field holds bytes."""
    return bytes.fromhex("".join(field.data for field in fields))


def swaps_its_text(root: Path) -> Found:
    """A new text after the sync block, read while the block of the old one is known already."""
    net = subnet(root)
    commit(net, raw(text_of(net, "old")), 13)
    commit(net, raw(text_of(net, "new")), 21)
    (entry,) = entries_at(net, 20)
    return Found(f"the {entry.commitment.name} text at block {entry.block}")


def in_two_calls(database: sqlite3.Connection, block: Block) -> dict[Hotkey, tuple[Block, Fields]]:
    """Read blocks at a block, and texts as they are now."""
    now = NEWEST(database, Block(10**9))
    return {hotkey: (made, now[hotkey][1]) for hotkey, (made, _) in NEWEST(database, block).items()}


NEWEST = state.newest_commitments


def knows_the_test(root: Path) -> Found:
    """A commitment made when the hash that its samples follow from was known."""
    stage = two(root)
    stage.world.commit(THIEF, 99, model("learnt", prose=0.1, code=0.1))
    return stage.found(stage.play(100))


def at_once(snapshot: Snapshot, _: Schedule, __: CompetitionId) -> tuple[Entry, ...]:
    return snapshot.entries


def opens_too_early(root: Path) -> Found:
    """A miner whose repository is opened between upload and commitment."""
    net, folder = subnet(root), root / "model"
    folder.mkdir()
    for name, content in GOOD.items():
        (folder / name).write_bytes(content)
    create(root / "hub")
    hotkey, chain = net.pairs[2].address, net.chains[2]
    net.clock.tick = 0.001
    miner = Publication(folder, "alice/model", CompetitionId(1), hotkey, asyncio.run(chain.network()), NETUID)
    work = publish(miner, chain, OpensAtOnce(root / "hub", "token"), root / "journal", lambda _: None, poll=0.0)
    try:
        asyncio.run(work)
    except Refused:
        return Found("refused")
    return Found("committed" if asyncio.run(chain.commitment()) else "lost")


class OpensAtOnce(FolderHub):
    """A hub on which what is uploaded can be read by all."""

    async def publish(self, folder: Path, repo: str) -> Revision:
        revision = await super().publish(folder, repo)
        await self.open(repo)
        return revision


async def unasked(*_: object) -> None:
    """Let the repository be."""


ONE_FIELD = Guard("fields.clear: one Raw field", {"pretrain.chain.view.fields.clear": any_field})
CHAIN_ATTACKS = (
    *(
        Attack(name, "chain", "no entry", 0, (guard,), "an entry", partial(held, form=form))
        for form, name, guard in (
            ("timelocked", "a timelocked commitment, opened when threatened", ONE_FIELD),
            ("large", "the text in a field that the chain shows later", ONE_FIELD),
            ("several", "a text beside another field", ONE_FIELD),
            (
                "branch",
                "a branch in place of a revision",
                Guard("commitment.decode: revision", {"pretrain.commitment._REVISION": ANYTHING}),
            ),
            (
                "path",
                "a repository named `../model`",
                Guard("commitment.decode: namespace", {"pretrain.commitment._PART": ANYTHING}),
            ),
        )
    ),
    Attack(
        "a new text under the block of the old one", "chain", "the old text at block 13", 0,
        (Guard("view.snapshot: one block", {"pretrain.chain.view.newest_commitments": in_two_calls}),),
        "the new text at block 13", swaps_its_text,
    ),
    Attack(
        "committed when its samples were known", "eligibility", "no entry", KILOBYTES,
        (
            Guard(
                "selection.eligible: eval_block_delay",
                dict.fromkeys(("pretrain.selection.eligible", "pretrain.describe.eligible"), at_once),
            ),
        ),
        "champion", knows_the_test,
    ),
    Attack(
        "a repository that was public before its commitment", "publication", "refused", 0,
        (Guard("publish._refuse_public", {"pretrain.publish._refuse_public": unasked}),), "committed", opens_too_early,
    ),
)  # fmt: skip
