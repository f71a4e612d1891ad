"""What only the access to a real chain has: whose chain it is, how little it reads, and what it never sends."""

import asyncio
import base64
import dataclasses
import socket
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import bittensor as bt
import pytest
import subnet as embedded
from bittensor._transport.contract import CallBytes
from bittensor._transport.protocols import Keypair
from bittensor.settings import FINNEY_GENESIS_HASH, NETWORKS, default_fallback_endpoints
from embedded_substrate import EmbeddedSubstrate
from serving import served
from subnet import NETUID, START, Subnet, commitment, pair

from pretrain.chain import Chain, ledger, writing
from pretrain.chain.bittensor import BittensorChain, RpcBackend
from pretrain.chain.calls import CommitmentField, SetCommitment
from pretrain.chain.connection import Deadlines
from pretrain.chain.genesis import Genesis, GenesisNeuron
from pretrain.chain.local import LocalChain, create
from pretrain.chain.node.faults import Fault, Faults
from pretrain.commitment import Commitment
from pretrain.errors import ChainUnavailable, ConfigError, Refused
from pretrain.types import Block, CompetitionId, Digest, Revision

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PAUSE", 0.0)


class Elsewhere(EmbeddedSubstrate):
    """A node whose block 0 has a given hash."""

    genesis = FINNEY_GENESIS_HASH

    async def genesis_hash(self) -> str:
        return self.genesis


def made(folder: Path, **rules: float) -> Subnet:
    subnet = embedded.subnet(folder, embedded.parameters(None, **rules))
    subnet.clock.tick = 0.0015  # a tenth of a block at each look
    subnet.at(40)
    return subnet


def in_memory(subnet: Subnet, name: str, kind: type[EmbeddedSubstrate] = EmbeddedSubstrate) -> BittensorChain:
    return BittensorChain(name, NETUID, subnet.pairs[2], backend=lambda _endpoint: kind(subnet.path, subnet.clock))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.mark.parametrize("name", ["test", "local", "devnet"])
def test_who_is_told_another_network_can_not_touch_the_main_one(name: str, tmp_path: Path) -> None:
    chain = in_memory(made(tmp_path), name, Elsewhere)

    with pytest.raises(
        ConfigError, match=f"--subtensor.network {name}: .* serves the main network; nothing was signed"
    ):
        run(chain.commit(commitment(chain._hotkey())))  # noqa: SLF001 - its own


def test_who_is_told_the_main_network_is_on_no_other(tmp_path: Path) -> None:
    chain = in_memory(made(tmp_path), "finney")

    with pytest.raises(ConfigError, match=r"--subtensor.network finney: wss://.* serves another chain"):
        run(chain.head())


def test_the_main_network_by_its_name_or_by_an_address_is_the_main_network(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    for name in ("finney", "ws://my.own.node:9944"):
        told = run(in_memory(subnet, name, Elsewhere).network())
        assert (told.name, f"0x{told.genesis}") == (name, FINNEY_GENESIS_HASH)


def test_a_name_that_is_none_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"--subtensor\.network 'finny': expected a name or ws://HOST:PORT"):
        BittensorChain("finny", NETUID)


