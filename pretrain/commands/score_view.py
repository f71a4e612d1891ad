"""How ``pretrain score`` tells what it found: facts for programs, lines for people."""

from typing import Any

from pretrain.challenge import Challenge
from pretrain.commands.output import say
from pretrain.commands.score_run import Scores
from pretrain.trial import Comparison, Tried


def facts(scores: Scores) -> dict[str, Any]:
    """Return everything as JSON values."""
    rules = scores.competition
    return {
        "competition": {"id": rules.id, "name": rules.name, "digest": scores.competition_digest},
        "block": scores.block,
        "seed": scores.seed,
        "samples": scores.samples,
        "engine": scores.model.engine,
        "canary": scores.canary,
        "model": _model(scores.model),
        "against": [_comparison(comparison) for comparison in scores.comparisons],
        "wins": all(comparison.wins for comparison in scores.comparisons) if scores.comparisons else None,
        "refused": None,
    }


def tell(scores: Scores) -> None:
    """Print it."""
    rules = scores.competition
    where = "" if scores.block is None else f" of sync block {scores.block}"
    say(f"{rules.name} (id {rules.id}): {rules.windows} windows of each task{where}, seed {scores.seed}")
    say(f"engine sound: the canary is off by {scores.canary:.1e} nats at most; {scores.model.engine}")
    for tried in (scores.model, *(comparison.rival for comparison in scores.comparisons)):
        parts = ", ".join(f"{task} {loss:.4f} {_unit(rules.tasks[task].method)}" for task, loss in tried.tasks.items())
        say(f"{tried.folder}: score {tried.judged.score:.4f} ({parts}; {tried.seconds:.1f} s)")
    for comparison in scores.comparisons:
        _tell_comparison(scores.model, comparison)


def _tell_comparison(model: Tried, comparison: Comparison) -> None:
    mine, other = model.folder, comparison.rival.folder
    if comparison.same_weights:
        say(f"{mine} and {other} are the same weights: whoever commits them later is refused as a duplicate")
        return
    if comparison.difference:
        found = comparison.difference
        apart = f"{found.mean:+.3%} \u00b1 {found.standard_error:.3%} of the loss"
        say(f"{mine} - {other}: {apart} (below 0: {mine} is better)")
    for match in comparison.after:
        say(f"  committed after {other}, whose head start is {match.epsilon:.2%}: {mine if match.wins else other} wins")
    for match in comparison.before:
        say(f"  committed before it, with a head start of {match.epsilon:.2%}: {other if match.wins else mine} wins")


def _unit(method: str) -> str:
    return "nats a token" if method == "text_loss" else "bits a byte"


def _model(tried: Tried) -> dict[str, Any]:
    return {
        "folder": str(tried.folder),
        "score": tried.judged.score,
        "tasks": tried.tasks,
        "weights": tried.weights,
        "seconds": tried.seconds,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "rival": _model(comparison.rival),
        "difference": vars(comparison.difference) if comparison.difference else None,
        "same_weights": comparison.same_weights,
        "wins": comparison.wins,
        "matches": [
            *(_match(match, earlier="rival", winner="model" if match.wins else "rival") for match in comparison.after),
            *(_match(match, earlier="model", winner="rival" if match.wins else "model") for match in comparison.before),
        ],
    }


def _match(match: Challenge, *, earlier: str, winner: str) -> dict[str, Any]:
    return {"earlier": earlier, "epsilon": match.epsilon, "winner": winner}
