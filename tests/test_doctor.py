"""What ``pretrain doctor`` makes of what it found: facts in, checks out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.chain import Head, Network, Neuron, Standing
from pretrain.commitment import Commitment, Entry
from pretrain.doctor import Check, Level, examine
from pretrain.facts import Asked, Contests, Facts, Folder, Role, Trouble
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision, Uid

HOTKEY = Hotkey("5Alice")
NOW = 10_000.0
ENTRY = Entry(
    HOTKEY,
    Block(900),
    Commitment("alice", "model", Revision("0" * 40), Digest("A" * 43 + "="), CompetitionId(1)),
)


def facts(role: Role = "validator", network: str = "finney") -> Facts:
    """Return a set-up in which everything is in place."""
    neuron = Neuron(Uid(3), HOTKEY, 500.0, permit=True, incentive=0.0, last_update=Block(950))
    return Facts(
        asked=Asked(
            role=role,
            network=network,
            fallback=(),
            netuid=None,
            wallet="alice",
            hotkey="default",
            wallets="~/w",
            competitions="sn9.yaml",
            competition=CompetitionId(1) if role == "miner" else None,
            dir="here",
        ),
        now=NOW,
        contests=Contests(
            Digest("ab" * 32),
            9,
            100,
            1,
            {CompetitionId(0): "prose", CompetitionId(1): "mixed"},
            {CompetitionId(0): 10_000_000_000, CompetitionId(1): 1_000_000_000},
            ((Block(100), (CompetitionId(0),)), (Block(500), (CompetitionId(0), CompetitionId(1)))),
        ),
        texts="sources prose; tokenizers bpe",
        hotkey=HOTKEY,
        coldkey="5Cold",
        network=Network(network, "cd" * 32, 12.0),
        paused=False,
        standing=Standing(
            head=Head(Block(1000), Block(998)),
            head_time=NOW - 10,
            endpoint="wss://node",
            neuron=neuron,
            coldkey="5Cold",
            balance=2.5,
            registration_cost=0.1,
            weights_rate_limit=100,
            commit_reveal=False,
            version_key=0,
        ),
        entry=ENTRY,
        folder=Folder("here/state.sqlite is whole", in_use=False),
        free=50_000_000_000,
        device="cpu, 2 cores",
        hub="folder:hub is there",
        token=True,
    )


def check(name: str, found: Facts) -> Check:
    return next(check for check in examine(found) if check.name == name)


def standing(found: Facts, **changes: object) -> Facts:
    """Return the facts with another standing."""
    assert isinstance(found.standing, Standing)
    return replace(found, standing=replace(found.standing, **changes))  # type: ignore[arg-type]


def neuron(found: Facts, **changes: object) -> Facts:
    """Return the facts with another neuron."""
    assert isinstance(found.standing, Standing)
    assert found.standing.neuron is not None
    return standing(found, neuron=replace(found.standing.neuron, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["miner", "validator"])
@pytest.mark.parametrize("network", ["finney", "file:chain.sqlite"])
def test_where_all_is_in_place_all_is_green_and_nothing_is_to_be_done(role: Role, network: str) -> None:
    found = examine(facts(role, network))
    assert {(made.level, made.todo) for made in found} == {(Level.GREEN, "")}
    names = {made.name for made in found}
    own = {"commitment"} if role == "miner" else {"permit", "weights"}
    common = {
        "competition file",
        "texts",
        "wallet",
        "network",
        "endpoint",
        "registration",
        "balance",
        "folder",
        "disk",
        "device",
        "hub",
    }
    assert names == own | common | {"token"}


@pytest.mark.parametrize(
    ("name", "part", "todo"),
    [
        ("competition file", "contests", "pretrain competitions check sn9.yaml"),
        ("texts", "texts", "--competitions"),
        ("wallet", "hotkey", "--wallet.name"),
        ("network", "network", "--subtensor.network"),
        ("endpoint", "standing", "--subtensor.network"),
        ("folder", "folder", "--dir"),
        ("disk", "free", "--dir"),
        ("device", "device", "--device cpu"),
        ("hub", "hub", "--hub"),
    ],
)
def test_what_could_not_be_found_out_is_red_with_its_reason_and_what_to_do(name: str, part: str, todo: str) -> None:
    made = check(name, replace(facts(), **{part: Trouble("it is gone")}))  # type: ignore[arg-type]
    assert (made.level, made.found, todo in made.todo) == (Level.RED, "it is gone", True)


def test_what_hangs_on_it_waits_and_is_not_red_as_well() -> None:
    gone = Trouble("no answer")
    found = examine(replace(facts("miner"), network=gone, standing=gone, entry=gone))
    assert [made.name for made in found if made.level is Level.RED] == ["network"]
    waiting = {made.name for made in found if made.level is Level.YELLOW}
    assert waiting == {"endpoint", "registration", "balance", "commitment", "folder"}


BTCLI = "btcli subnets register --netuid 9 --network test --wallet alice --wallet-hotkey default --wallet-path ~/w"
OURS = "pretrain chain register --wallet.name alice --wallet.hotkey default --wallet.path ~/w"


@pytest.mark.parametrize(
    ("network", "command"), [("test", BTCLI), ("file:c", f"{OURS} --subtensor.network file:c --netuid 9")]
)
def test_who_is_not_registered_is_told_the_command_and_its_price(network: str, command: str) -> None:
    found = standing(facts("miner", network), neuron=None)
    assert check("registration", found) == Check(
        "registration", Level.RED, "5Alice is not registered on subnet 9", f"`{command}`; it costs 0.1 TAO"
    )


@pytest.mark.parametrize(
    ("network", "balance", "level", "faucet"),
    [
        ("finney", 0.0999, Level.RED, False),
        ("finney", 0.1, Level.GREEN, False),
        ("file:c", 0.0999, Level.YELLOW, True),
        ("file:c", 0.1, Level.GREEN, False),
    ],
)
def test_a_coldkey_that_cannot_pay_for_registering_is_told_so_beforehand(
    network: str, balance: float, level: Level, *, faucet: bool
) -> None:
    made = check("balance", standing(facts("miner", network), neuron=None, balance=balance))
    assert (made.level, f"{balance:g} TAO, free, on coldkey 5Cold" in made.found) == (level, True)
    assert ("registering takes 0.1 TAO" in made.todo, "faucet" in made.todo) == (level is not Level.GREEN, faucet)


@pytest.mark.parametrize(("network", "faucet"), [("finney", False), ("file:c", True)])
def test_of_a_coldkey_that_is_not_known_the_price_is_told_all_the_same(network: str, *, faucet: bool) -> None:
    found = replace(facts("miner", network), coldkey=Trouble("it is gone"))
    made = check("balance", standing(found, neuron=None, coldkey=None, balance=0.0))
    assert (made.level, made.found) == (Level.YELLOW, "not known: it is gone")
    assert ("registering takes 0.1 TAO" in made.todo, "faucet" in made.todo) == (True, faucet)


@pytest.mark.parametrize(("stake", "level"), [(0.0, Level.RED), (10.0, Level.YELLOW)])
def test_without_a_permit_it_says_how_permits_come(stake: float, level: Level) -> None:
    made = check("permit", neuron(facts(), permit=False, stake=stake))
    assert (made.level, "permits are given at each epoch to the hotkeys with the most stake" in made.todo) == (
        level,
        True,
    )


@pytest.mark.parametrize(("network", "level"), [("finney", Level.YELLOW), ("file:x", Level.GREEN)])
def test_an_empty_coldkey_is_worth_a_look_where_calls_may_cost_a_fee(network: str, level: Level) -> None:
    levels = [check("balance", standing(facts(network=network), balance=left)).level for left in (0.0, 0.0009, 0.001)]
    assert levels == [level, level, Level.GREEN]


@pytest.mark.parametrize(
    ("age", "lag", "level"),
    [
        (60.0, 3, Level.GREEN),
        (61.0, 3, Level.YELLOW),
        (601.0, 3, Level.RED),
        (5.0, 21, Level.YELLOW),
        (5.0, 101, Level.RED),
        (-3.0, 3, Level.GREEN),
    ],
)
def test_a_chain_that_lags_or_stands_still_is_told(age: float, lag: int, level: Level) -> None:
    head = Head(Block(1000), Block(1000 - lag))
    made = check("endpoint", standing(facts(), head=head, head_time=NOW - age))
    assert (made.level, "wss://node: block 1000" in made.found) == (level, True)


def test_an_embedded_chain_that_stands_still_is_made_to_go_on() -> None:
    made = check("endpoint", standing(facts(network="file:x"), head_time=0.0))
    assert "pretrain chain resume --subtensor.network file:x" in made.todo


def test_a_paused_chain_is_red_although_it_is_young() -> None:
    made = check("endpoint", replace(facts(network="file:x"), paused=True))
    assert (made.level, "pretrain chain resume --subtensor.network file:x" in made.todo) == (Level.RED, True)


def test_a_subnet_that_is_not_there_is_the_networks_fault_and_silence_the_endpoints() -> None:
    unknown = Trouble("--netuid 7: this network has no such subnet", is_asked_wrong=True)
    found = replace(facts(network="ws://x"), standing=unknown)
    assert (check("network", found).level, check("network", found).found) == (Level.RED, unknown.why)
    assert check("endpoint", found).level is Level.YELLOW
    silent = replace(found, standing=Trouble("no answer"))
    assert (check("network", silent).level, check("endpoint", silent).level) == (Level.GREEN, Level.RED)


@pytest.mark.parametrize(
    ("network", "wrong", "todo"),
    [
        ("file:c", False, "give --subtensor.network file:PATH of a chain that is there"),
        ("file:c", True, "give --subtensor.network and --netuid that belong together"),
        ("finney", False, "see --subtensor.network, and your way to it"),
        ("finney", True, "give --subtensor.network and --netuid that belong together"),
    ],
)
def test_what_to_do_about_a_network_hangs_on_whose_fault_it_is(network: str, todo: str, *, wrong: bool) -> None:
    made = check("network", replace(facts(network=network), network=Trouble("gone", is_asked_wrong=wrong)))
    assert (made.level, made.todo.startswith(todo)) == (Level.RED, True)


def test_without_a_wallet_the_endpoint_is_told_all_the_same() -> None:
    found = replace(standing(facts(), neuron=None), hotkey=Trouble("no wallet"), entry=Trouble("no hotkey"))
    levels = {made.name: made.level for made in examine(found)}
    assert (levels["endpoint"], levels["balance"], levels["registration"]) == (Level.GREEN, Level.GREEN, Level.YELLOW)
    assert [made.name for made in examine(found) if made.level is Level.RED] == ["wallet"]


def test_texts_that_take_long_to_open_are_no_fault() -> None:
    assert check("texts", replace(facts(), texts=Trouble("no answer", is_late=True))).level is Level.YELLOW


def test_rows_that_are_committed_first_are_told() -> None:
    told = [check("weights", standing(facts(), commit_reveal=shown)).found for shown in (False, True)]
    assert ["committed first, and revealed later" in found for found in told] == [False, True]


@pytest.mark.parametrize(
    ("block", "level", "todo"),
    [
        (50, Level.YELLOW, "wait for block 500, or give --competition: none"),
        (499, Level.YELLOW, "wait for block 500, or give --competition: 0 (prose)"),
        (500, Level.GREEN, ""),
    ],
)
def test_a_competition_that_is_not_in_force_yet_is_worth_a_look(block: int, level: Level, todo: str) -> None:
    made = check("competition file", standing(facts("miner"), head=Head(Block(block), Block(block))))
    assert (made.level, made.todo) == (level, todo)


def test_a_competition_that_is_over_is_wrong() -> None:
    found = facts("miner")
    assert isinstance(found.contests, Contests)
    over = replace(found.contests, phases=(*found.contests.phases, (Block(900), (CompetitionId(0),))))
    made = check("competition file", replace(found, contests=over))
    assert (made.level, made.todo) == (Level.RED, "give --competition: 0 (prose)")
    assert "competition 1 is not in force at block 1000" in made.found


def test_the_digest_of_the_competition_file_is_told() -> None:
    assert check("competition file", facts()).found == f"sn9.yaml, digest {'ab' * 8}, netuid 9"


@pytest.mark.parametrize(
    ("network", "answered", "told"),
    [
        ("finney", "wss://node", "finalised one; whether wss://b, wss://c would answer is not known"),
        ("wss://node/KEY", "wss://node", "finalised one; whether wss://b, wss://c would answer is not known"),
        ("wss://a/KEY", "wss://b", "finalised one, instead of wss://a; whether wss://c would answer is not known"),
    ],
)
def test_of_fallbacks_nothing_is_claimed_and_no_key_in_an_address_is_told(
    network: str, answered: str, told: str
) -> None:
    asked = replace(facts(network=network).asked, fallback=("wss://b/KEY", "wss://user:KEY@c/?k=KEY"))
    found = standing(replace(facts(), asked=asked), endpoint=answered, neuron=None)
    assert check("endpoint", found).found.endswith(told)
    assert not [made for made in examine(found) if "KEY" in made.found + made.todo]


def test_a_command_whose_address_is_cut_short_says_so() -> None:
    made = check("registration", standing(facts("miner", "wss://node:443/KEY"), neuron=None))
    assert "--network wss://node:443 --wallet alice" in made.todo
    assert "default --wallet-path ~/w`, with the whole address of the network; it costs" in made.todo


@pytest.mark.parametrize(("last", "level"), [(800, Level.GREEN), (799, Level.YELLOW)])
def test_a_row_of_weights_that_is_long_due_is_told(last: int, level: Level) -> None:
    made = check("weights", neuron(facts(), last_update=Block(last)))
    assert (made.level, f"{1000 - last} blocks ago; due every 100" in made.found) == (level, True)


@pytest.mark.parametrize(("required", "level"), [(0, Level.GREEN), (1, Level.GREEN), (2, Level.RED)])
def test_a_version_key_below_the_subnets_is_red_also_before_registering(required: int, level: Level) -> None:
    made = check("weights", standing(facts(), version_key=required))
    assert (made.level, "version key 1; subnet 9 takes no row below 2" in made.found) == (level, level is Level.RED)
    early = check("weights", standing(facts(), version_key=required, neuron=None))
    assert (early.level is Level.RED) == (level is Level.RED)


def test_a_commitment_is_told_with_its_age_and_having_none_is_no_fault() -> None:
    assert check("commitment", facts("miner")).found == (
        "alice/model in competition 1, since block 900 (100 blocks ago)"
    )
    assert check("commitment", replace(facts("miner"), entry=None)).level is Level.GREEN
    elsewhere = replace(ENTRY, commitment=replace(ENTRY.commitment, competition=CompetitionId(7)))
    assert check("commitment", replace(facts("miner"), entry=elsewhere)).level is Level.YELLOW


@pytest.mark.parametrize(
    ("folder", "level", "told"),
    [
        (Folder("", in_use=False), Level.GREEN, "nothing yet in --dir here"),
        (Folder("all of it", in_use=False), Level.GREEN, "all of it"),
        (Folder("all of it", in_use=True), Level.YELLOW, "all of it; a process has it now"),
        (Trouble("no answer", is_late=True), Level.YELLOW, "no answer"),
        (Trouble("damaged", is_asked_wrong=True), Level.RED, "damaged"),
    ],
)
def test_a_folder_is_told_with_what_it_holds_and_who_has_it(folder: Folder | Trouble, level: Level, told: str) -> None:
    made = check("folder", replace(facts(), folder=folder))
    assert (made.level, made.found) == (level, told)


def test_a_folder_of_which_it_is_not_known_whose_it_should_be_waits_unless_it_is_empty() -> None:
    unknown = replace(facts(), network=Trouble("no answer"))
    assert check("folder", unknown).level is Level.YELLOW
    assert check("folder", replace(unknown, folder=Folder("", in_use=False))).level is Level.GREEN


@pytest.mark.parametrize(
    ("role", "free", "level"),
    [
        ("validator", 20_000_000_000, Level.GREEN),
        ("validator", 19_999_999_999, Level.YELLOW),
        ("validator", 9_999_999_999, Level.RED),
        ("miner", 2_000_000_000, Level.GREEN),
        ("miner", 1_999_999_999, Level.YELLOW),
        ("miner", 999_999_999, Level.RED),
    ],
)
def test_the_disk_must_hold_two_of_the_largest_models_and_a_miners_two_of_his(
    role: Role, free: int, level: Level
) -> None:
    assert check("disk", replace(facts(role), free=free)).level is level


@pytest.mark.parametrize(
    ("free", "level"), [(30, Level.GREEN), (29.9, Level.YELLOW), (20, Level.YELLOW), (19.9, Level.RED)]
)
def test_what_downloads_leave_free_counts_too(free: float, level: Level) -> None:
    asked = replace(facts().asked, min_free_gb=10.0)
    found = check("disk", replace(facts(), asked=asked, free=int(free * 1e9)))
    assert (found.level, "10 GB stay free (--store.min_free_gb)" in found.todo) == (level, level is not Level.GREEN)


def test_another_subnet_than_the_files_is_worth_a_look_and_an_unknown_competition_is_wrong() -> None:
    other = replace(facts("miner"), asked=replace(facts("miner").asked, netuid=3))
    made = check("competition file", other)
    assert (made.level, "netuid 9, but --netuid 3 is asked for" in made.found) == (Level.YELLOW, True)
    assert "netuid 3" in check("network", other).found
    unknown = replace(facts("miner"), asked=replace(facts("miner").asked, competition=CompetitionId(7)))
    made = check("competition file", unknown)
    assert (made.level, made.todo) == (Level.RED, "give --competition: 0 (prose), 1 (mixed)")


def test_a_token_is_needed_by_a_miner_alone() -> None:
    levels = [check("token", replace(facts(role), token=False)).level for role in ("miner", "validator")]
    assert levels == [Level.RED, Level.GREEN]


PARTS = ["contests", "texts", "coldkey", "hotkey", "network", "standing", "entry", "folder", "free", "device", "hub"]


@given(st.sets(st.sampled_from(PARTS)), st.sampled_from(["miner", "validator"]))
def test_whatever_is_missing_every_check_answers_and_says_what_to_do_when_it_is_not_green(
    missing: set[str], role: Role
) -> None:
    found = examine(replace(facts(role), token=False, **dict.fromkeys(missing, Trouble("gone"))))  # type: ignore[arg-type]
    assert all((made.level is Level.GREEN) == (made.todo == "") for made in found)
    assert len(found) == len(examine(facts(role)))
