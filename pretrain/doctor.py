"""Is everything in place? Each check is a pure function of what was found, and says what to do when it is not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pretrain.chain import Network
from pretrain.chain.connection import shown
from pretrain.facts import Asked, Contests, Facts, Role, Trouble
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
    absent = _not_in_force(facts, contests, found)
    if absent is not None:
        return absent
    if asked.netuid not in {None, contests.netuid}:
        todo = "take the file of that subnet, or leave out --netuid; right only where rules are tried on another subnet"
        return _yellow(name, f"{found}, but --netuid {asked.netuid} is asked for", todo)
    return _green(name, found)


def texts(facts: Facts) -> Check:
    """Check that all is there that windows are drawn from: without one of them no daemon starts."""
    if isinstance(facts.contests, Trouble):
        return _not_known("texts")
    if isinstance(facts.texts, Trouble) and facts.texts.is_late:
        todo = "ask again when the machine has less to do; a daemon opens all of it at its start, and waits"
        return _yellow("texts", facts.texts.why, todo)
    if isinstance(facts.texts, Trouble):
        todo = "put it where the file says, or give --competitions of a file whose sources and tokenizer are here"
        return _red("texts", facts.texts.why, todo)
    return _green("texts", facts.texts)


def wallet(facts: Facts) -> Check:
    """Check that the hotkey can sign."""
    asked = facts.asked
    if isinstance(facts.hotkey, Trouble):
        todo = "do that, or name another with --wallet.name, --wallet.hotkey and --wallet.path"
        return _red("wallet", facts.hotkey.why, todo)
    return _green("wallet", f"{asked.wallet}/{asked.hotkey} signs as {facts.hotkey}")


def network(facts: Facts) -> Check:
    """Check which chain it is."""
    known = _network(facts)
    if isinstance(known, Trouble):
        if known.is_asked_wrong:
            todo = "give --subtensor.network and --netuid that belong together, or the competition file of that subnet"
        elif facts.asked.embedded:
            todo = "give --subtensor.network file:PATH of a chain that is there; `pretrain localnet` makes one"
        else:
            todo = "see --subtensor.network, and your way to it; --subtensor.fallback names other endpoints"
        return _red("network", known.why, todo)
    return _green("network", f"{known.name}, genesis {known.genesis}, netuid {facts.netuid}")


def endpoint(facts: Facts) -> Check:
    """Check that what answers is in step with its chain."""
    standing, known, name = facts.standing, _network(facts), "endpoint"
    if isinstance(known, Trouble):
        return _not_known(name)
    if isinstance(standing, Trouble):
        return _red(name, standing.why, "name another endpoint with --subtensor.network, or ask again")
    age, lag = facts.now - standing.head_time, standing.head.block - standing.head.finalized
    blocks = age / known.block_time
    made = f"block {standing.head.block}, made {spoken(max(0, age))} ago, {lag} ahead of the finalised one"
    found = f"{standing.endpoint}: {made}{_others(facts.asked, standing.endpoint)}"
    if facts.paused or blocks > OLD_HEAD or lag > LAGGING:
        todo = "it lags behind or stands still: wait, or name another endpoint with --subtensor.network"
        if facts.asked.embedded:
            resume = f"`pretrain chain resume --subtensor.network {facts.asked.network}`"
            todo = f"it stands still: {resume} lets it go on; a daemon without that ages all in it by the time since"
        level = Level.RED if facts.paused or blocks > LOST_HEAD or lag > STUCK else Level.YELLOW
        return Check(name, level, found, todo)
    return _green(name, found)


def registration(facts: Facts) -> Check:
    """Check that the hotkey has a uid."""
    standing, name = facts.standing, "registration"
    if isinstance(standing, Trouble) or isinstance(facts.hotkey, Trouble):
        return _not_known(name)
    if standing.neuron is None:
        found = f"{facts.hotkey} is not registered on subnet {facts.netuid}"
        cost = f"it costs {standing.registration_cost:g} TAO"
        cut = "" if shown(facts.asked.network) == facts.asked.network else ", with the whole address of the network"
        return _red(name, found, f"`{_register(facts)}`{cut}; {cost}")
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
    cost = f"registering takes {standing.registration_cost:g} TAO"
    if facts.asked.embedded:
        cost += "; `pretrain chain register` takes what is lacking from the chain's faucet, where it has one"
    if standing.coldkey is None:
        why = facts.coldkey.why if isinstance(facts.coldkey, Trouble) else "nobody owns the hotkey"
        return _yellow(name, f"not known: {why}", cost)
    found = f"{standing.balance:g} TAO, free, on coldkey {standing.coldkey}"
    if standing.neuron is None and standing.balance < standing.registration_cost:
        return Check(name, Level.YELLOW if facts.asked.embedded else Level.RED, found, f"send it more: {cost}")
    if standing.balance < FEE and not facts.asked.embedded:
        return _yellow(name, found, f"send it a little TAO: a call may cost a fee, and {FEE:g} pays for some")
    return _green(name, found)


def weights(facts: Facts) -> Check:
    """Check that a validator's rows of weights are taken, and that it has set one lately."""
    standing, contests, name = facts.standing, facts.contests, "weights"
    if isinstance(standing, Trouble) or isinstance(contests, Trouble):
        return _not_known(name)
    if contests.version_key < standing.version_key:
        found = f"version key {contests.version_key}; subnet {facts.netuid} takes no row below {standing.version_key}"
        return _red(name, found, f"take the newest software and competition file: {facts.asked.competitions} is older")
    if standing.neuron is None:
        return _not_known(name)
    interval = contests.weights_interval
    age = standing.head.block - standing.neuron.last_update
    found = f"last set, or registered, {age} blocks ago; due every {interval}"
    found += "; committed first, and revealed later" if standing.commit_reveal else ""
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


