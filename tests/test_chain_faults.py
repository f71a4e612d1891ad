"""What can go wrong between the real client and a node: before, while and after a call is sent, and what is then true.

Each row of the table is one fault; the column is the moment it strikes. Whatever happens, a call is on chain once in
the end, and its maker knows its block.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import subnet as embedded
from serving import served
from subnet import Subnet, commitment

from pretrain.chain import ledger, writing
from pretrain.chain.bittensor import BittensorChain
from pretrain.chain.connection import Deadlines
from pretrain.chain.node.faults import Fault, Faults, Kind, When
from pretrain.errors import ChainUnavailable
from pretrain.types import Block

SUBMIT = "author_submitAndWatchExtrinsic"
DEADLINES = Deadlines(opening=5.0, read=1.0, write=1.5, settling=20.0, closing=1.0, first_pause=0.01)

AT_ONCE = "lands at once"
FOUND = "lands, and is found on chain"
NOT_SENT = "is not sent, which is known; lands when it is made again"
AGAIN = "does not land, which is known; lands when it is made again"


@dataclass(frozen=True)
class Row:
    """One fault, and what becomes of a call that it strikes."""

    faults: Callable[[str | None, When], list[Fault]]
    before: str
    """While what it needs is read."""
    during: str | None = None
    """When it reaches the node, which does nothing for it."""
    after: str | None = None
    """When the chain has it, and the answer is on its way."""


def one(kind: Kind, **more: float) -> Callable[[str | None, When], list[Fault]]:
    return lambda method, when: [Fault(kind, method, when, **more)]  # type: ignore[arg-type]


def dropped_and_refused(method: str | None, when: When) -> list[Fault]:
    return [Fault(Kind.DROP, method, when), Fault(Kind.REFUSE, times=2)]


def a_fork(_method: str | None, _when: When) -> list[Fault]:
    """Strikes where the newest block is looked up by number, as before weights; a commitment looks up none."""
    return [Fault(Kind.FORK, "chain_getBlockHash", deep=True)]


TABLE = {
    "the connection drops": Row(one(Kind.DROP), AT_ONCE, AGAIN, FOUND),
    "no answer, the socket stays open": Row(one(Kind.HANG), AT_ONCE, AGAIN, FOUND),
    "bytes that are no JSON": Row(one(Kind.GARBAGE), AT_ONCE, AGAIN, FOUND),
    "half a frame": Row(one(Kind.HALF), AT_ONCE, FOUND, FOUND),
    "a slow answer": Row(one(Kind.SLOW, seconds=0.3), AT_ONCE, AT_ONCE, AT_ONCE),
    "an answer slower than the deadline": Row(one(Kind.SLOW, seconds=3.0), AT_ONCE, AGAIN, FOUND),
    "reconnects are refused": Row(dropped_and_refused, NOT_SENT, AGAIN, FOUND),
    "an error answer": Row(one(Kind.ERROR), AT_ONCE, AGAIN, FOUND),
    "a head of blocks ago": Row(one(Kind.BEHIND, blocks=3), AT_ONCE, AT_ONCE, AT_ONCE),
    "a hash of another fork": Row(a_fork, NOT_SENT),
    "pruned state": Row(one(Kind.PRUNED), AT_ONCE, AGAIN, FOUND),
}
FORK = "a hash of another fork"
MOMENTS = ("before", "during", "after")
CASES = [(name, moment) for name in TABLE if name != FORK for moment in MOMENTS]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PAUSE", 0.0)


def made(folder: Path, **rules: float) -> Subnet:
    subnet = embedded.subnet(folder, embedded.parameters(None, **rules))
    subnet.clock.tick = 0.0015  # a tenth of a block at each look
    subnet.at(40)
    return subnet


async def make(
    chain: BittensorChain, write: Callable[[], Awaitable[Block]], faults: list[Fault], source: Faults
) -> str:
    """Make a call that meets faults, again if it has to be, and return what became of it."""
    await chain.head()
    for fault in faults:
        source.add(fault)
    try:
        await write()
    except ChainUnavailable as error:
        await write()
        return AGAIN if "did not land" in str(error) else NOT_SENT
    finally:
        await chain.close()
    return AT_ONCE


def calls_of(subnet: Subnet, hotkey: str) -> int:
    with ledger.reading(subnet.path) as database:
        return int(database.execute("SELECT COUNT(*) FROM calls WHERE signer = ?", (hotkey,)).fetchone()[0])


@pytest.mark.parametrize(("name", "moment"), CASES)
def test_a_commitment_is_on_chain_once_whatever_happens(
    name: str, moment: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pretrain.chain")
    subnet, source, row = made(tmp_path), Faults(), TABLE[name]
    miner = subnet.pairs[2]
    faults = row.faults(None if moment == "before" else SUBMIT, When.AFTER if moment == "after" else When.BEFORE)
    with served(subnet.path, subnet.clock, source) as endpoint:
        chain = BittensorChain(endpoint, embedded.NETUID, miner, deadlines=DEADLINES)
        outcome = asyncio.run(make(chain, lambda: chain.commit(commitment(miner.address)), faults, source))
    if outcome == AT_ONCE and "all the same" in caplog.text:
        outcome = FOUND

    gc.collect()
    assert "never retrieved" not in caplog.text  # nobody is shown a traceback of what was only a lost connection
    assert (outcome, calls_of(subnet, miner.address)) == (getattr(row, moment), 1)
    assert {kind for kind, _ in source.met} >= {fault.kind for fault in faults if fault.kind is not Kind.REFUSE}


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        (FORK, "before"),
        ("pruned state", "before"),
        ("the connection drops", "during"),
        ("the connection drops", "after"),
        ("half a frame", "after"),
        ("an error answer", "during"),
        ("an error answer", "after"),
    ],
)
def test_a_row_of_weights_is_on_chain_once_whatever_happens(
    name: str, moment: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pretrain.chain")
    subnet, source, row = made(tmp_path), Faults(), TABLE[name]
    validator, miner = subnet.pairs[0], subnet.pairs[2]
    faults = row.faults(None if moment == "before" else SUBMIT, When.AFTER if moment == "after" else When.BEFORE)
    with served(subnet.path, subnet.clock, source) as endpoint:
        chain = BittensorChain(endpoint, embedded.NETUID, validator, deadlines=DEADLINES)
        outcome = asyncio.run(make(chain, lambda: chain.set_weights({miner.address: 1.0}, 0), faults, source))
    if outcome == AT_ONCE and "all the same" in caplog.text:
        outcome = FOUND

    assert (outcome, calls_of(subnet, validator.address)) == (getattr(row, moment), 1)


READS = ("chain_getFinalizedHead", "chain_getBlockHash", "state_call", "state_getKeysPaged", "state_queryStorageAt")


SLOW = ("no answer, the socket stays open", "a slow answer", "an answer slower than the deadline")


@pytest.mark.parametrize("name", TABLE)
def test_a_snapshot_is_the_same_whatever_happens_on_the_way(name: str, tmp_path: Path) -> None:
    """A single fault at any of its reads, in turn: one endpoint is asked twice."""
    subnet, source = made(tmp_path), Faults()

    async def scenario(endpoint: str) -> None:
        chain = BittensorChain(endpoint, embedded.NETUID, subnet.pairs[2], deadlines=DEADLINES)
        await chain.commit(commitment(subnet.pairs[2].address))
        subnet.clock.tick = 0.0
        subnet.at(213)  # well within a window, also for a node that is behind
        healthy = await chain.snapshot(25)
        for method in READS[2:4] if name in SLOW else READS:
            again = BittensorChain(endpoint, embedded.NETUID, deadlines=DEADLINES)
            await again.network()
            fault = TABLE[name].faults(method, When.BEFORE)[0]
            source.add(fault)
            assert await again.snapshot(25) == healthy
            assert source.met.pop()[1] == fault.method
            await again.close()
        await chain.close()
        assert len(healthy.entries) == 1

    with served(subnet.path, subnet.clock, source) as endpoint:
        asyncio.run(scenario(endpoint))


def test_a_second_endpoint_answers_when_the_first_is_gone_and_another_chains_does_not(tmp_path: Path) -> None:
    subnet = made(tmp_path / "one")
    other = made(tmp_path / "two", burn=1)
    assert subnet.chains[0].genesis.hash != other.chains[0].genesis.hash

    async def scenario(gone: str, there: str, wrong: str) -> None:
        chain = BittensorChain(gone, embedded.NETUID, subnet.pairs[2], fallback=[there], deadlines=DEADLINES)
        assert (await chain.network()).genesis == subnet.chains[0].genesis.hash.hex()
        await chain.close()
        mixed = BittensorChain(there, embedded.NETUID, subnet.pairs[2], fallback=[wrong], deadlines=DEADLINES)
        await mixed.network()
        await mixed.close()  # the next call goes to the next endpoint, which is of another chain, and then back
        assert mixed._connection.endpoint == wrong  # noqa: SLF001 - where it goes next
        assert (await mixed.network()).genesis == subnet.chains[0].genesis.hash.hex()
        await mixed.close()

    with served(subnet.path, subnet.clock) as there, served(other.path, other.clock) as wrong:
        asyncio.run(scenario("ws://127.0.0.1:1", there, wrong))
