import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from subnet import NETUID, Subnet, parameters, subnet
from tiny import tiny_llama

from pretrain.chain import IN_FLIGHT, Chain, Head, Network, ledger
from pretrain.chain.local import LocalChain
from pretrain.commitment import Commitment, Entry, content_digest, secure_hash
from pretrain.errors import ChainUnavailable, ConfigError, HubUnavailable, ModelRejected, PretrainError, Refused
from pretrain.hub import Hub
from pretrain.hub.folder import FolderHub, create
from pretrain.models.files import local_files
from pretrain.publish import Publication, publish
from pretrain.types import Block, CompetitionId


@dataclass(frozen=True)
class Miner:
    """A miner with a model, on an embedded chain and hub."""

    world: Subnet
    chain: LocalChain
    hub: FolderHub
    publication: Publication
    journal: Path
    lines: list[str] = field(default_factory=list)

    def publish(self, *, chain: Chain | None = None, hub: Hub | None = None) -> Entry:
        work = publish(
            self.publication, chain or self.chain, hub or self.hub, self.journal, self.lines.append, poll=0.0
        )
        return asyncio.run(work)

    def retrained(self, seed: int, repo: str) -> "Miner":
        folder = tiny_llama(self.journal.parent / f"model-{seed}", seed=seed)
        return replace(self, publication=replace(self.publication, folder=folder, repo=repo))

    def committed(self) -> Entry | None:
        return asyncio.run(self.chain.commitment())

    def public(self, repo: str = "alice/model") -> bool:
        return asyncio.run(self.hub.is_public(repo))


@pytest.fixture
def miner(tmp_path: Path) -> Miner:
    world = subnet(tmp_path, parameters(commitment_rate_limit=10))
    world.clock.tick = 0.001  # each look at the clock is a tenth of a block later
    keys, chain = world.pairs[-1], world.chains[-1]
    create(tmp_path / "hub")
    publication = Publication(
        folder=tiny_llama(tmp_path / "model"),
        repo="alice/model",
        competition=CompetitionId(1),
        hotkey=keys.address,
        network=asyncio.run(chain.network()),
        netuid=NETUID,
    )
    hub = FolderHub(tmp_path / "hub", "token")
    return Miner(world, chain, hub, publication, tmp_path / "miner" / "publication.json")


def test_a_model_is_uploaded_committed_and_only_then_opened(miner: Miner) -> None:
    order: list[str] = []
    entry = miner.publish(chain=Traced(miner.chain, order), hub=Traced(miner.hub, order))  # type: ignore[arg-type]
    content = content_digest(local_files(miner.publication.folder))
    assert [name for name in order if name in {"publish", "commit", "open"}] == ["publish", "commit", "open"]
    assert entry == miner.committed()
    assert (entry.competition, entry.commitment.repo) == (1, "alice/model")
    assert entry.commitment.secure_hash == secure_hash(content, miner.publication.hotkey)
    assert miner.public()


def test_the_network_is_told_before_anything_is_done(miner: Miner) -> None:
    class Silent:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was called first")

    with pytest.raises(AssertionError):
        miner.publish(chain=Silent(), hub=Silent())  # type: ignore[arg-type]
    hotkey, genesis = miner.publication.hotkey, miner.chain.genesis.hash.hex()[:16]
    assert miner.lines == [
        f"network file:{miner.world.path} (genesis {genesis}), netuid 9: {hotkey} enters competition 1 with alice/model"
    ]


def test_nothing_is_uploaded_or_committed_to_a_repository_that_strangers_can_read(miner: Miner) -> None:
    first = miner.publish()
    with pytest.raises(Refused, match=r"alice/model is readable without a token.*publish to a new repository"):
        miner.retrained(1, "alice/model").publish()
    assert miner.committed() == first


def test_a_repository_opened_between_upload_and_commitment_is_refused(miner: Miner) -> None:
    class OpensAtOnce(Traced):
        async def publish(self, folder: Path, repo: str) -> str:
            revision = await miner.hub.publish(folder, repo)
            await miner.hub.open(repo)
            return revision

    with pytest.raises(Refused, match="readable without a token"):
        miner.publish(hub=OpensAtOnce(miner.hub, []))  # type: ignore[arg-type]
    assert miner.committed() is None


def test_a_model_that_the_hotkey_holds_already_is_not_committed_again(miner: Miner) -> None:
    first = miner.publish()
    again = replace(miner, publication=replace(miner.publication, repo="alice/other"))
    with pytest.raises(Refused, match=rf"holds this very model in competition 1 since block {first.block}"):
        again.publish()
    assert miner.publish() == miner.committed() == first
    assert len([line for line in miner.lines if "committed at block" in line]) == 1


def test_what_is_published_is_looked_at_again_by_the_same_call(miner: Miner) -> None:
    """A lost answer to the last look must not hide that strangers read something else."""
    miner.publish()
    calls: list[str] = []
    miner.publish(hub=Traced(miner.hub, calls))  # type: ignore[arg-type]
    assert calls == ["open", "describe"]


