"""Yuma against epochs measured on a real runtime, and against small ones worked out by hand."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from subnet import NETUID, parameters, subnet

from pretrain.chain import ledger
from pretrain.chain.bonds import Entries
from pretrain.chain.calls import Call, CommitmentField, SetCommitment, sign
from pretrain.chain.state import dump_row, slots
from pretrain.chain.yuma import EpochInputs, EpochOutputs, Hyperparameters, epoch
from pretrain.types import Block

MEASURED = {path.stem: json.loads(path.read_text()) for path in sorted(Path(__file__).parent.glob("data/yuma/*.json"))}
EPOCHS = [(name, number) for name, scenario in MEASURED.items() for number in range(len(scenario["epochs"]))]


def entries(rows: dict[str, list[list[int]]]) -> dict[int, Entries]:
    return {int(uid): tuple((j, value) for j, value in row) for uid, row in rows.items()}


def hyperparameters(stored: dict[str, Any]) -> Hyperparameters:
    return Hyperparameters(
        kappa=stored["Kappa"],
        tempo=stored["Tempo"],
        activity_cutoff=stored["ActivityCutoff"],
        max_validators=stored["MaxAllowedValidators"],
        stake_threshold=stored["StakeThreshold"],
        tao_weight=stored["TaoWeight"],
        bonds_moving_average=stored["BondsMovingAverage"],
        bonds_penalty=stored["BondsPenalty"],
        bonds_reset=stored["BondsResetOn"],
        yuma3=stored["Yuma3On"],
        liquid_alpha=stored["LiquidAlphaOn"],
        alpha_low=stored["AlphaValues"][0],
        alpha_high=stored["AlphaValues"][1],
        alpha_sigmoid_steepness=stored["AlphaSigmoidSteepness"],
    )


def inputs_of(stored: dict[str, Any]) -> EpochInputs:
    return EpochInputs(
        n=stored["n"],
        block=stored["block"],
        hyperparameters=hyperparameters(stored["hyperparameters"]),
        emission=stored["rao_emission"],
        owner_uid=stored["owner_uid"],
        alpha_stake=tuple(stored["alpha_stake"]),
        root_stake=tuple(stored["root_tao_stake"]),
        validator_permit=tuple(stored["validator_permit"]),
        last_update=tuple(stored["last_update"]),
        block_at_registration=tuple(stored["block_at_registration"]),
        weights=entries(stored["weights"]),
        bonds=entries(stored["bonds"]),
    )


def outputs_of(stored: dict[str, Any]) -> EpochOutputs:
    vectors = {name: tuple(vector) for name, vector in stored.items() if name != "bonds"}
    return EpochOutputs(bonds=entries(stored["bonds"]), **vectors)


@pytest.mark.parametrize(("name", "number"), EPOCHS)
def test_a_measured_epoch_is_reproduced_to_the_last_bit(name: str, number: int) -> None:
    measured = MEASURED[name]["epochs"][number]
    assert epoch(inputs_of(measured["inputs"])) == outputs_of(measured["outputs"])


def test_all_measured_epochs_are_there() -> None:
    assert (len(MEASURED), len(EPOCHS)) == (62, 183)


@pytest.mark.parametrize("name", ["bonds_reset_flag_y1", "bonds_reset_flag_y3"])
def test_a_reset_commitment_of_uid_4_between_two_measured_epochs_clears_the_bonds_in_it(
    name: str, tmp_path: Path
) -> None:
    before, after = MEASURED[name]["epochs"][1:3]
    net = subnet(
        tmp_path, parameters(hyperparameters(after["inputs"]["hyperparameters"])), miners=before["inputs"]["n"] - 2
    )
    net.at(31)
    asyncio.run(net.chains[0].head())
    with ledger.writing(net.path) as database:
        database.executemany(
            "UPDATE epochs SET bonds = ? WHERE block = 31 AND uid = ?",
            [(dump_row(row), uid) for uid, row in entries(before["outputs"]["bonds"]).items()],
        )
    chain, keys = net.chains[4], net.pairs[4]
    flag = SetCommitment((CommitmentField("ResetBondsFlag"),))
    asyncio.run(
        chain.submit(sign(Call(chain.genesis.hash.hex(), NETUID, keys.address, 0, Block(32), flag), keys.hotkey))
    )
    with ledger.reading(net.path) as database:
        found = {slot.uid: slot.bonds for slot in slots(database, Block(32)) if slot.bonds}
    assert found == entries(after["inputs"]["bonds"])


# By hand: uids 0 and 1 validate, 2 and 3 mine; nobody owns the subnet.
TWO_AND_TWO = EpochInputs(
    n=4,
    block=100,
    hyperparameters=Hyperparameters(),
    emission=8_000,
    owner_uid=None,
    alpha_stake=(500, 500, 0, 0),
    root_stake=(0, 0, 0, 0),
    validator_permit=(True, True, False, False),
    last_update=(90, 90, 10, 10),
    block_at_registration=(10, 10, 10, 10),
    weights={},
    bonds={},
)


def test_two_validators_that_agree_share_half_and_their_miners_the_other_half_by_weight() -> None:
    agreeing = replace(TWO_AND_TWO, weights={0: ((2, 3), (3, 1)), 1: ((2, 3), (3, 1))})
    assert epoch(agreeing) == EpochOutputs(
        stake_weight=(32767, 32767, 0, 0),  # 0.5 * 65535 = 32767.5
        active=(True, True, True, True),
        rank=(0, 0, 49151, 16383),  # 0.75 and 0.25 of 65535 are 49151.25 and 16383.75
        trust=(0, 0, 65535, 65535),  # nothing is clipped
        validator_trust=(65535, 65535, 0, 0),
        consensus=(0, 0, 49151, 16383),  # both give 3/4 and 1/4
        incentive=(0, 0, 49151, 16383),
        dividends=(32767, 32767, 0, 0),  # each holds half of every miner
        pruning_scores=(43690, 43690, 65535, 21845),  # 2/3, 2/3, 1, 1/3 of the largest
        emission=(2000, 2000, 3000, 1000),  # 4000 by dividends, 4000 by incentive
        validator_permit=(True, True, False, False),
        bonds={0: ((2, 65535), (3, 65535)), 1: ((2, 65535), (3, 65535))},  # the largest of a column is stored as 1
    )


def test_a_minority_is_clipped_at_the_stake_weighted_median() -> None:
    # Stake 0.6 and 0.4, kappa 0.49999. Uid 0 gives (3/4, 1/4), uid 1 gives (0, 1).
    # Consensus: miner 2: 0 is reached by 0.4 of stake, less than the minority 0.50001, so 3/4; miner 3: 1/4 by 0.6.
    # Clipped: (3/4, 1/4) and (0, 1/4), so validator trust 1 and 1/4.
    # Ranks: 0.6 * 3/4 = 0.45 and 0.6 * 1/4 + 0.4 * 1/4 = 0.25, incentive 0.45 / 0.7 = 9/14 and 5/14.
    # Trust: 0.45 / 0.45 = 1 and 0.25 / (0.15 + 0.4) = 5/11.
    # Bonds: miner 2 is all uid 0's; of miner 3 it has 0.15, uid 1 has 0.1: 3/5 and 2/5, stored as 1 and 2/3.
    # Dividends: 9/14 + 3/5 * 5/14 = 6/7 and 2/5 * 5/14 = 1/7.
    # Emission, half of 7003 each: 3001.29 and 500.2 by dividends, 2250.96 and 1250.5 by incentive.
    split = replace(
        TWO_AND_TWO, alpha_stake=(600, 400, 0, 0), emission=7_003, weights={0: ((2, 3), (3, 1)), 1: ((3, 1),)}
    )
    assert epoch(split) == EpochOutputs(
        stake_weight=(39320, 26213, 0, 0),  # 39321 and 26214 exactly, but truncated to 2**-32 before
        active=(True, True, True, True),
        rank=(0, 0, 42129, 23405),
        trust=(0, 0, 65535, 29788),
        validator_trust=(65535, 16383, 0, 0),
        consensus=(0, 0, 49151, 16383),
        incentive=(0, 0, 42129, 23405),
        dividends=(56172, 9362, 0, 0),
        pruning_scores=(65535, 10922, 49151, 27306),  # 1, 1/6 (10922.5, but truncated before), 3/4, 5/12
        emission=(3001, 500, 2250, 1250),
        validator_permit=(True, True, False, False),
        bonds={0: ((2, 65535), (3, 65535)), 1: ((3, 43689),)},  # 43690 exactly; 2/5 was truncated
    )


def test_a_newcomer_earns_its_half_of_a_miner_only_slowly() -> None:
    # Uid 0 held all of miner 2, now both weigh it alike: each epoch keeps 0.9 of the old and adds 0.1 of (1/2, 1/2).
    start = replace(TWO_AND_TWO, weights={0: ((2, 1),), 1: ((2, 1),)}, bonds={0: ((2, 65535),), 1: ()})
    first = epoch(start)
    # 0.9 * (1, 0) + 0.1 * (1/2, 1/2) = (0.95, 0.05); dividends 62258.25 and 3276.75; stored 1 and 0.05 / 0.95.
    assert (first.dividends, first.bonds) == ((62258, 3276, 0, 0), {0: ((2, 65535),), 1: ((2, 3449),)})
    second = epoch(replace(start, block=121, bonds=first.bonds))
    # Old shares 65535 and 3449 of 68984: 0.950003 and 0.049997. Averages 0.905003 and 0.094997, dividends of 65535
    # 59309.35 and 6225.65; stored 1 and 0.094997 / 0.905003 = 6879.16 / 65535.
    assert (second.dividends, second.bonds) == ((59309, 6225, 0, 0), {0: ((2, 65535),), 1: ((2, 6879),)})


def test_under_yuma3_a_bond_moves_by_a_tenth_of_its_way_to_the_weight() -> None:
    yuma3 = replace(TWO_AND_TWO, hyperparameters=Hyperparameters(yuma3=True), weights={0: ((2, 1),), 1: ((2, 1),)})
    first = epoch(yuma3)
    assert first.bonds == {0: ((2, 6553),), 1: ((2, 6553),)}  # 0.1 * 65535 = 6553.5
    second = epoch(replace(yuma3, block=121, bonds=first.bonds))
    assert second.bonds == {0: ((2, 12451),), 1: ((2, 12451),)}  # 0.9 * 6553 + 6553.5 = 12451.2


def test_without_weights_all_emission_goes_by_active_stake() -> None:
    # Uid 1 was last active at 90; a cutoff of 5 leaves uid 0 alone, which set weights at 98.
    hushed = replace(TWO_AND_TWO, hyperparameters=Hyperparameters(activity_cutoff=5), last_update=(98, 90, 10, 10))
    outputs = epoch(hushed)
    assert (outputs.active, outputs.emission) == ((True, False, False, False), (8000, 0, 0, 0))


def test_without_weights_and_without_an_active_validator_it_goes_by_all_stake() -> None:
    abandoned = replace(TWO_AND_TWO, hyperparameters=Hyperparameters(activity_cutoff=5), alpha_stake=(600, 200, 0, 0))
    outputs = epoch(abandoned)
    assert (outputs.active, outputs.emission) == ((False,) * 4, (6000, 2000, 0, 0))


def test_a_neuron_that_had_no_permit_and_gets_none_keeps_its_stored_bonds() -> None:
    outputs = epoch(replace(TWO_AND_TWO, bonds={3: ((2, 7),)}))
    assert outputs.bonds == {0: (), 1: (), 3: ((2, 7),)}


def test_root_stake_counts_by_a_weight_truncated_to_32_binary_digits() -> None:
    # 6e10 rao * 226245882 / 2**32 = 3160618459.8; the untruncated weight would give 3160618463.2.
    rooted = replace(TWO_AND_TWO, alpha_stake=(1, 0, 0, 0), root_stake=(0, 60_000_000_000, 0, 0))
    at, above = (Hyperparameters(stake_threshold=threshold) for threshold in (3_160_618_459, 3_160_618_460))
    assert epoch(replace(rooted, hyperparameters=at)).stake_weight == (0, 65535, 0, 0)
    assert epoch(replace(rooted, hyperparameters=above)).stake_weight == (0, 0, 0, 0)


def test_stake_of_exactly_kappa_carries_a_weight() -> None:
    # kappa 21845 / 65535 is a third and so is each stake, truncated alike: 2/3 that give 0 just equal the minority.
    thirds = replace(
        TWO_AND_TWO,
        hyperparameters=Hyperparameters(kappa=21845),
        alpha_stake=(5, 5, 5, 0),
        validator_permit=(True, True, True, False),
        last_update=(90, 90, 90, 10),
        weights={0: ((3, 1),), 1: ((2, 1),), 2: ((1, 1),)},
    )
    assert epoch(thirds).consensus == (0, 65535, 65535, 65535)
    assert epoch(replace(thirds, hyperparameters=Hyperparameters(kappa=21846))).consensus == (0, 0, 0, 0)


def test_with_kappa_zero_the_highest_weight_is_the_consensus() -> None:
    split = replace(
        TWO_AND_TWO, hyperparameters=Hyperparameters(kappa=0), weights={0: ((2, 3), (3, 1)), 1: ((2, 1), (3, 3))}
    )
    assert epoch(split).consensus == (0, 0, 49151, 49151)


def test_a_weight_on_a_uid_that_does_not_exist_is_left_out() -> None:
    beyond = replace(TWO_AND_TWO, weights={0: ((9, 5), (2, 1)), 1: ((2, 1),)})
    assert epoch(beyond) == epoch(replace(beyond, weights={0: ((2, 1),), 1: ((2, 1),)}))


LIQUID = replace(
    TWO_AND_TWO,
    hyperparameters=Hyperparameters(yuma3=True, liquid_alpha=True),
    bonds={0: ((2, 65535), (3, 65535)), 1: ((2, 65535),)},
)


def test_under_liquid_alpha_a_bond_decays_where_the_weight_is_zero() -> None:
    # Uid 0 in miner 3: weight 0, bond 1, difference 1, sigmoid 1 / (1 + e**-5) = 0.993307; alpha = 0.700008 + 0.2 *
    # 0.993307 = 0.898669; bond 0.101331 * 65535 = 6640.7. Uid 1 had none there and gets none.
    named = replace(LIQUID, weights={0: ((2, 1), (3, 0)), 1: ((2, 1), (3, 0))})
    assert epoch(named).bonds == {0: ((2, 65535), (3, 6640)), 1: ((2, 65535),)}


def test_under_liquid_alpha_a_bond_is_dropped_where_no_weight_is_set() -> None:
    unnamed = replace(LIQUID, weights={0: ((2, 1),), 1: ((2, 1),)})
    assert epoch(unnamed).bonds == {0: ((2, 65535),), 1: ((2, 65535),)}


def test_under_liquid_alpha_a_part_penalty_drops_it_where_the_weight_is_zero_too() -> None:
    half = replace(LIQUID.hyperparameters, bonds_penalty=32768)
    named = replace(LIQUID, hyperparameters=half, weights={0: ((2, 1), (3, 0)), 1: ((2, 1), (3, 0))})
    assert epoch(named).bonds == {0: ((2, 65535),), 1: ((2, 65535),)}


def test_under_liquid_alpha_an_unsorted_row_is_misread_but_for_a_part_penalty() -> None:
    # In the row (3, 2) the walk misses uid 2: it reads 0 for 3/4, so the bond falls faster than in the row (2, 3).
    bent = replace(LIQUID, weights={0: ((2, 3), (3, 1))})
    bent_unsorted = replace(LIQUID, weights={0: ((3, 1), (2, 3))})
    assert dict(epoch(bent).bonds[0])[2] > dict(epoch(bent_unsorted).bonds[0])[2]
    half = replace(LIQUID.hyperparameters, bonds_penalty=32768)
    assert epoch(replace(bent, hyperparameters=half)) == epoch(replace(bent_unsorted, hyperparameters=half))


def test_without_any_consensus_liquid_alpha_gives_way_to_the_moving_average() -> None:
    assert epoch(LIQUID).bonds == {0: ((2, 58981), (3, 58981)), 1: ((2, 58981),)}  # 0.9 * 65535 = 58981.5
