"""Is everything in place? Each check is a pure function of what was found, and says what to do when it is not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pretrain.facts import Facts, Role, Trouble
from pretrain.outage import spoken

OLD_HEAD, LOST_HEAD = 5, 50
"""Block times after which a newest block is late, and after which its chain or node stands still."""
LAGGING, STUCK = 20, 100
"""Blocks between the newest and the newest finalised one that are many, and that are too many."""
LATE_ROW = 2
"""Intervals without a row of weights after which something is wrong."""
FEE = 0.001
"""TAO that pays for some calls."""
GB = 1e9  # bytes


class Level(StrEnum):
    """How a check came out."""

    GREEN = "green"
    YELLOW = "yellow"
    """It works, or may soon; worth a look."""
    RED = "red"
    """It will not work."""


@dataclass(frozen=True)
class Check:
    """One thing that has to be in place."""

    name: str
    level: Level
    found: str
    todo: str = ""
    """What to do; empty when it is green."""


def examine(facts: Facts) -> tuple[Check, ...]:
    """Return every check of a role, in the order in which things are to be put in place."""
    return tuple(check(facts) for check in CHECKS[facts.asked.role])


def competition(facts: Facts) -> Check:
    """Check that the competition file is right, of this subnet, and has the competition that is meant."""
    asked, contests, name = facts.asked, facts.contests, "competition file"
    if isinstance(contests, Trouble):
        return _red(name, contests.why, f"see `pretrain competitions check {asked.competitions}`, or give another file")
    found = f"{asked.competitions}, digest {contests.digest[:16]}, netuid {contests.netuid}"
    if asked.competition is not None and asked.competition not in contests.names:
        there = ", ".join(f"{number} ({title})" for number, title in sorted(contests.names.items()))
        return _red(name, f"{found}: it has no competition {asked.competition}", f"give --competition: {there}")
    if asked.netuid not in {None, contests.netuid}:
        todo = "take the file of that subnet, or leave out --netuid; right only where rules are tried on another subnet"
        return _yellow(name, f"{found}, but --netuid {asked.netuid} is asked for", todo)
    return _green(name, found)


def wallet(facts: Facts) -> Check:
    """Check that the hotkey can sign."""
    asked = facts.asked
    if isinstance(facts.hotkey, Trouble):
        todo = "name a wallet that is there with --wallet.name, --wallet.hotkey and --wallet.path"
        return _red("wallet", facts.hotkey.why, todo)
    return _green("wallet", f"{asked.wallet}/{asked.hotkey} signs as {facts.hotkey}")


def network(facts: Facts) -> Check:
    """Check which chain it is."""
    if isinstance(facts.network, Trouble):
        if facts.asked.embedded:
            todo = "give --subtensor.network file:PATH of a chain that is there; `pretrain localnet` makes one"
        else:
            todo = (
                "see --subtensor.network and --netuid, and your way to it; --subtensor.fallback names other endpoints"
            )
        return _red("network", facts.network.why, todo)
    return _green("network", f"{facts.network.name}, genesis {facts.network.genesis}, netuid {facts.netuid}")


def endpoint(facts: Facts) -> Check:
    """Check that what answers is in step with its chain."""
    standing, name = facts.standing, "endpoint"
    if isinstance(facts.network, Trouble) or isinstance(facts.hotkey, Trouble):
        return _not_known(name)
    if isinstance(standing, Trouble):
        return _red(name, standing.why, "see --netuid, or name another endpoint with --subtensor.network")
    age, lag = facts.now - standing.head_time, standing.head.block - standing.head.finalized
    blocks = age / facts.network.block_time
    made = f"block {standing.head.block}, made {spoken(max(0, age))} ago, {lag} ahead of the finalised one"
    found = f"{standing.endpoint}: {made}"
    found += f"; then {', '.join(facts.asked.fallback)}" if facts.asked.fallback else ""
    if blocks > OLD_HEAD or lag > LAGGING:
        todo = "it lags behind or stands still: wait, or name another endpoint with --subtensor.network"
        if facts.asked.embedded:
            todo = f"its time stands still: `pretrain chain resume --subtensor.network {facts.asked.network}`"
        level = Level.RED if blocks > LOST_HEAD or lag > STUCK else Level.YELLOW
        return Check(name, level, found, todo)
    return _green(name, found)


def registration(facts: Facts) -> Check:
    """Check that the hotkey has a uid."""
    standing, name = facts.standing, "registration"
    if isinstance(standing, Trouble):
        return _not_known(name)
    if standing.neuron is None:
        found = f"{facts.hotkey} is not registered on subnet {facts.netuid}"
        return _red(name, found, f"`{_register(facts)}`; it costs {standing.registration_cost:g} TAO")
    return _green(name, f"uid {standing.neuron.uid} of subnet {facts.netuid}")


def permit(facts: Facts) -> Check:
    """Check that a validator may set weights on others."""
    standing, name = facts.standing, "permit"
    if isinstance(standing, Trouble) or standing.neuron is None:
        return _not_known(name)
    found = f"stake weight {standing.neuron.stake:g}"
    if standing.neuron.permit:
        return _green(name, f"{found}, with a permit")
    how = "permits are given at each epoch to the hotkeys with the most stake; without one weights are refused"
    if standing.neuron.stake == 0:
        return _red(name, f"{found}, no permit", f"add stake to {facts.hotkey}: {how}")
    return _yellow(name, f"{found}, no permit", f"wait for an epoch, then add stake: {how}")


def balance(facts: Facts) -> Check:
    """Check that the coldkey can pay what is still to be paid."""
    standing, name = facts.standing, "balance"
    if isinstance(standing, Trouble):
        return _not_known(name)
    if standing.coldkey is None:
        found = "not known before the hotkey is registered"
        more = (
            " (`pretrain chain register` takes what is lacking from the chain's faucet)" if facts.asked.embedded else ""
        )
        return _yellow(name, found, f"registering takes {standing.registration_cost:g} TAO of the coldkey{more}")
    found = f"{standing.balance:g} TAO, free, on coldkey {standing.coldkey}"
    if standing.balance < FEE and not facts.asked.embedded:
        return _yellow(name, found, f"send it a little TAO: a call may cost a fee, and {FEE:g} pays for some")
    return _green(name, found)


def weights(facts: Facts) -> Check:
    """Check that a validator has set weights lately."""
    standing, name = facts.standing, "weights"
    if isinstance(standing, Trouble) or standing.neuron is None or isinstance(facts.contests, Trouble):
        return _not_known(name)
    interval = facts.contests.weights_interval
    age = standing.head.block - standing.neuron.last_update
    found = f"last set, or registered, {age} blocks ago; due every {interval}"
    if age > LATE_ROW * interval:
        todo = (
            "is the validator running? its log says why after `weights not set`; a chain counts who is silent for long"
        )
        return _yellow(name, found, f"{todo} (5000 blocks, unless the subnet says otherwise) as inactive")
    return _green(name, found)


def commitment(facts: Facts) -> Check:
    """Check what a miner has entered."""
    entry, standing, name = facts.entry, facts.standing, "commitment"
    if isinstance(entry, Trouble) or isinstance(standing, Trouble):
        return _not_known(name)
    if entry is None:
        return _green(name, "none yet: `neurons/miner.py publish` makes one")
    made = f"{entry.commitment.repo} in competition {entry.competition}"
    found = f"{made}, since block {entry.block} ({standing.head.block - entry.block} blocks ago)"
    if not isinstance(facts.contests, Trouble) and entry.competition not in facts.contests.names:
        return _yellow(name, found, "the competition file has no such competition: publish to one that it has")
    return _green(name, found)


def disk(facts: Facts) -> Check:
    """Check that there is room for models."""
    asked, free, name = facts.asked, facts.free, "disk"
    if isinstance(free, Trouble):
        return _red(name, free.why, "give a --dir that can be written")
    found = f"{free / GB:.1f} GB free for --dir {asked.dir}"
    if isinstance(facts.contests, Trouble):
        return _green(name, found)
    sizes = facts.contests.max_bytes
    largest = max(sizes.values()) if asked.competition is None else sizes.get(asked.competition, 0)
    if free < 2 * largest:
        todo = f"a model may have {largest / GB:.1f} GB, and two at a time are needed: make room, or give another --dir"
        return Check(name, Level.RED if free < largest else Level.YELLOW, found, todo)
    return _green(name, found)


def device(facts: Facts) -> Check:
    """Check that models can run where they are to run."""
    if isinstance(facts.device, Trouble):
        return _red("device", facts.device.why, "see `nvidia-smi`, or give --device cpu or another cuda:N")
    return _green("device", facts.device)


def hub(facts: Facts) -> Check:
    """Check that the hub is there."""
    if isinstance(facts.hub, Trouble):
        return _red("hub", facts.hub.why, "give --hub of one that is there; `pretrain localnet` makes a folder")
    return _green("hub", facts.hub)


def token(facts: Facts) -> Check:
    """Check that a miner can publish; a validator reads as a stranger does."""
    if facts.asked.role == "validator":
        return _green("token", "not needed: a validator reads without one")
    if not facts.token:
        return _red("token", "HF_TOKEN is not set", "put the hub's token, which owns the namespace, there or in .env")
    return _green("token", "HF_TOKEN is set")


CHECKS: Mapping[Role, tuple[Callable[[Facts], Check], ...]] = {
    "miner": (competition, wallet, network, endpoint, registration, balance, commitment, disk, device, hub, token),
    "validator": (
        competition,
        wallet,
        network,
        endpoint,
        registration,
        permit,
        balance,
        weights,
        disk,
        device,
        hub,
        token,
    ),
}


def _register(facts: Facts) -> str:
    """Return the command that registers this hotkey."""
    asked = facts.asked
    if asked.embedded:
        keys = f"--wallet.name {asked.wallet} --wallet.hotkey {asked.hotkey} --wallet.path {asked.wallets}"
        return f"pretrain chain register {keys} --subtensor.network {asked.network} --netuid {facts.netuid}"
    keys = f"--wallet {asked.wallet} --wallet-hotkey {asked.hotkey} --wallet-path {asked.wallets}"
    return f"btcli subnets register --netuid {facts.netuid} --network {asked.network} {keys}"


def _green(name: str, found: str) -> Check:
    return Check(name, Level.GREEN, found)


def _yellow(name: str, found: str, todo: str) -> Check:
    return Check(name, Level.YELLOW, found, todo)


def _red(name: str, found: str, todo: str) -> Check:
    return Check(name, Level.RED, found, todo)


def _not_known(name: str) -> Check:
    """Return a check that waits for another one, where the fault is told."""
    return _yellow(name, "not known yet", "put in place what is red, and ask again")