def test_a_model_moves_to_another_competition_by_a_new_repository(miner: Miner) -> None:
    miner.publish()
    moved = replace(miner.publication, competition=CompetitionId(0), repo="alice/moved")
    entry = replace(miner, publication=moved).publish()
    assert (entry.competition, entry.commitment.repo, miner.public("alice/moved")) == (0, "alice/moved", True)


def test_a_commitment_made_too_early_waits_for_its_block(tmp_path: Path, miner: Miner) -> None:
    del tmp_path
    first = miner.publish()
    second = miner.retrained(1, "alice/second").publish()
    limit = miner.chain.genesis.parameters.commitment_rate_limit
    assert second.block - first.block >= limit > 1
    assert any("waiting" in line for line in miner.lines)


@pytest.mark.parametrize("field", ["netuid", "hotkey"])
def test_a_folder_that_served_one_subnet_or_hotkey_does_not_reach_another(miner: Miner, field: str) -> None:
    miner.publish()
    values: dict[str, Any] = {"netuid": 10, "hotkey": miner.world.pairs[0].address}
    other = replace(miner.retrained(1, "alice/second").publication, **{field: values[field]})
    with pytest.raises(ConfigError, match=rf"is of {field} .*, now {values[field]} is asked for; use another --dir"):
        replace(miner, publication=other).publish()


@pytest.mark.parametrize("name", ["finney", None])
def test_a_folder_that_served_one_chain_does_not_reach_another_also_under_the_same_name(
    miner: Miner, name: str | None
) -> None:
    miner.publish()
    again = miner.retrained(1, "alice/second")
    other = Network(name or miner.publication.network.name, "ab" * 32, 12.0)
    with pytest.raises(ConfigError, match=r"is of network file:.*, now .* \(genesis abab.*\) is asked for") as caught:
        replace(again, publication=replace(again.publication, network=other)).publish()
    assert "\n" not in str(caught.value)
    assert miner.committed() == asyncio.run(miner.chain.commitment())


def test_the_same_chain_by_another_name_goes_on(miner: Miner) -> None:
    miner.publish()
    again = miner.retrained(1, "alice/second")
    renamed = replace(again.publication.network, name="ws://127.0.0.1:9944")
    entry = replace(again, publication=replace(again.publication, network=renamed)).publish()
    assert (entry, entry.commitment.repo) == (miner.committed(), "alice/second")


def test_a_journal_that_does_not_name_its_chain_says_what_to_do(miner: Miner) -> None:
    miner.publish()
    old = json.loads(miner.journal.read_text())
    del old["genesis"]
    miner.journal.write_text(json.dumps(old))
    with pytest.raises(ConfigError, match=r"which names its chain's genesis; remove it to begin anew"):
        miner.publish()


def test_a_name_too_long_for_a_commitment_is_told_before_the_upload(miner: Miner) -> None:
    long = replace(miner, publication=replace(miner.publication, repo=f"alice/{'m' * 40}"))
    with pytest.raises(ConfigError, match=r"--repo alice/m+: commitment of 1[0-9]+ characters; at most 128 fit"):
        long.publish()
    assert list((miner.journal.parent.parent / "hub" / "repos").iterdir()) == []


def test_a_folder_without_a_model_is_refused(miner: Miner) -> None:
    empty = miner.journal.parent / "empty"
    empty.mkdir(parents=True)
    with pytest.raises(ModelRejected, match=r"config\.json is missing"):
        replace(miner, publication=replace(miner.publication, folder=empty)).publish()


def test_a_journal_that_is_none_gets_one_clear_line(miner: Miner) -> None:
    miner.journal.parent.mkdir()
    miner.journal.write_text('{"network": 1')
    with pytest.raises(
        ConfigError, match=r"publication\.json is not a publication's journal.*; remove it to begin"
    ) as caught:
        miner.publish()
    assert "\n" not in str(caught.value)


class Traced:
    """Passes every call on to a real chain or hub, and notes its name."""

    def __init__(self, real: object, names: list[str]) -> None:
        self.real = real
        self.names = names

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: object) -> object:
            self.names.append(name)
            return await getattr(self.real, name)(*arguments)

        return call


class Interrupted(Traced):
    """Loses its connection at the n-th call of chain and hub together, before or after the call was carried out."""

    def __init__(self, real: object, names: list[str], at: int, *, after: bool) -> None:
        super().__init__(real, names)
        self.at = at
        self.after = after

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: object) -> object:
            self.names.append(name)
            lost = len(self.names) == self.at
            if lost and not self.after:
                raise HubUnavailable("lost")
            result = await getattr(self.real, name)(*arguments)
            if lost:
                raise HubUnavailable("lost")
            return result

        return call


@pytest.mark.parametrize("after", [False, True])
def test_interrupted_anywhere_the_same_call_goes_on_and_commits_once(miner: Miner, *, after: bool) -> None:
    for at in itertools.count(1):
        model = miner.retrained(at, f"alice/model-{at}")
        calls: list[str] = []
        before = miner.committed()
        miner.world.clock.now += 0.2  # 20 blocks: the rate limit is another test's
        try:
            model.publish(
                chain=Interrupted(miner.chain, calls, at, after=after),  # type: ignore[arg-type]
                hub=Interrupted(miner.hub, calls, at, after=after),  # type: ignore[arg-type]
            )
        except HubUnavailable:
            held = miner.committed()
            entry = model.publish()
            assert entry == miner.committed()
            assert held in {before, entry}
            assert miner.public(f"alice/model-{at}")
        else:
            assert at > len(calls)
            assert {"publish", "commit", "open", "describe"} <= set(calls)
            return


