"""The client library of the real chain at a node in front of an embedded one: it notices no difference."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import bittensor as bt
import pytest
from bittensor.keyfiles import Keypair
from subnet import NETUID, Pair, Subnet, commitment, pair, parameters, subnet

from pretrain.chain import epochs
from pretrain.chain.calls import RevealWeights
from pretrain.chain.commit_reveal import row_hash
from pretrain.chain.genesis import RAO, Parameters
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.node.server import serve
from pretrain.types import Block

_TICK = 0.0015  # a tenth of a block at each look: time passes while somebody waits, and only then
UNTIL = "blocks_until_next_epoch"
Scenario = Callable[[bt.Client, Subnet], Awaitable[None]]


@dataclass(frozen=True)
class Keys:
    """A wallet as the client library takes one."""

    hotkey: Keypair
    coldkey: Keypair
    coldkeypub: Keypair


def wallet(keys: Pair) -> Keys:
    return Keys(keys.hotkey, keys.coldkey, keys.coldkey)


def run(folder: Path, scenario: Scenario, rules: Parameters | None = None, block: int = 12) -> None:
    """Let a client do something on a served chain, from a block on in which validators have permits."""

    async def connected() -> None:
        net = subnet(folder, rules)
        net.clock.tick = _TICK
        net.at(block)
        async with serve(net.path, clock=net.clock) as url, bt.Subtensor(url) as client:
            await scenario(client, net)

    asyncio.run(asyncio.wait_for(connected(), 60))


def committing(data: bytes) -> object:
    return bt.calls.Commitments.set_commitment(NETUID, {"fields": [{f"Raw{len(data)}": f"0x{data.hex()}"}]})


def test_a_client_sees_the_blocks_and_how_fast_they_come(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        head = await client.block()
        finalized = await client.finalized_block()
        later = await client.wait_for_block(head + 2)
        info = await client.block_info(head)
        assert info is not None
        assert (finalized <= head, later.number >= head + 2) == (True, True)
        assert await client.block_time() == 0.015
        assert info.timestamp == await client.timestamp(head)
        assert client.token_symbols == {NETUID: "\u03b1"}
        assert await client._substrate.block_hash(0) == f"0x{net.chains[0].genesis.hash.hex()}"  # noqa: SLF001

    run(tmp_path, scenario)


def test_a_client_reads_the_metagraph_with_its_commitments_at_one_block(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        text = commitment(net.pairs[2].address)
        await net.chains[2].commit(text)
        graph = await client.subnets.metagraph(NETUID)
        neurons = await client.neurons.all(NETUID)
        assert graph is not None
        assert graph.hotkeys == [keys.address for keys in net.pairs]
        assert graph.coldkeys == [keys.coldkey.ss58_address for keys in net.pairs]
        assert [neuron.validator_permit for neuron in graph] == [True, True, False, False, False]
        assert graph.neurons[1].alpha_stake.rao > 101 * RAO
        assert {uid: (made.data, made.status) for uid, made in graph.commitments.items()} == {2: (text, "plain")}
        assert [neuron.hotkey for neuron in neurons] == graph.hotkeys

    run(tmp_path, scenario)


def test_a_client_reads_balances_stakes_owners_and_costs(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        keys = net.pairs[0]
        coldkey = keys.coldkey.ss58_address
        positions = await client.read("stake_for_coldkey", coldkey_ss58=coldkey)
        assert (await client.balances.get(coldkey)).rao == 10 * RAO
        assert [(position.hotkey, position.is_registered) for position in positions] == [(keys.address, True)]
        assert await client.read("hotkey_owner", hotkey_ss58=keys.address) == coldkey
        assert (await client.read("burn", netuid=NETUID)).rao == 100_000_000
        before, left, after = await client.block(), await client.read(UNTIL, netuid=NETUID), await client.block()
        assert left in {_until_epoch(net, block) for block in range(before, after + 1)}

    run(tmp_path, scenario)


def _until_epoch(net: Subnet, block: int) -> int:
    return next(n for n in itertools.count(1) if epochs.is_epoch(net.chains[0].genesis, Block(block + n)))


def test_a_client_commits_and_its_receipt_names_the_block(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        result = await client.submit_call(committing(b"hello"), wallet(net.pairs[2]), signer="hotkey")
        block = int(str(result.extrinsic_id).split("-")[0])
        made = await client.read("commitment", netuid=NETUID, hotkey_ss58=net.pairs[2].address)
        assert (result.success, result.fee) == (True, bt.Balance.from_rao(0))
        assert result.block_hash == await client._substrate.block_hash(block)  # noqa: SLF001
        assert (made.block, made.data) == (block, "hello")
        assert await client.finalized_block() >= block

    run(tmp_path, scenario)


def test_a_client_may_send_one_call_after_another_without_waiting(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        sent = [
            await client.submit_call(
                committing(text), wallet(net.pairs[2]), signer="hotkey",
                wait_for_inclusion=False, wait_for_finalization=False,
            )
            for text in (b"one", b"two", b"three")
        ]  # fmt: skip
        last = await client.submit_call(committing(b"four"), wallet(net.pairs[2]), signer="hotkey")
        made = await client.read("commitment", netuid=NETUID, hotkey_ss58=net.pairs[2].address)
        assert [result.success for result in [*sent, last]] == [True] * 4
        assert made.data == "four"

    run(tmp_path, scenario)


def test_a_client_sets_weights_and_is_told_by_its_own_preflight_when_that_is_too_soon(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        row = bt.SetWeights(netuid=NETUID, weights={2: 1.0, 3: 0.5})
        result = await client.execute(row, wallet(net.pairs[0]))
        assert result.success, result
        assert await client.weights.weights(NETUID) == {0: pytest.approx({2: 2 / 3, 3: 1 / 3}, abs=1e-4)}
        with pytest.raises(bt.ChainError) as refused:
            await client.execute(row, wallet(net.pairs[0]))
        assert refused.value.code == "rate_limited"

    run(tmp_path, scenario, parameters(weights_rate_limit=1_000))


@pytest.mark.parametrize(
    ("who", "call", "name"),
    [
        (2, bt.calls.SubtensorModule.set_weights(NETUID, [3], [1], 0), "NeuronNoValidatorPermit"),
        (0, bt.calls.SubtensorModule.set_weights(NETUID, [2, 2], [1, 1], 0), "DuplicateUids"),
        (0, bt.calls.SubtensorModule.set_mechanism_weights(NETUID, 1, [2], [1], 0), "MechanismDoesNotExist"),
        (0, bt.calls.SubtensorModule.set_weights(8, [2], [1], 0), "SubnetNotExists"),
        (0, bt.calls.SubtensorModule.commit_weights(NETUID, "0x" + "11" * 32), "CommitRevealDisabled"),
        (2, bt.calls.Commitments.set_commitment(8, {"fields": [{"Raw1": "0x61"}]}), "AccountNotAllowedCommit"),
        (2, bt.calls.Commitments.set_commitment(NETUID, {"fields": ["None"] * 4}), "TooManyFieldsInCommitmentInfo"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_block_refuses_reaches_the_client_under_the_runtimes_name(
    tmp_path: Path, who: int, call: object, name: str
) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        result = await client.submit_call(call, wallet(net.pairs[who]), signer="hotkey")
        assert result.error is not None
        assert (result.success, result.error.name, result.block_hash is not None) == (False, name, True)
        again = await client.submit_call(committing(b"a"), wallet(net.pairs[who]), signer="hotkey")
        assert again.success, "the refused call has used up its nonce, and the client knows"

    run(tmp_path, scenario)


def test_what_the_pool_refuses_reaches_the_client_by_its_number(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        call = bt.calls.SubtensorModule.set_weights(NETUID, [2], [1], 0)
        result = await client.submit_call(call, wallet(net.pairs[0]), signer="hotkey")
        assert result.error is not None
        assert (result.success, result.error.name, result.block_hash) == (False, "StakeAmountTooLow", None)

    run(tmp_path, scenario, parameters(Hyperparameters(stake_threshold=2**50)))


def test_a_client_registers_and_stakes_and_takes_stake_back(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        newcomer = pair("Newcomer", "Miner0Cold").address
        keys = wallet(net.pairs[2])
        module = bt.calls.SubtensorModule
        registered = await client.submit_call(module.burned_register(NETUID, newcomer), keys)
        staked = await client.submit_call(module.add_stake(newcomer, NETUID, 3 * RAO), keys)
        limited = await client.execute(bt.AddStake(hotkey_ss58=newcomer, netuid=NETUID, amount_tao=1), keys)
        back = await client.submit_call(module.remove_stake(newcomer, NETUID, 2 * RAO), keys)
        twice = await client.submit_call(module.burned_register(NETUID, newcomer), keys)
        stake = await client.staking.stake(keys.coldkey.ss58_address, newcomer, NETUID)
        assert [result.success for result in (registered, staked, limited, back)] == [True] * 4
        assert await client.query(("SubtensorModule", "Uids"), [NETUID, newcomer]) == 5
        assert stake.rao == 2 * RAO
        assert (await client.balances.get(keys.coldkey.ss58_address)).rao == (10 - 2) * RAO - 100_000_000
        assert twice.error is not None
        assert twice.error.name == "HotKeyAlreadyRegisteredInSubNet"

    run(tmp_path, scenario)


def test_a_row_is_committed_by_its_hash_and_set_when_it_is_revealed(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        keys, module = net.pairs[0], bt.calls.SubtensorModule
        row = RevealWeights((2, 3), (2, 1), (7, 8), 0)
        digest = f"0x{row_hash(keys.address, NETUID, row)}"
        committed = await client.submit_call(module.commit_weights(NETUID, digest), wallet(keys), signer="hotkey")
        assert committed.success, committed
        ((waiting, made, first, last),) = await client.query(
            ("SubtensorModule", "WeightCommits"), [NETUID, keys.address]
        )
        reveal = module.reveal_weights(NETUID, [2, 3], [2, 1], [7, 8], 0)
        early = await client.submit_call(reveal, wallet(keys), signer="hotkey")
        net.at(first)
        revealed = await client.submit_call(reveal, wallet(keys), signer="hotkey")
        assert (waiting, made < first <= last) == (digest, True)
        assert early.error is not None
        assert early.error.name == "RevealTooEarly"
        assert revealed.success, revealed
        assert await client.weights.weights(NETUID) == {0: pytest.approx({2: 2 / 3, 3: 1 / 3}, abs=1e-4)}
        assert await client.query(("SubtensorModule", "WeightCommits"), [NETUID, keys.address]) is None

    rules = parameters(Hyperparameters(tempo=400), commit_reveal=True, weights_rate_limit=0)
    run(tmp_path, scenario, rules, block=400)  # the first epoch is in block 390; periods are 401 blocks long


def test_weights_of_a_subnet_that_hides_them_are_sealed_by_the_client_and_stored(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        row = bt.SetWeights(netuid=NETUID, weights={2: 1.0})
        result = await client.execute(row, wallet(net.pairs[0]))
        assert result.success, result
        sealed = await client.weights.timelocked_weight_commits(NETUID)
        ((_, commits),) = sealed.items()
        block = int(str(result.extrinsic_id).split("-")[0])
        assert [(made["hotkey"], made["commit_block"], made["reveal_round"]) for made in commits] == [
            (net.pairs[0].address, block, result.data["reveal_round"])
        ]
        assert await client.weights.weights(NETUID) == {}

    run(tmp_path, scenario, parameters(commit_reveal=True))


def test_a_client_is_told_when_a_block_is_not_kept_any_more(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, _: Subnet) -> None:
        with pytest.raises(bt.ChainError, match="State discarded for 0x"):
            await client.query(("SubtensorModule", "Tempo"), [NETUID], block=5)
        assert await client.query(("SubtensorModule", "Tempo"), [NETUID], block=1_990) == 20

    run(tmp_path, scenario, parameters(retention=1_000), block=2_000)


def test_what_this_runtime_has_not_is_said_to_be_missing_by_its_name(tmp_path: Path) -> None:
    async def scenario(client: bt.Client, net: Subnet) -> None:
        with pytest.raises(ValueError, match="NextKey"):
            await client.query(("MevShield", "NextKey"))
        with pytest.raises(ValueError, match="get_delegates"):
            await client.runtime(("SubnetInfoRuntimeApi", "get_delegates"), [])
        with pytest.raises(ValueError, match="Balances"):
            await client.submit_call(bt.calls.Balances.transfer_all("5C", keep_alive=True), wallet(net.pairs[0]))

    run(tmp_path, scenario)
