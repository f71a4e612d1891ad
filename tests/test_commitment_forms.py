"""Commitments of every form that a chain takes: one Raw field is read, all others are stored and are no entries."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subnet import NETUID, Subnet, commitment, parameters, subnet

from pretrain.chain import fields, history, ledger, runtime, view
from pretrain.chain.calls import Call, CommitmentField, SetCommitment, sign
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.state import newest_commitments, slots
from pretrain.commitment import decode
from pretrain.errors import Refused
from pretrain.types import Block, Hotkey

Fields = tuple[CommitmentField, ...]


@pytest.fixture
def net(tmp_path: Path) -> Subnet:
    return subnet(tmp_path)


def _commit(net: Subnet, made: Fields, block: int = 13) -> None:
    net.at(block - 1)
    keys = net.pairs[2]
    asyncio.run(net.chains[2].head())
    with ledger.reading(net.path) as database:
        nonce = runtime.next_nonce(database, keys.address)
    call = Call(net.chains[2].genesis.hash.hex(), NETUID, keys.address, nonce, Block(block), SetCommitment(made))
    asyncio.run(net.chains[2].submit(sign(call, keys.hotkey)))


def _raw(data: bytes) -> CommitmentField:
    return CommitmentField("Raw", data.hex())


def _text(net: Subnet) -> bytes:
    return commitment(net.pairs[2].address).encode()


CIPHER = "cd" * 1_024
FORMS = {
    "no field": ((), ""),
    "None": ((CommitmentField("None"),), "None"),
    "empty text": ((_raw(b""),), ""),
    "two texts": ((_raw(b"a"), _raw(b"b")), "Raw 61, Raw 62"),
    "a text and nothing": ((_raw(b"a"), CommitmentField("None")), "Raw 61, None"),
    "a hash": ((CommitmentField("Sha256", "ab" * 32),), "Sha256 " + "ab" * 32),
    "a ciphertext": ((CommitmentField("TimelockEncrypted", CIPHER, 2**64 - 1),), f"TimelockEncrypted {CIPHER}"),
    "a flag": ((CommitmentField("ResetBondsFlag"),), "ResetBondsFlag"),
    "a large text": ((CommitmentField("BigRaw", "61" * 512),), "BigRaw " + "61" * 512),
    "not UTF-8": ((_raw(b"\xff\xfe:"),), "\\xff\\xfe:"),
    "128 separators": ((_raw(b":" * 128),), ":" * 128),
    "a null byte": ((_raw(b"a\0b"),), "a\0b"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_commitment_of_any_other_form_is_kept_and_is_no_entry(net: Subnet, form: str) -> None:
    made, shown = FORMS[form]
    _commit(net, made)
    net.at(40)
    assert asyncio.run(net.chains[2].snapshot(20)).entries == ()
    assert asyncio.run(net.chains[2].commitment()) is None
    assert history.commitments(net.path) == (history.CommitmentMade(Block(13), net.pairs[2].address, shown),)
    with ledger.reading(net.path) as database:
        assert newest_commitments(database, Block(20)) == {net.pairs[2].address: (13, made)}


@pytest.mark.parametrize("kind", ["BigRaw", "TimelockEncrypted"])
def test_the_text_of_an_entry_in_another_kind_of_field_is_none(net: Subnet, kind: str) -> None:
    round_ = 1 if kind == "TimelockEncrypted" else None
    _commit(net, (CommitmentField(kind, _text(net).hex(), round_),))  # type: ignore[arg-type]
    assert asyncio.run(net.chains[2].commitment()) is None


def test_an_entry_beside_another_field_is_none_and_alone_it_is_one(net: Subnet) -> None:
    _commit(net, (_raw(_text(net)), CommitmentField("None")))
    net.at(20)
    assert asyncio.run(net.chains[2].commitment()) is None
    _commit(net, (_raw(_text(net)),), 21)
    net.at(22)
    found = asyncio.run(net.chains[2].commitment())
    assert found is not None
    assert (found.block, found.commitment) == (21, decode(_text(net).decode()))


@given(st.lists(st.tuples(st.sampled_from(["None", "Raw", "Sha256", "BigRaw"]), st.binary(max_size=128)), max_size=4))
def test_no_commitment_makes_a_reader_stumble(parts: list[tuple[str, bytes]]) -> None:
    made = tuple(CommitmentField(kind, data.hex()) for kind, data in parts)  # type: ignore[arg-type]
    assert fields.load(fields.dump(made)) == made
    assert view.entry(Hotkey("5"), Block(1), made) is None
    assert isinstance(fields.shown(made), str)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (_raw(b"x" * 129), "a Raw field of 129 bytes: expected 0 to 128"),
        (CommitmentField("BigRaw", "61" * 513), "a BigRaw field of 513 bytes: expected 0 to 512"),
        (CommitmentField("Sha256", "ab" * 31), "a Sha256 field of 31 bytes: expected 32"),
        (CommitmentField("TimelockEncrypted", "ab" * 1_025, 1), "of 1025 bytes: expected 0 to 1024"),
        (CommitmentField("TimelockEncrypted", "ab"), "with reveal_round None: TimelockEncrypted alone has one"),
        (CommitmentField("Raw", "ab", 1), "with reveal_round 1: TimelockEncrypted alone has one"),
        (CommitmentField("None", "ab"), "a None field of 1 bytes: expected 0"),
        (CommitmentField("ResetBondsFlag", "ab"), "a ResetBondsFlag field of 1 bytes: expected 0"),
    ],
)
def test_a_field_that_has_no_form_on_a_real_chain_is_refused(net: Subnet, field: CommitmentField, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        _commit(net, (field,))
    assert refused.value.code == "NotEncodable"


def test_a_fourth_field_is_refused(net: Subnet) -> None:
    _commit(net, (_raw(b"a"),) * 3)
    with pytest.raises(Refused) as refused:
        _commit(net, (_raw(b"a"),) * 4)
    assert refused.value.code == "TooManyFieldsInCommitmentInfo"


def test_the_bytes_of_all_fields_count_and_a_hundred_at_the_least(net: Subnet) -> None:
    def used() -> int:
        with ledger.reading(net.path) as database:
            return int(database.execute("SELECT used FROM space").fetchone()[0])

    budget = []
    for made in [
        (),
        (_raw(b"a" * 64), _raw(b"b" * 64)),
        (CommitmentField("Sha256", "ab" * 32), CommitmentField("Keccak256", "ab" * 32), _raw(b"a" * 37)),
        (CommitmentField("TimelockEncrypted", "ab" * 1_024, 1),),
        (CommitmentField("BigRaw", "ab" * 512), _raw(b"")),
    ]:
        _commit(net, made)
        budget.append(used())
    assert budget == [100, 228, 329, 1_353, 1_865]
    with pytest.raises(Refused) as refused:
        _commit(net, (CommitmentField("TimelockEncrypted", "ab" * 1_024, 1), CommitmentField("BigRaw", "ab" * 212)))
    assert (refused.value.code, used()) == ("SpaceLimitExceeded", 1_865)
    _commit(net, (CommitmentField("TimelockEncrypted", "ab" * 1_024, 1), CommitmentField("BigRaw", "ab" * 211)))
    assert used() == 3_100


# The flag that resets bonds; epochs run at the start of the blocks 10, 31 and 52

FLAG = CommitmentField("ResetBondsFlag")


def _bonded(folder: Path, *, bonds_reset: bool = True) -> Subnet:
    """Make a subnet whose validators weigh both 2 and 3 in block 13, so that each has bonds in them from 31 on."""
    net = subnet(folder, parameters(Hyperparameters(yuma3=True, bonds_reset=bonds_reset)))
    net.at(12)
    for chain in net.chains[:2]:
        asyncio.run(chain.set_weights({net.pairs[2].address: 1.0, net.pairs[3].address: 1.0}, 0))
    return net


def _bonds(net: Subnet, block: int) -> list[list[int]]:
    """Return the miners in which either validator has bonds at the end of a block."""
    with ledger.reading(net.path) as database:
        return [[uid for uid, _ in slot.bonds] for slot in slots(database, Block(block))][:2]


@pytest.mark.parametrize("made", [(FLAG,), (_raw(b"a"), FLAG)])
def test_the_flag_takes_all_bonds_in_its_miner_from_its_block_until_the_next_epoch(
    tmp_path: Path, made: Fields
) -> None:
    net = _bonded(tmp_path)
    _commit(net, made, 40)
    net.at(60)
    asyncio.run(net.chains[0].head())
    before, after = [[2, 3]] * 2, [[3]] * 2
    found = {block: _bonds(net, block) for block in (30, 31, 39, 40, 51, 52)}
    assert found == {30: [[], []], 31: before, 39: before, 40: after, 51: after, 52: before}


def test_an_epoch_starts_from_what_a_reset_has_left_and_the_rows_of_the_epoch_before_stay(tmp_path: Path) -> None:
    stored = {}
    for bonds_reset in (True, False):
        folder = tmp_path / str(bonds_reset)
        folder.mkdir()
        net = _bonded(folder, bonds_reset=bonds_reset)
        _commit(net, (FLAG,), 40)
        net.at(60)
        asyncio.run(net.chains[0].head())
        with ledger.reading(net.path) as database:
            for block in (31, 52):
                found = database.execute("SELECT bonds FROM epochs WHERE block = ? ORDER BY uid", (block,))
                stored[bonds_reset, block] = found.fetchall()
    assert stored[True, 31] == stored[False, 31]
    assert stored[True, 52] != stored[False, 52]


def test_a_flag_in_the_block_of_an_epoch_resets_what_that_epoch_has_made(tmp_path: Path) -> None:
    net = _bonded(tmp_path)
    _commit(net, (FLAG,), 31)
    assert _bonds(net, 31) == [[3], [3]]
    _commit(net, (_raw(b"a"),), 32)
    assert _bonds(net, 32) == [[3], [3]], "another commitment brings nothing back"


@pytest.mark.parametrize(("bonds_reset", "made"), [(False, (FLAG,)), (True, (_raw(b"a"),)), (True, ())])
def test_without_the_flag_or_on_a_subnet_that_does_not_read_it_bonds_stay(
    tmp_path: Path, made: Fields, *, bonds_reset: bool
) -> None:
    net = _bonded(tmp_path, bonds_reset=bonds_reset)
    _commit(net, made, 40)
    assert _bonds(net, 40) == [[2, 3], [2, 3]]
