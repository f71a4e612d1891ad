"""One step of a validator: (collaborators, state) -> (state, report). It reads like the protocol."""

import time
from collections.abc import Sequence
from dataclasses import replace

from pretrain import scoring
from pretrain.competition import Competition
from pretrain.data import Samples
from pretrain.decision import Facts, after, decide, may_wait, waited
from pretrain.describe import describe_all
from pretrain.errors import Cause, EvaluatorUnavailable, HubUnavailable, ModelRejected
from pretrain.judge import Looked, fetch, judge, look, measure
from pretrain.models.header import weights_digest
from pretrain.node import Node
from pretrain.outcome import Outcome, Undecided
from pretrain.report import Report
from pretrain.reporting import Measured, abandoned_report, step_report
from pretrain.scoring import Reference
from pretrain.selection import champion_of, select
from pretrain.state import Reign, State


async def step(node: Node, state: State) -> tuple[State, Report | None]:
    """Judge one competition at the sync block and return what we then know; no report when none is in force.

    Raises Unavailable when the chain, the hub, a dataset or this validator's own engine is: then no state changes.
    """
    started = time.monotonic()
    snapshot = await node.chain.snapshot(node.schedule.timing.sync_cadence)
    competition = node.schedule.pick(snapshot.block)
    if competition is None:
        return replace(state, step=snapshot.block), None
    canary = await node.canary.check()
    known, answered = await describe_all(node.hub, snapshot, node.schedule, competition.competition_id, state)
    facts = Facts(snapshot, node.schedule, competition, select(snapshot, node.schedule, competition, known))
    looked = await look(node.hub, list(facts.selected.entries))
    if looked and not answered and not any(_answered(found) for found in looked.values()):
        raise HubUnavailable(f"the hub answered for none of {len(looked)} repositories")
    missing = await missing_champion(node, looked, known, competition)
    samples = None if missing and may_wait(known, facts) else await node.sampler.draw(competition, snapshot.seed)
    measured = Measured(node.hotkey, node.evaluator.engine, samples, canary, started)
    if samples is None:
        return waited(state, facts), abandoned_report(facts, measured, missing)
    outcomes, judged = await judge(node, looked, competition, samples, snapshot, known)
    missing = undecided_champion(outcomes, known, competition)
    if missing and may_wait(known, facts):
        return waited(state, facts), abandoned_report(facts, measured, missing)
    references = await measure_references(node, facts.selected.references, competition, samples)
    decision = decide(facts, outcomes, references, samples, judged)
    new_state = after(judged, facts, decision)
    return new_state, step_report(facts, measured, decision, new_state)


def _answered(found: object) -> bool:
    return not (isinstance(found, Undecided) and found.cause is Cause.HUB)


async def missing_champion(node: Node, looked: Looked, state: State, competition: Competition) -> str:
    """Return why the champion's repository or bytes cannot be had, when that is not its miner's fault; else empty."""
    champion = champion_of(state, competition.competition_id, looked)
    fetched = await fetch(node, champion, looked) if champion else None
    return f"champion {champion.hotkey}: {fetched.detail}" if champion and isinstance(fetched, Undecided) else ""


def undecided_champion(outcomes: Sequence[Outcome], state: State, competition: Competition) -> str:
    """Return why the champion is undecided; empty when it is not."""
    champion = champion_of(state, competition.competition_id, (outcome.entry for outcome in outcomes))
    undecided = (o for o in outcomes if o.entry == champion and isinstance(o, Undecided))
    return next((f"champion {o.entry.hotkey}: {o.detail}" for o in undecided), "")


async def measure_references(
    node: Node, reigns: Sequence[Reign], competition: Competition, samples: Samples
) -> list[Reference]:
    """Measure past champions that are no entries any more, from this machine's disk alone.

    One whose bytes are gone, or that cannot be measured, is no reference.
    """
    references = []
    for reign in reigns:
        path = node.store.path(reign.content)
        if path is None:
            continue
        try:
            measurement = await measure(node, path, weights_digest(path), competition, samples)
        except ModelRejected:
            continue
        except EvaluatorUnavailable as error:
            if error.cause is None:
                raise
            continue
        score = scoring.judged(reign.entry.hotkey, reign.entry.block, measurement.losses, samples, competition).score
        references.append(Reference(reign.entry.hotkey, reign.entry.block, score))
    return references