def folder(facts: Facts) -> Check:
    """Check that a daemon can go on with what is in its folder."""
    found, name = facts.folder, "folder"
    if isinstance(found, Trouble) and found.is_late:
        return _yellow(name, found.why, "ask again when the disk has less to do")
    if isinstance(found, Trouble):
        return _red(name, found.why, "do that, or give another --dir")
    if found.holds and (isinstance(facts.network, Trouble) or isinstance(facts.hotkey, Trouble)):
        return _not_known(name)
    holds = found.holds or f"nothing yet in --dir {facts.asked.dir}"
    if found.in_use:
        return _yellow(
            name, f"{holds}; a process has it now", "right while that is your daemon; a second one needs its own --dir"
        )
    return _green(name, holds)


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
    kept = asked.min_free_gb * GB
    if free < 2 * largest + kept:
        need = f"a model may have {largest / GB:.1f} GB, two at a time are needed"
        need += f", and {asked.min_free_gb:g} GB stay free (--store.min_free_gb)" if kept else ""
        todo = f"{need}: make room, or give another --dir"
        return Check(name, Level.RED if free < largest + kept else Level.YELLOW, found, todo)
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
    return _green("token", "there is one to publish with")


CHECKS: Mapping[Role, tuple[Callable[[Facts], Check], ...]] = {
    "miner": (
        competition,
        texts,
        wallet,
        network,
        endpoint,
        registration,
        balance,
        commitment,
        folder,
        disk,
        device,
        hub,
        token,
    ),
    "validator": (
        competition,
        texts,
        wallet,
        network,
        endpoint,
        registration,
        permit,
        balance,
        weights,
        folder,
        disk,
        device,
        hub,
        token,
    ),
}


def _not_in_force(facts: Facts, contests: Contests, found: str) -> Check | None:
    """Return what is wrong with entering a competition that nobody judges now."""
    number, standing = facts.asked.competition, facts.standing
    if number is None or isinstance(standing, Trouble):
        return None
    block = standing.head.block
    now, later = contests.in_force(block), contests.later(number, block)
    if number in now:
        return None
    there = ", ".join(f"{other} ({contests.names[other]})" for other in now) or "none"
    found, todo = f"{found}: competition {number} is not in force at block {block}", f"give --competition: {there}"
    if later is None:
        return _red("competition file", found, todo)
    return _yellow("competition file", found, f"wait for block {later}, or {todo}")


def _network(facts: Facts) -> Network | Trouble:
    """Return the network, or why it has not what is meant; that it is silent now is the endpoint's to tell."""
    if isinstance(facts.standing, Trouble) and facts.standing.is_asked_wrong:
        return facts.standing
    return facts.network


def _others(asked: Asked, endpoint: str) -> str:
    """Return what to say of the other addresses; nothing where there are none."""
    first, others = shown(asked.network), [url for url in map(shown, asked.fallback) if url != endpoint]
    instead = f", instead of {first}" if len(others) < len(asked.fallback) and first != endpoint else ""
    return instead + (f"; whether {', '.join(others)} would answer is not known" if others else "")


def _register(facts: Facts) -> str:
    """Return the command that registers this hotkey; a key in the chain's address is left out."""
    asked = facts.asked
    if asked.embedded:
        keys = f"--wallet.name {asked.wallet} --wallet.hotkey {asked.hotkey} --wallet.path {asked.wallets}"
        return f"pretrain chain register {keys} --subtensor.network {asked.network} --netuid {facts.netuid}"
    keys = f"--wallet {asked.wallet} --wallet-hotkey {asked.hotkey} --wallet-path {asked.wallets}"
    return f"btcli subnets register --netuid {facts.netuid} --network {shown(asked.network)} {keys}"


def _green(name: str, found: str) -> Check:
    return Check(name, Level.GREEN, found)


def _yellow(name: str, found: str, todo: str) -> Check:
    return Check(name, Level.YELLOW, found, todo)


def _red(name: str, found: str, todo: str) -> Check:
    return Check(name, Level.RED, found, todo)


def _not_known(name: str) -> Check:
    """Return a check that waits for another one, where the fault is told."""
    return _yellow(name, "not known yet", "put in place what is red, and ask again")