class Away:
    """A chain whose answer to a commitment is lost, before or after it landed."""

    def __init__(self, chain: Chain, *, lands: bool) -> None:
        self._chain = chain
        self._lands = lands

    async def commit(self, text: str) -> Block:
        if self._lands:
            await self._chain.commit(text)
        raise ChainUnavailable("the answer was lost")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the chain's
        return getattr(self._chain, name)


def test_a_commitment_whose_answer_was_lost_is_found_by_the_next_call_and_not_made_again(miner: Miner) -> None:
    with pytest.raises(ChainUnavailable):
        miner.publish(chain=Away(miner.chain, lands=True))
    before = miner.committed()

    assert miner.publish() == before
    assert miner.public()


def test_a_commitment_that_may_still_arrive_is_waited_for_before_it_is_made_again(miner: Miner) -> None:
    with pytest.raises(ChainUnavailable):
        miner.publish(chain=Away(miner.chain, lands=False))
    sent = json.loads(miner.journal.read_text())["sent"]

    entry = miner.publish()

    (told,) = (line for line in miner.lines if "may still arrive" in line)
    until = int(told.split("until block ")[1].split()[0])
    assert (told.startswith(f"a commitment sent after block {sent} "), until >= sent + IN_FLIGHT) == (True, True)
    assert entry.block > until
    assert json.loads(miner.journal.read_text())["sent"] is None


def test_a_commitment_that_arrives_between_two_looks_is_found(miner: Miner) -> None:
    """What a head has finalised is only looked for after that head was read."""
    with pytest.raises(ChainUnavailable):
        miner.publish(chain=Away(miner.chain, lands=False))
    text = _text_of(miner)

    class Late(Away):
        looks = 0

        async def head(self) -> Head:
            """Take long at the second look: the commitment lands, and all its blocks go by."""
            self.looks += 1
            if self.looks == 2:
                await self._chain.commit(text)
                miner.world.clock.now += 200 * miner.chain.genesis.parameters.block_time
            return await self._chain.head()

    entry = miner.publish(chain=Late(miner.chain, lands=True))

    assert entry == miner.committed()
    assert len(_commitments(miner)) == 1


def test_a_chain_that_blinks_does_not_begin_the_wait_for_a_commitment_anew(miner: Miner) -> None:
    with pytest.raises(ChainUnavailable):
        miner.publish(chain=Away(miner.chain, lands=False))

    class Blinking(Away):
        looks = 0

        async def head(self) -> Head:
            self.looks += 1
            if self.looks % 20 == 0:
                raise ChainUnavailable("no answer")
            return await self._chain.head()

    blinking = Blinking(miner.chain, lands=True)
    tries = 0
    while miner.committed() is None:
        tries += 1
        assert tries < 100
        with pytest.raises(ChainUnavailable):
            miner.publish(chain=blinking)
    assert len({line for line in miner.lines if "may still arrive" in line}) == 1


def test_a_journal_that_waited_for_its_commitment_knows_when_it_has_come(miner: Miner) -> None:
    with pytest.raises(ChainUnavailable):
        miner.publish(chain=Away(miner.chain, lands=True))
    entry = miner.publish()
    written = json.loads(miner.journal.read_text())
    assert (written["sent"], written["block"]) == (None, entry.block)


def _text_of(miner: Miner) -> str:
    written = json.loads(miner.journal.read_text())
    digest = secure_hash(content_digest(local_files(miner.publication.folder)), miner.publication.hotkey)
    return Commitment("alice", "model", written["revision"], digest, CompetitionId(1)).encode()


def _commitments(miner: Miner) -> list[object]:
    with ledger.reading(miner.world.path) as database:
        return database.execute("SELECT block FROM calls WHERE name = 'set_commitment'").fetchall()


@pytest.mark.parametrize(
    "error", [Refused("no", code="AccountNotAllowedCommit"), ChainUnavailable("nothing was sent", not_landed=True)]
)
def test_a_commitment_that_is_known_not_to_arrive_is_not_waited_for(miner: Miner, error: PretrainError) -> None:
    class Failing(Away):
        async def commit(self, text: str) -> Block:  # noqa: ARG002
            raise error

    with pytest.raises(type(error)):
        miner.publish(chain=Failing(miner.chain, lands=False))
    assert json.loads(miner.journal.read_text())["sent"] is None


def test_a_refused_publication_leaves_the_former_ones_journal(miner: Miner) -> None:
    miner.publish()
    before = miner.journal.read_text()
    again = replace(miner, publication=replace(miner.publication, repo="alice/second"))

    with pytest.raises(Refused, match="holds this very model"):
        again.publish()
    assert miner.journal.read_text() == before