def test_a_subnet_that_is_not_there_is_told_with_what_to_look_at(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    chain = BittensorChain("ws://memory", 77, backend=lambda _: EmbeddedSubstrate(subnet.path, subnet.clock))

    with pytest.raises(ConfigError, match="--netuid 77: this network has no such subnet"):
        run(chain.snapshot(25))


def test_without_a_wallet_it_reads_and_never_signs(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    chain = BittensorChain("ws://memory", NETUID, backend=lambda _: EmbeddedSubstrate(subnet.path, subnet.clock))

    assert run(chain.snapshot(25)).block == 25
    with pytest.raises(ConfigError, match="without a wallet"):
        run(chain.commit("x"))


@pytest.mark.parametrize("text", ["x" * 129, "é" * 65], ids=["129 letters", "130 bytes"])
def test_a_commitment_that_does_not_fit_is_refused_before_anything_is_opened(text: str) -> None:
    def opened(_endpoint: str) -> EmbeddedSubstrate:
        raise AssertionError("nothing is to be opened")

    with pytest.raises(Refused, match="expected 0 to 128"):
        run(BittensorChain("ws://memory", NETUID, pair("Miner0"), backend=opened).commit(text))


@pytest.mark.parametrize("weights", [{}, {"nobody": 1.0}, {"Miner0": 0.0}, {"Miner0": float("nan")}, {"Miner0": -1.0}])
def test_a_row_that_is_none_is_refused_before_anything_is_sent(weights: dict[str, float], tmp_path: Path) -> None:
    subnet = made(tmp_path)
    backend = EmbeddedSubstrate(subnet.path, subnet.clock)
    chain = BittensorChain("ws://memory", NETUID, subnet.pairs[0], backend=lambda _: backend)

    with pytest.raises(Refused):
        run(chain.set_weights({pair(name).address: share for name, share in weights.items()}, 0))
    assert backend.sent == 0


def test_the_rules_own_words_come_with_what_to_do(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    backend = EmbeddedSubstrate(subnet.path, subnet.clock)
    stranger = BittensorChain("ws://memory", NETUID, pair("Stranger"), backend=lambda _: backend)

    with pytest.raises(Refused, match=r"is not registered .*btcli subnets register") as refused:
        run(stranger.set_weights({subnet.pairs[2].address: 1.0}, 0))
    assert (refused.value.wait_blocks, backend.sent) == (0, 0)
    with pytest.raises(Refused) as refused:
        run(stranger.commit(commitment(pair("Stranger").address)))
    assert (refused.value.code, refused.value.wait_blocks) == ("AccountNotAllowedCommit", 0)
    assert "register the hotkey on this subnet first" in str(refused.value)


def test_over_the_space_of_an_epoch_a_commitment_waits_until_it_is_free_again(tmp_path: Path) -> None:
    subnet = made(tmp_path, commitment_space=150)
    chain, hotkey = in_memory(subnet, "ws://memory"), subnet.pairs[2].address

    async def scenario() -> None:
        await chain.commit(commitment(hotkey, "first"))
        with pytest.raises(Refused) as refused:
            await chain.commit(commitment(hotkey, "second"))
        assert refused.value.code == "SpaceLimitExceeded"
        assert 1 <= refused.value.wait_blocks <= 22
        subnet.clock.now += refused.value.wait_blocks / 64
        await chain.commit(commitment(hotkey, "second"))

    run(scenario())


FORMS = [
    (CommitmentField("Raw", b":".hex() * 128),),
    (CommitmentField("Raw", b"\xff\xfe".hex() * 64),),
    (CommitmentField("None"),),
    (CommitmentField("Sha256", "ab" * 32),),
    (CommitmentField("TimelockEncrypted", "ab" * 200, 9),),
    (CommitmentField("Raw", "61" * 64), CommitmentField("Raw", "62" * 64)),
    (CommitmentField("ResetBondsFlag"),),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "+".join(field.kind for field in form))
def test_a_commitment_of_another_form_is_no_entry_and_hides_no_other(
    form: tuple[CommitmentField, ...], tmp_path: Path
) -> None:
    subnet = made(tmp_path)
    hostile, honest = subnet.chains[2], subnet.chains[3]
    chain = in_memory(subnet, "ws://memory")

    async def scenario() -> None:
        await hostile._send(subnet.pairs[2].hotkey, lambda *_: SetCommitment(form))  # noqa: SLF001 - any form at all
        await honest.commit(commitment(subnet.pairs[3].address))
        subnet.clock.now += 1.0
        assert [entry.hotkey for entry in (await chain.snapshot(25)).entries] == [subnet.pairs[3].address]
        assert await chain.commitment() is None

    run(scenario())


def full_subnet(folder: Path) -> Subnet:
    """256 neurons, each with a commitment of its own block, 64 of them with a permit."""
    pairs = [pair(f"Neuron{i}") for i in range(256)]
    neurons = tuple(
        GenesisNeuron(keys.address, keys.coldkey.ss58_address, 10**12 if i < 64 else 0) for i, keys in enumerate(pairs)
    )
    clock = embedded.Clock()
    path = folder / "chain.sqlite"
    create(path, Genesis(NETUID, START, embedded.parameters(), neurons))
    subnet = Subnet(path, clock, pairs, [LocalChain(path, NETUID, keys, clock=clock) for keys in pairs[:1]])
    subnet.at(400)
    asyncio.run(subnet.chains[0].head())
    digest = Digest(base64.b64encode(bytes(32)).decode())
    text = Commitment("miner", "model", Revision("0" * 40), digest, CompetitionId(1)).encode().encode().hex()
    form = '[{"data":"%s","kind":"Raw","reveal_round":null}]' % text  # noqa: UP031 - braces
    with ledger.writing(path) as database:
        database.executemany(
            "INSERT INTO commitments VALUES (?, ?, ?)", [(k.address, 10 + i, form) for i, k in enumerate(pairs)]
        )
        row = "[" + ",".join(f"[{uid},65535]" for uid in range(256)) + "]"
        database.executemany(
            "INSERT INTO weights VALUES (?, 20, ?, '0', 20, ?)", [(i, pairs[i].address, row) for i in range(64)]
        )
        database.executemany("INSERT INTO updates VALUES (?, 20)", [(i,) for i in range(64)])
    return subnet


class Counting(Faults):
    """No faults; counts what is asked of the node."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def next(self, method: str) -> Fault | None:
        self.asked[method] += 1
        return None


def test_a_snapshot_of_a_full_subnet_is_six_reads(tmp_path: Path) -> None:
    subnet = full_subnet(tmp_path)
    backend = EmbeddedSubstrate(subnet.path, subnet.clock)
    chain = BittensorChain("ws://memory", NETUID, backend=lambda _: backend)

    async def scenario() -> None:
        await chain.network()
        backend.reads.clear()
        taken = await chain.snapshot(25)
        assert (len(taken.neurons), len(taken.entries), len(taken.weights)) == (256, 256, 64)
        assert (backend.reads.total(), len(backend.reads)) == (6, 6)
        backend.reads.clear()
        assert await chain.snapshot(25) is taken
        assert backend.reads == {"finalized_block_number": 1}
        backend.reads.clear()
        subnet.at(430)
        assert (await chain.snapshot(25)).tie_hashes == taken.tie_hashes
        assert backend.reads.total() == 6

    run(scenario())


def test_a_snapshot_of_a_full_subnet_asks_the_node_a_bounded_number_of_times(tmp_path: Path) -> None:
    """Maps come in pages of a hundred keys, each with its values: three pages of commitments, one of rows."""
    subnet, counting = full_subnet(tmp_path), Counting()

    async def scenario(endpoint: str) -> None:
        chain = BittensorChain(endpoint, NETUID)
        await chain.network()
        counting.asked.clear()
        taken = await chain.snapshot(25)
        await chain.close()
        assert len(taken.entries) == 256

    with served(subnet.path, subnet.clock, counting) as endpoint:
        run(scenario(endpoint))
    assert counting.asked["state_getKeysPaged"] == counting.asked["state_queryStorageAt"] == 4
    assert counting.asked["state_call"] == 1
    assert counting.asked.total() <= 24, counting.asked


def test_a_uid_that_changes_hands_on_the_way_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    subnet = made(tmp_path, max_uids=5, immunity_period=0, burn=1)
    newcomer = pair("Newcomer", "Miner0Cold")
    late = LocalChain(subnet.path, NETUID, newcomer, clock=subnet.clock)

    class Slow(EmbeddedSubstrate):
        async def compose(self, call: tuple[str, str, dict[str, object]]) -> CallBytes:
            await late.register()
            subnet.clock.now += 2 / 64
            return await super().compose(call)

    chain = BittensorChain("ws://memory", NETUID, subnet.pairs[0], backend=lambda _: Slow(subnet.path, subnet.clock))
    shares = {keys.address: 1.0 for keys in subnet.pairs[2:]}
    run(chain.set_weights(shares, 0))

    assert "changed hands while its weight was on the way" in caplog.text


def test_a_row_is_committed_sealed_where_the_subnet_says_so(tmp_path: Path) -> None:
    """Opening it takes a beacon that is not here: the row reads back once the real chain has opened it."""
    subnet = made(tmp_path, commit_reveal=True)
    chain = BittensorChain(
        "ws://memory", NETUID, subnet.pairs[0], backend=lambda _: EmbeddedSubstrate(subnet.path, subnet.clock)
    )

    async def scenario() -> Block:
        block = await chain.set_weights({subnet.pairs[2].address: 1.0}, 0)
        assert (await chain.standing()).commit_reveal
        return block

    block = run(scenario())
    with ledger.reading(subnet.path) as database:
        rows = database.execute("SELECT name, block FROM calls WHERE signer = ?", (subnet.pairs[0].address,)).fetchall()
    assert rows == [("commit_timelocked_weights", block)]


def test_what_a_node_makes_up_is_no_answer(tmp_path: Path) -> None:
    subnet = made(tmp_path)

    class Nonsense(EmbeddedSubstrate):
        async def query_map(self, *_arguments: object, **_options: object) -> list[tuple[object, object]]:
            return [({"no": "key"}, None)]

    with pytest.raises(ChainUnavailable, match="makes no sense: Malformed"):
        run(in_memory(subnet, "ws://memory", Nonsense).snapshot(25))


def test_two_snapshots_of_a_block_are_equal_whatever_backend_they_came_through(tmp_path: Path) -> None:
    subnet = made(tmp_path)

    async def scenario(endpoint: str) -> None:
        await subnet.chains[2].commit(commitment(subnet.pairs[2].address))
        await subnet.chains[0].set_weights({subnet.pairs[2].address: 2.0, subnet.pairs[4].address: 1.0}, 0)
        subnet.clock.now += 1.0
        subnet.clock.tick = 0.0
        over = BittensorChain(endpoint, NETUID)
        chains: list[Chain] = [subnet.chains[1], in_memory(subnet, "ws://memory"), over]
        taken = [await chain.snapshot(25) for chain in chains]
        await over.close()
        assert taken[0] == taken[1] == taken[2]
        assert dataclasses.asdict(taken[0])["weights"] == dataclasses.asdict(taken[2])["weights"] != {}

    with served(subnet.path, subnet.clock) as endpoint:
        run(scenario(endpoint))


def test_a_call_with_a_deadline_does_not_wait_for_a_silent_node() -> None:
    async def scenario(port: int) -> float:
        deadlines = Deadlines(opening=0.3, read=0.3, closing=0.2, first_pause=0.01)
        chain = BittensorChain(f"ws://127.0.0.1:{port}", NETUID, deadlines=deadlines)
        started = time.monotonic()
        with pytest.raises(ChainUnavailable, match="did not answer within"):
            await chain.head()
        await chain.close()
        return time.monotonic() - started

    with socket.create_server(("127.0.0.1", 0)) as listening:  # takes connections, and never says a word
        assert run(scenario(listening.getsockname()[1])) < 30


class Lost(EmbeddedSubstrate):
    """A node that goes silent when a call reaches it, which it does not pass on."""

    async def submit(self, call: CallBytes, keypair: Keypair, **options: object) -> bt.ExtrinsicResult:  # noqa: ARG002
        self.sent += 1
        raise bt.RpcConnectionError("gone")


def test_the_same_text_committed_before_is_not_taken_for_one_that_was_lost(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    text = commitment(subnet.pairs[2].address)

    async def scenario() -> None:
        await subnet.chains[2].commit(text)
        subnet.clock.now += 10 / 64
        with pytest.raises(ChainUnavailable, match="the commitment did not land"):
            await in_memory(subnet, "ws://memory", Lost).commit(text)

    run(scenario())


def test_another_text_of_the_same_hotkey_is_not_taken_for_one_that_was_lost(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    hotkey = subnet.pairs[2].address

    class Overtaken(Lost):
        async def submit(self, call: CallBytes, keypair: Keypair, **options: object) -> bt.ExtrinsicResult:
            await subnet.chains[2].commit(commitment(hotkey, "other"))
            return await super().submit(call, keypair, **options)

    with pytest.raises(ChainUnavailable, match="the commitment did not land"):
        run(in_memory(subnet, "ws://memory", Overtaken).commit(commitment(hotkey)))


def test_a_commitment_that_another_replaces_before_it_reads_back_is_said_so(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    hotkey = subnet.pairs[2].address

    class Replaced(EmbeddedSubstrate):
        async def submit(self, *arguments: Any, **options: Any) -> bt.ExtrinsicResult:  # noqa: ANN401
            result = await super().submit(*arguments, **options)
            await subnet.chains[2].commit(commitment(hotkey, "other"))
            subnet.clock.now += 5 / 64
            return result

    with pytest.raises(Refused, match="was replaced by another") as refused:
        run(in_memory(subnet, "ws://memory", Replaced).commit(commitment(hotkey)))
    assert refused.value.code == "Replaced"


def test_every_call_is_signed_for_the_era_that_is_waited_for(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    backend = EmbeddedSubstrate(subnet.path, subnet.clock)
    validator = BittensorChain("ws://memory", NETUID, subnet.pairs[0], backend=lambda _: backend)

    async def scenario() -> None:
        await validator.set_weights({subnet.pairs[2].address: 1.0}, 7)
        await validator.commit(commitment(subnet.pairs[0].address))

    run(scenario())
    assert backend.periods == [writing.ERA, writing.ERA]
    assert [(call[1], call[2].get("version_key"), call[2].get("mecid")) for call in backend.composed] == [
        ("set_mechanism_weights", 7, 0),
        ("set_commitment", None, None),
    ]


def test_another_mechanism_is_read_and_weighed_under_its_own_index(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    asked: list[object] = []

    class Mechanisms(EmbeddedSubstrate):
        async def runtime_call(
            self, api: str, method: str, params: list[object], block_hash: str | None = None
        ) -> object:
            asked.append((method, params))
            return await super().runtime_call(api, "get_metagraph", params[:1], block_hash)

        async def query_map(
            self, module: str, storage_function: str, params: list[object] | None = None, block_hash: str | None = None
        ) -> list[tuple[object, object]]:
            asked.append((storage_function, params))
            return await super().query_map(module, storage_function, params, block_hash)

    backend = Mechanisms(subnet.path, subnet.clock)
    chain = BittensorChain("ws://memory", NETUID, subnet.pairs[0], mechanism=1, backend=lambda _: backend)

    async def scenario() -> None:
        await chain.snapshot(25)
        with pytest.raises(Refused, match="MechanismDoesNotExist"):  # this chain has one
            await chain.set_weights({subnet.pairs[2].address: 1.0}, 0)

    run(scenario())
    assert ("get_mechagraph", [NETUID, 1]) in asked
    assert ("Weights", [4096 + NETUID]) in asked
    assert backend.composed[-1][2]["mecid"] == 1


def test_a_node_that_has_fallen_back_is_not_believed(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    backend = EmbeddedSubstrate(subnet.path, subnet.clock)
    chain = BittensorChain("ws://memory", NETUID, backend=lambda _: backend)

    async def scenario() -> None:
        taken = await chain.snapshot(25)
        backend.fall_back(20)
        with pytest.raises(ChainUnavailable, match="the node has fallen back"):
            await chain.snapshot(25)
        backend.fall_back(-20)
        assert (await chain.snapshot(25)).block >= taken.block

    run(scenario())


def test_a_commitment_from_after_the_block_it_was_read_at_is_no_answer(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    run(subnet.chains[2].commit(commitment(subnet.pairs[2].address)))
    subnet.clock.now += 60 / 64

    class Ahead(EmbeddedSubstrate):
        async def query_map(
            self, module: str, storage_function: str, params: list[object] | None = None, block_hash: str | None = None
        ) -> list[tuple[object, object]]:
            found = await super().query_map(module, storage_function, params, block_hash)
            if storage_function != "CommitmentOf":
                return found
            return [(hotkey, {**record, "block": 10**6}) for hotkey, record in found if isinstance(record, dict)]

    with pytest.raises(ChainUnavailable, match="a commitment of a later block"):
        run(in_memory(subnet, "ws://memory", Ahead).snapshot(25))


def test_hashes_that_were_not_all_given_are_no_answer(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    run(subnet.chains[2].commit(commitment(subnet.pairs[2].address)))
    subnet.clock.now += 60 / 64

    class Short(EmbeddedSubstrate):
        async def block_hashes(self, blocks: Sequence[int]) -> Sequence[object]:
            return (await super().block_hashes(blocks))[1:]

    with pytest.raises(ChainUnavailable, match="0 hashes for 1 blocks"):
        run(in_memory(subnet, "ws://memory", Short).snapshot(25))


@pytest.mark.parametrize(
    ("raised", "expected", "told"),
    [
        (KeyError("number"), ChainUnavailable, "makes no sense"),
        (bt.BittensorError("All weights are zero"), Refused, "All weights are zero"),
        (bt.ChainError("Internal error"), ChainUnavailable, "the node answers: Internal error"),
        (bt.RpcConnectionError("gone"), ChainUnavailable, "gone"),
    ],
)
def test_what_goes_wrong_before_a_call_is_sent_is_known_not_to_have_been_sent(
    raised: Exception, expected: type[Exception], told: str, tmp_path: Path
) -> None:
    subnet = made(tmp_path)

    class Failing(EmbeddedSubstrate):
        async def compose(self, call: tuple[str, str, dict[str, Any]]) -> CallBytes:  # noqa: ARG002
            raise raised

    backend = Failing(subnet.path, subnet.clock)
    chain = BittensorChain("ws://memory", NETUID, subnet.pairs[2], backend=lambda _: backend)

    with pytest.raises(expected, match=told):
        run(chain.commit(commitment(subnet.pairs[2].address)))
    assert (backend.sent, chain._writer._unsettled) == (0, {})  # noqa: SLF001 - nothing is to be looked for


def test_the_main_networks_pool_is_gone_through_unless_other_addresses_are_named() -> None:
    def endpoints(chain: BittensorChain) -> tuple[str, ...]:
        return chain._connection._endpoints  # noqa: SLF001 - where it would go

    assert endpoints(BittensorChain("finney", NETUID)) == (NETWORKS["finney"], *default_fallback_endpoints("finney"))
    assert endpoints(BittensorChain("finney", NETUID, fallback=["ws://a", "ws://b"])) == (
        NETWORKS["finney"],
        "ws://a",
        "ws://b",
    )
    assert endpoints(BittensorChain("ws://mine", NETUID)) == ("ws://mine",)


class Sends(EmbeddedSubstrate):
    """A node that takes a call, of which another answer arrives than the chain's; for a while it can not be read."""

    answer = bt.ExtrinsicResult(success=False, error=bt.ChainError("gone"))
    deaf = 0

    async def submit(self, *arguments: Any, **options: Any) -> bt.ExtrinsicResult:  # noqa: ANN401
        result = await super().submit(*arguments, **options)
        return result if self.deaf else self.answer

    async def finalized_block_number(self) -> int:
        if self.sent and self.deaf:
            self.deaf -= 1
            raise bt.ChainError("Internal error")
        return await super().finalized_block_number()


def calls_of(subnet: Subnet, hotkey: str) -> int:
    with ledger.reading(subnet.path) as database:
        return int(database.execute("SELECT COUNT(*) FROM calls WHERE signer = ?", (hotkey,)).fetchone()[0])


@pytest.mark.parametrize(
    "text",
    [
        "Too many requests: rate limit exceeded",
        "not enough capacity",
        "upstream resources insufficient",
        "invalid transaction",
    ],
)
def test_words_of_a_node_are_no_verdict_on_a_call_that_was_sent(text: str, tmp_path: Path) -> None:
    """The SDK gives a code to any text; a verdict for now would be answered by committing again."""
    subnet = made(tmp_path)
    backend = Sends(subnet.path, subnet.clock)
    backend.answer = bt.ExtrinsicResult(success=False, message=text, error=bt.ChainError(text))
    hotkey = subnet.pairs[2].address
    chain = BittensorChain("ws://memory", NETUID, subnet.pairs[2], backend=lambda _: backend)

    block = run(chain.commit(commitment(hotkey)))

    assert (block > 0, calls_of(subnet, hotkey)) == (True, 1)


def test_a_failure_within_a_block_is_a_verdict_and_not_looked_for(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    backend = Sends(subnet.path, subnet.clock)
    error = bt.ChainError("InvalidRevealRound", "InvalidRevealRound")
    backend.answer = bt.ExtrinsicResult(success=False, error=error, extrinsic_id="50-0001")
    chain = BittensorChain("ws://memory", NETUID, subnet.pairs[2], backend=lambda _: backend)

    with pytest.raises(Refused, match="InvalidRevealRound"):
        run(chain.commit(commitment(subnet.pairs[2].address)))


def test_a_commitment_that_landed_and_did_not_read_back_yet_is_not_made_again(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    backend = Sends(subnet.path, subnet.clock)
    backend.deaf = 10**6
    hotkey = subnet.pairs[2].address
    deadlines = Deadlines(settling=0.3, first_pause=0.001)
    chain = BittensorChain("ws://memory", NETUID, subnet.pairs[2], backend=lambda _: backend, deadlines=deadlines)

    async def scenario() -> Block:
        with pytest.raises(ChainUnavailable, match="nothing of the kind is sent before"):
            await chain.commit(commitment(hotkey))
        backend.deaf = 0
        return await chain.commit(commitment(hotkey))

    block = run(scenario())
    entry = run(subnet.chains[2].commitment())
    assert entry is not None
    assert (entry.block, calls_of(subnet, hotkey)) == (block, 1)


def test_a_row_that_is_set_is_set_even_if_nobody_can_say_who_moved_meanwhile(tmp_path: Path) -> None:
    subnet = made(tmp_path)

    class Away(EmbeddedSubstrate):
        async def runtime_call(
            self, api: str, method: str, params: list[object], block_hash: str | None = None
        ) -> object:
            if self.sent:
                raise bt.ChainError("Internal error")
            return await super().runtime_call(api, method, params, block_hash)

    chain = BittensorChain("ws://memory", NETUID, subnet.pairs[0], backend=lambda _: Away(subnet.path, subnet.clock))

    assert run(chain.set_weights({subnet.pairs[2].address: 1.0}, 0)) > 0


def test_an_endpoint_of_another_chain_or_without_the_subnet_ends_no_validator_that_was_right_before(
    tmp_path: Path,
) -> None:
    subnet = made(tmp_path)

    class Without(EmbeddedSubstrate):
        async def runtime_call(self, *_arguments: object, **_options: object) -> object:
            return None

    kinds: dict[str, type[EmbeddedSubstrate]] = {"ws://right": EmbeddedSubstrate}
    chain = BittensorChain(
        "ws://right",
        NETUID,
        subnet.pairs[2],
        fallback=["ws://main", "ws://without"],
        backend=lambda endpoint: kinds[endpoint](subnet.path, subnet.clock),
        deadlines=Deadlines(first_pause=0.001),
    )

    async def scenario() -> None:
        first = await chain.snapshot(25)
        kinds.update({"ws://right": Without, "ws://main": Elsewhere, "ws://without": Without})
        await chain.close()
        with pytest.raises(ChainUnavailable, match="serves another chain"):
            await chain.standing()
        kinds["ws://right"] = EmbeddedSubstrate
        assert (await chain.snapshot(25)).block >= first.block

    run(scenario())


def test_a_genesis_that_is_none_is_no_answer_and_leaves_nothing_open(tmp_path: Path) -> None:
    subnet = made(tmp_path)
    closed: list[str] = []

    class Malformed(Elsewhere):
        genesis = "0x00"

        async def close(self) -> None:
            closed.append("closed")

    with pytest.raises(ChainUnavailable, match="makes no sense: Malformed: genesis"):
        run(in_memory(subnet, "ws://memory", Malformed).head())
    assert len(closed) == 3  # one for each try


def test_a_row_that_the_subnets_limit_would_change_is_refused_like_on_the_embedded_chain(tmp_path: Path) -> None:
    subnet = made(tmp_path, max_weight_limit=40_000)
    row = {subnet.pairs[2].address: 9.0, subnet.pairs[3].address: 1.0}
    backend = EmbeddedSubstrate(subnet.path, subnet.clock)
    over = BittensorChain("ws://memory", NETUID, subnet.pairs[0], backend=lambda _: backend)

    for chain in (subnet.chains[1], over):
        with pytest.raises(Refused) as refused:
            run(chain.set_weights(row, 0))
        assert refused.value.code == "MaxWeightExceeded"
    assert backend.sent == 0


def test_a_lost_socket_is_not_opened_again_under_the_same_client(tmp_path: Path) -> None:
    """What was looked at when it was opened, its genesis first, would be taken for true of another node."""
    subnet = made(tmp_path)

    async def scenario(endpoint: str) -> None:
        backend = RpcBackend(endpoint, [])
        await backend.connect()
        await backend._sockets[endpoint].close()  # noqa: SLF001 - as if the node had hung up
        with pytest.raises((bt.RpcConnectionError, bt.ChainError)):
            await backend.block_number()
        await backend.close()

    with served(subnet.path, subnet.clock) as endpoint:
        run(scenario(endpoint))
