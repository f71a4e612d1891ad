import hashlib
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pretrain.commitment import Commitment, Entry
from pretrain.ownership import Claim, Owner, claim, precedence
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision

WEIGHTS = Digest("ab" * 32)
TIE = {Block(100): bytes(range(32))}


def entry(hotkey: str, block: int, competition: int = 0) -> Entry:
    commitment = Commitment(hotkey, "model", Revision("0" * 40), Digest(""), CompetitionId(competition))
    return Entry(Hotkey(hotkey), Block(block), commitment)


def owner(hotkey: str, block: int, competition: int = 0) -> Owner:
    return Owner(entry(hotkey, block, competition), since=entry(hotkey, block, competition))


def by_block_hash(*hotkeys: str) -> list[str]:
    return sorted(hotkeys, key=lambda hotkey: hashlib.sha256(TIE[Block(100)] + hotkey.encode("ascii")).digest())


def claim_all(entries: Sequence[Entry]) -> tuple[dict[Digest, Owner], set[Entry]]:
    owners: dict[Digest, Owner] = {}
    duplicates: set[Entry] = set()
    for one in entries:
        result = claim(owners, WEIGHTS, one, TIE)
        owners = dict(result.owners)
        duplicates |= {one} if result.duplicate_of else set()
        duplicates |= {result.displaced} if result.displaced else set()
    return owners, duplicates


def test_the_first_to_be_downloaded_owns_weights_that_nobody_had() -> None:
    assert claim({}, WEIGHTS, entry("A", 100), {}) == Claim({WEIGHTS: owner("A", 100)})


def test_an_owner_keeps_what_it_has() -> None:
    owners = {WEIGHTS: owner("A", 100)}

    assert claim(owners, WEIGHTS, entry("A", 100), {}) == Claim(owners)


def test_a_later_commitment_is_a_duplicate_in_any_competition() -> None:
    owners = {WEIGHTS: owner("A", 100)}

    assert claim(owners, WEIGHTS, entry("B", 101), {}) == Claim(owners, duplicate_of=entry("A", 100))
    assert claim(owners, WEIGHTS, entry("B", 101, 1), {}) == Claim(owners, duplicate_of=entry("A", 100))


def test_an_earlier_commitment_that_is_downloaded_later_takes_the_weights() -> None:
    found = claim({WEIGHTS: owner("B", 101, 1)}, WEIGHTS, entry("A", 100), {})

    assert found == Claim({WEIGHTS: owner("A", 100)}, displaced=entry("B", 101, 1))


def test_the_same_hotkey_with_the_same_weights_in_the_same_competition_is_a_duplicate() -> None:
    owners = {WEIGHTS: owner("A", 100)}

    assert claim(owners, WEIGHTS, entry("A", 200), {}) == Claim(owners, duplicate_of=entry("A", 100))


def test_an_owner_takes_its_weights_to_another_competition_with_the_new_block() -> None:
    moved = claim({WEIGHTS: owner("A", 100, 0)}, WEIGHTS, entry("A", 200, 1), {})

    assert moved == Claim({WEIGHTS: Owner(entry("A", 200, 1), since=entry("A", 100, 0))})


def test_who_copied_before_the_owner_moved_does_not_come_before_it() -> None:
    moved = claim({WEIGHTS: owner("A", 100, 0)}, WEIGHTS, entry("A", 200, 1), {})

    assert claim(moved.owners, WEIGHTS, entry("B", 150, 0), {}).duplicate_of == entry("A", 200, 1)


def test_an_owner_that_moved_may_move_back() -> None:
    there = claim({WEIGHTS: owner("A", 100, 0)}, WEIGHTS, entry("A", 200, 1), {})
    back = claim(there.owners, WEIGHTS, entry("A", 300, 0), {})

    assert back == Claim({WEIGHTS: Owner(entry("A", 300, 0), since=entry("A", 100, 0))})


def test_other_weights_are_another_matter() -> None:
    owners = {WEIGHTS: owner("A", 100)}
    other = Digest("cd" * 32)

    assert claim(owners, other, entry("B", 101), {}) == Claim({**owners, other: owner("B", 101)})


def test_within_one_block_the_smaller_sha256_of_block_hash_and_hotkey_is_earlier() -> None:
    first, second = by_block_hash("A", "B")
    owned = claim({WEIGHTS: owner(second, 100)}, WEIGHTS, entry(first, 100), TIE)
    refused = claim({WEIGHTS: owner(first, 100)}, WEIGHTS, entry(second, 100), TIE)

    assert owned == Claim({WEIGHTS: owner(first, 100)}, displaced=entry(second, 100))
    assert refused == Claim({WEIGHTS: owner(first, 100)}, duplicate_of=entry(first, 100))


def test_the_order_within_a_block_depends_on_its_hash_so_that_no_hotkey_is_always_first() -> None:
    one, other = entry("A", 100), entry("B", 100)
    hashes = [{Block(100): bytes([number] * 32)} for number in range(20)]

    assert {precedence(one, tie) < precedence(other, tie) for tie in hashes} == {True, False}


entries = st.builds(entry, st.sampled_from("ABCDE"), st.sampled_from([99, 100, 101]), st.just(0))


@given(st.lists(entries, unique=True, min_size=1).flatmap(lambda e: st.tuples(st.permutations(e), st.permutations(e))))
def test_whatever_is_downloaded_first_the_earliest_owns_and_all_others_are_duplicates(
    orders: tuple[list[Entry], list[Entry]],
) -> None:
    first = min(orders[0], key=lambda e: precedence(e, TIE))

    assert (
        claim_all(orders[0]) == claim_all(orders[1]) == ({WEIGHTS: Owner(first, since=first)}, set(orders[0]) - {first})
    )
