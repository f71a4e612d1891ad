"""One step of a validator: (collaborators, state) -> (state, report). It reads like the protocol."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from pretrain.competition import Competition
from pretrain.decision import Facts, after, decide, may_wait, waited
from pretrain.describe import describe_all
from pretrain.errors import Cause, ChainUnavailable, EvaluatorUnavailable, HubUnavailable, ModelRejected
from pretrain.judge import Job, Looked, choose, contents, fetch, judge, measure
from pretrain.models.header import weights_digest
from pretrain.node import Node
from pretrain.outcome import Outcome, Scored, Undecided
from pretrain.report import Report
from pretrain.reporting import Measured, abandoned_report, step_report
from pretrain.selection import champion_of, crowned
from pretrain.state import Reign, State


async def step(node: Node, state: State) -> tuple[State, Report | None]:
    """Judge one competition at the sync block and return what we then know; no report when none is in force.

    Raises Unavailable when the chain, the hub, a dataset or this validator's own engine is: then no state changes.
    """
    started = time.monotonic()
    snapshot = await node.chain.snapshot(node.schedule.timing.sync_cadence)
    if state.step is not None and snapshot.block <= state.step:  # an endpoint may be behind the one that told the head
        raise ChainUnavailable(
            f"block {snapshot.block} is the newest sync block that can be read, and was judged before"
        )
    competition = node.schedule.pick(snapshot.block)
    if competition is None:
        return replace(state, step=snapshot.block), None
    health = await node.canary.check()
    described, answers = await describe_all(node, snapshot, competition.competition_id, state)
    chosen = await choose(node.hub, snapshot, node.schedule, competition, described)
    known, looked, answers = chosen.known, chosen.looked, (*answers, *chosen.answers)
    if answers and not any(answers):
        raise HubUnavailable(f"the hub answered for none of {len(answers)} repositories")
    node.store.keep(crowned(known, node.schedule), soon=contents(looked))
    facts = Facts(snapshot, node.schedule, competition, chosen.selected)
    missing = await missing_champion(node, looked, known, competition)
    samples = None if missing and may_wait(known, facts) else await node.sampler.draw(competition, snapshot.seed)
    measured = Measured(node.hotkey, node.evaluator.engine, samples, health.difference, started)
    if samples is None:
        return waited(state, facts), abandoned_report(facts, measured, missing)
    job = Job(competition, samples, health.speed)
    outcomes, judged = await judge(node, looked, job, snapshot, known)
    missing = lost_champion(outcomes, known, competition)
    if missing and may_wait(known, facts):
        return waited(state, facts), abandoned_report(facts, measured, missing)
    reigns = unmeasured(facts.selected.references, outcomes)
    past = await measure_references(node, reigns, job)
    decision = decide(facts, outcomes, past, samples, judged)
    new_state = after(judged, facts, decision)
    node.store.keep(crowned(new_state, node.schedule))
    return new_state, step_report(facts, measured, decision, new_state)


async def missing_champion(node: Node, looked: Looked, state: State, competition: Competition) -> str:
    """Return why the champion's repository or bytes cannot be had, when that is not its miner's fault; else empty."""
    champion = champion_of(state, competition.competition_id, looked)
    fetched = await fetch(node, champion, looked) if champion else None
    return f"champion {champion.hotkey}: {fetched.detail}" if champion and isinstance(fetched, Undecided) else ""


def lost_champion(outcomes: Sequence[Outcome], state: State, competition: Competition) -> str:
    """Return why the champion's bytes could not be had after all; empty when they could.

    One whose judging crashed or took too long is no reason to wait: it is undecided like any other.
    """
    champion = champion_of(state, competition.competition_id, (outcome.entry for outcome in outcomes))
    lost = (o for o in outcomes if o.entry == champion and isinstance(o, Undecided) and o.cause is Cause.HUB)
    return next((f"champion {o.entry.hotkey}: {o.detail}" for o in lost), "")


def unmeasured(reigns: Sequence[Reign], outcomes: Sequence[Outcome]) -> list[Reign]:
    """Return the past champions that this step has not run: gone, refused by the hub, or unanswered for.

    They stay a reference: else a launderer makes the commitment that he copied private in the window that counts.
    """
    tried = {o.entry for o in outcomes if isinstance(o, Undecided) and o.cause is not Cause.HUB}
    scored = {o.entry for o in outcomes if isinstance(o, Scored)}
    return [reign for reign in reigns if reign.entry not in tried | scored]


async def measure_references(node: Node, reigns: Sequence[Reign], job: Job) -> list[Scored]:
    """Measure past champions that are not judged as entries, from this machine's disk alone.

    One whose bytes are gone or spoilt, or that cannot be measured, is no reference.
    """
    references = []
    for reign in reigns:
        path = await node.store.sound(reign.content)
        if path is None:
            continue
        try:
            weights = await asyncio.to_thread(weights_digest, path)
            measurement = await measure(node.evaluator, path, weights, job)
        except ModelRejected:
            continue
        except EvaluatorUnavailable as error:
            if error.cause is None:
                raise
            continue
        references.append(Scored(reign.entry, measurement))
    return references
