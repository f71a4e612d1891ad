"""What holds of Yuma for any weights, stakes and settings, and the corners that no measured epoch reaches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain.chain import fixed
from pretrain.chain.bonds import Entries
from pretrain.chain.fixed import ONE, U16_MAX
from pretrain.chain.yuma import EpochInputs, Hyperparameters, epoch

T = TypeVar("T")
BLOCK = 1_000
MAX_SUPPLY_RAO = 21_000_000 * 10**9
u16s = st.integers(0, U16_MAX)
rule = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure


@st.composite
def hyperparameters(draw: st.DrawFn) -> Hyperparameters:
    low, high = sorted((draw(u16s), draw(u16s)))
    return Hyperparameters(
        kappa=draw(u16s),
        activity_cutoff=draw(st.integers(0, BLOCK)),
        stake_threshold=draw(st.sampled_from((0, 1_000))),
        bonds_moving_average=draw(st.integers(0, 1_000_000)),
        bonds_penalty=draw(u16s | st.sampled_from((0, U16_MAX))),
        yuma3=draw(st.booleans()),
        liquid_alpha=draw(st.booleans()),
        alpha_low=low,
        alpha_high=high,
        alpha_sigmoid_steepness=draw(st.integers(-(2**15), 2**15 - 1)),
    )


@st.composite
def subnets(draw: st.DrawFn) -> EpochInputs:
    n = draw(st.integers(1, 7))
    stake = st.one_of(st.integers(0, 2_000), st.integers(0, MAX_SUPPLY_RAO // 7))

    def vector(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.lists(values, min_size=n, max_size=n)))

    def rows() -> dict[int, Entries]:
        row = st.dictionaries(st.integers(0, n - 1), u16s).map(lambda entries: tuple(entries.items()))
        return draw(st.dictionaries(st.integers(0, n - 1), row))

    return EpochInputs(
        n=n,
        block=BLOCK,
        hyperparameters=draw(hyperparameters()),
        emission=draw(st.integers(0, 10**12)),
        owner_uid=draw(st.none() | st.integers(0, n - 1)),
        alpha_stake=vector(stake),
        root_stake=vector(stake),
        validator_permit=tuple(map(bool, vector(st.integers(0, 3)))),
        last_update=vector(st.integers(BLOCK - 100, BLOCK - 1)),
        block_at_registration=vector(st.sampled_from((1, BLOCK - 60, BLOCK - 10))),
        weights=rows(),
        bonds=rows(),
    )


def in_uid_order(rows: Mapping[int, Entries]) -> dict[int, Entries]:
    return {uid: tuple(sorted(row)) for uid, row in rows.items()}


def relabelled(values: Sequence[T], old_uids: Sequence[int]) -> tuple[T, ...]:
    return tuple(values[old] for old in old_uids)


def relabelled_rows(rows: Mapping[int, Entries], old_uids: Sequence[int]) -> dict[int, Entries]:
    new = {old: uid for uid, old in enumerate(old_uids)}
    return in_uid_order({new[i]: tuple((new[j], x) for j, x in row) for i, row in rows.items()})


def relabelled_subnet(subnet: EpochInputs, old_uids: Sequence[int]) -> EpochInputs:
    return replace(
        subnet,
        owner_uid=None if subnet.owner_uid is None else old_uids.index(subnet.owner_uid),
        alpha_stake=relabelled(subnet.alpha_stake, old_uids),
        root_stake=relabelled(subnet.root_stake, old_uids),
        validator_permit=relabelled(subnet.validator_permit, old_uids),
        last_update=relabelled(subnet.last_update, old_uids),
        block_at_registration=relabelled(subnet.block_at_registration, old_uids),
        weights=relabelled_rows(subnet.weights, old_uids),
        bonds=relabelled_rows(subnet.bonds, old_uids),
    )


@rule
@given(subnets())
def test_incentive_sums_to_one_but_for_truncation_or_nobody_has_any(subnet: EpochInputs) -> None:
    total = sum(epoch(subnet).incentive)
    assert total == 0 or U16_MAX - subnet.n <= total <= U16_MAX


@rule
@given(subnets())
def test_emission_is_never_exceeded_and_falls_short_by_truncation_only(subnet: EpochInputs) -> None:
    outputs = epoch(subnet)
    lost = subnet.emission - sum(outputs.emission)
    assert 0 <= lost <= subnet.n * (2 + subnet.emission // 2**32) or not any(outputs.stake_weight + outputs.incentive)


@rule
@given(subnets())
def test_every_output_is_n_long_and_u16(subnet: EpochInputs) -> None:
    outputs = epoch(subnet)
    fields = {name: value for name, value in vars(outputs).items() if name != "bonds"}
    assert {name: len(value) for name, value in fields.items()} == dict.fromkeys(fields, subnet.n)
    u16 = [x for name, value in fields.items() if name != "emission" for x in value]
    u16 += [x for row in outputs.bonds.values() for _, x in row]
    assert all(0 <= x <= U16_MAX for x in u16)


@rule
@given(subnets(), st.data())
def test_uids_are_only_names(subnet: EpochInputs, data: st.DataObject) -> None:
    # As far as all who have stake get a permit (of equals the higher uid does) and rows are in the order of uids.
    old_uids = data.draw(st.permutations(range(subnet.n)))
    plain = replace(subnet, weights=in_uid_order(subnet.weights), bonds=in_uid_order(subnet.bonds))
    expected = {
        name: relabelled_rows(value, old_uids) if name == "bonds" else relabelled(value, old_uids)
        for name, value in vars(epoch(plain)).items()
    }
    assert vars(epoch(relabelled_subnet(plain, old_uids))) == expected


@rule
@given(subnets(), st.data())
def test_the_order_of_a_row_matters_to_liquid_alpha_alone_and_not_after_a_part_penalty(
    subnet: EpochInputs, data: st.DataObject
) -> None:
    blind = (
        replace(subnet.hyperparameters, liquid_alpha=False),
        replace(subnet.hyperparameters, bonds_penalty=32_768),
    )
    subnet = replace(subnet, hyperparameters=data.draw(st.sampled_from(blind)))
    shuffled = {uid: tuple(data.draw(st.permutations(row))) for uid, row in subnet.weights.items()}
    assert epoch(replace(subnet, weights=shuffled)) == epoch(subnet)


@rule
@given(subnets(), u16s, st.data())
def test_a_weight_on_oneself_changes_nothing_unless_one_owns_the_subnet(
    subnet: EpochInputs, weight: int, data: st.DataObject
) -> None:
    uid = data.draw(st.integers(0, subnet.n - 1).filter(lambda uid: uid != subnet.owner_uid or subnet.n == 1))
    subnet = replace(subnet, owner_uid=None if subnet.n == 1 else subnet.owner_uid)
    others = tuple(entry for entry in subnet.weights.get(uid, ()) if entry[0] != uid)
    without = replace(subnet, weights={**subnet.weights, uid: others})
    assert epoch(replace(subnet, weights={**subnet.weights, uid: (*others, (uid, weight))})) == epoch(without)


@rule
@given(subnets())
def test_a_row_without_a_permit_changes_nothing(subnet: EpochInputs) -> None:
    permitted = {uid: row for uid, row in subnet.weights.items() if subnet.validator_permit[uid]}
    assert epoch(replace(subnet, weights=permitted)) == epoch(subnet)


@rule
@given(subnets())
def test_miners_that_only_a_minority_of_stake_names_earn_nothing(subnet: EpochInputs) -> None:
    outputs = epoch(subnet)
    tao_weight = Fraction(subnet.hyperparameters.tao_weight, 2**64 - 1)
    stakes = [a + r * tao_weight for a, r in zip(subnet.alpha_stake, subnet.root_stake, strict=True)]
    voting = [
        stake if stake >= subnet.hyperparameters.stake_threshold and active and permitted else 0
        for stake, active, permitted in zip(stakes, outputs.active, subnet.validator_permit, strict=True)
    ]
    named = [
        sum(voting[i] for i, row in subnet.weights.items() if any(uid == j and weight for uid, weight in row))
        for j in range(subnet.n)
    ]
    majority = (Fraction(subnet.hyperparameters.kappa, U16_MAX) - Fraction(1, 10**6)) * sum(voting)
    assert [outputs.incentive[j] for j in range(subnet.n) if named[j] < majority] == [
        0 for j in range(subnet.n) if named[j] < majority
    ]


def test_of_equal_stakes_the_higher_uid_gets_the_last_permit_and_no_stake_gets_none() -> None:
    assert fixed.top_k((5, 7, 5, 0), 2) == (False, True, True, False)
    assert fixed.top_k((0, 0, 9), 2) == (False, False, True)


@pytest.mark.parametrize("x", [0.25, 0.5, 3.0, 5.0, -0.25, -2.0, -5.0])
def test_exp_is_right_to_a_millionth(x: float) -> None:
    assert fixed.exp(round(x * ONE)) / ONE == pytest.approx(math.exp(x), rel=1e-6)


def test_exp_sums_the_terms_up_to_the_31st_and_no_more() -> None:
    series = sum(Fraction(20**k, math.factorial(k)) for k in range(32))
    assert fixed.exp(20 * ONE) / ONE == pytest.approx(float(series), rel=1e-9)


def test_exp_of_one_has_23_binary_digits_only() -> None:
    assert (fixed.exp(ONE), fixed.exp(0)) == (math.floor(math.e * 2**23) * 2**9, ONE)


def test_exp_is_zero_once_a_term_overflows_at_either_end() -> None:
    # The largest term of e**21 is 21**20 / 20! = 1.1e8; times 21 it passes 2**31, though e**21 = 1.3e9 does not.
    assert [fixed.exp(x * ONE) for x in (21, 100, -21, -100)] == [0, 0, 0, 0]


def test_products_round_down_and_quotients_towards_zero() -> None:
    assert (fixed.multiply(-1, 1), fixed.divide(-1, 3 * ONE), fixed.divide(ONE, 0)) == (-1, 0, 0)
