"""Pictures of a run as inline SVG: each a pure function of the summary, the same bytes for the same one.

A miner has the same colour and marker in every picture: its index among the miners of the run.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pretrain import drawing
from pretrain.drawing import FAINT, INK, OTHERS, PALETTE, SHADE, STYLE, ascii_only, svg
from pretrain.leaderboard import Leaderboard, Loss
from pretrain.summary import Summary
from pretrain.types import Block, Hotkey, TaskName

_CURVES = 8
"""So many miners have a curve or an area of their own; the others are left out or summed up, and it is said."""
_PLAYERS = 12
"""So many players stand in a matrix."""
_WON = PALETTE[0]
_DARK = 0.6
"""Cells above this share are dark on any page and want white ink."""


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows in words."""

    title: str
    svg: str
    caption: str


def colour(summary: Summary, hotkey: Hotkey) -> str:
    """Return a miner's colour, in pictures and beside its name."""
    return PALETTE[_index(summary, hotkey) % len(PALETTE)] if hotkey in summary.miners else OTHERS


@mpl.rc_context(STYLE)
def losses(summary: Summary, board: Leaderboard) -> Picture | None:
    """Draw each miner's loss by step: the score, and each task's loss where there are several; None: no step yet."""
    if not board.losses:
        return None
    panels: list[tuple[str, Callable[[Loss], float | None]]] = [(f"loss\n{board.unit}", lambda loss: loss.score)]
    several = board.mix if len(board.mix) > 1 else ()
    panels += [(f"{ascii_only(part.task)}\n{part.unit}", _of_task(part.task)) for part in several]
    best = {loss.hotkey: -loss.score for loss in sorted(board.losses, key=lambda loss: -loss.score)}
    miners = _largest(summary, best)
    figure, rows = drawing.figure(1.0 + 1.65 * len(panels), len(panels))
    for axes, (name, value) in zip(rows, panels, strict=True):
        for miner in miners:
            points = [(o.block, v) for o in board.losses if o.hotkey == miner and (v := value(o)) is not None]
            drawing.curve(axes, _index(summary, miner), summary.label(miner), points)
        axes.set_ylabel(name)
    rows[-1].set_xlabel("sync block")
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    drawing.legend(figure, rows[0])
    caption = "Lower is better. A marker is one validator's measurement: where validators agree, theirs coincide."
    caption += _left_out(len(best) - len(miners))
    alt = f"Loss of {_names(summary, miners)} by sync block in {board.name}; {board.verdict}"
    return Picture("Loss by step", svg(figure, f"losses-{board.competition}", alt), caption)


@mpl.rc_context(STYLE)
def margins(summary: Summary, board: Leaderboard) -> Picture | None:
    """Draw how far each entry of the last step is from the champion, with its noise; None: nobody beside it."""
    rows = [(p, p.difference) for p in board.places if p.difference and p.measured == board.block][:_PLAYERS]
    leader = board.leader
    if leader is None or not rows:
        return None
    figure, (axes,) = drawing.figure(0.85 + 0.34 * len(rows))
    axes.axvspan(-100 * leader.epsilon, 0, color=SHADE, lw=0)
    axes.axvline(0, color=INK, lw=1.2)
    for row, (place, difference) in enumerate(rows):
        shape = drawing.look(_index(summary, place.hotkey))
        axes.errorbar(
            100 * difference.mean, row, xerr=200 * difference.standard_error, capsize=3, lw=1.8, ms=6, **shape
        )
    axes.set_yticks(range(len(rows)), [ascii_only(place.label) for place, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"loss above that of {ascii_only(leader.label)}, %")
    values = [f"{p.label} {100 * d.mean:+.2f} % ± {100 * d.standard_error:.2f} %" for p, d in rows]
    alt = f"Loss above that of the champion {leader.label} at block {board.block}: {', '.join(values)}"
    caption = (
        f"On the same windows, at block {board.block}; bars are 2 standard errors. Right of 0 is worse than the"
        f" champion; shaded is the champion's head start of {leader.epsilon:.2%} over later ones."
    )
    return Picture("Distance to the champion", svg(figure, f"margins-{board.competition}", alt), caption)


@mpl.rc_context(STYLE)
def win_matrix(summary: Summary, board: Leaderboard) -> Picture | None:
    """Draw who won which match in the last step, the champion marked; None: fewer than two players."""
    ranked = [p.hotkey for p in board.places if p.hotkey in board.players][:_PLAYERS]
    if len(ranked) <= 1:
        return None
    order = [board.players.index(hotkey) for hotkey in ranked]
    names = [ascii_only(summary.label(h)) + (" *" if h == board.champion else "") for h in ranked]
    figure, (axes,) = drawing.figure(1.0 + 0.4 * len(ranked))
    for (row, i), (column, j) in itertools.product(enumerate(order), repeat=2):
        if row != column:
            share = board.wins[i][j]
            cell, depth = [column - 0.48, column + 0.48], 0.06 + 0.94 * share
            axes.fill_between(cell, row - 0.46, row + 0.46, color=_WON, alpha=depth, lw=0)
            ink = "#ffffff" if share > _DARK else INK
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=ink)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks(range(len(names)), names, rotation=0 if len(" ".join(names)) < 60 else 45)  # noqa: PLR2004 - letters
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    axes.set_xlabel("against")
    rates = [f"{p.label} {p.win_rate:.0%}" for p in board.places if p.hotkey in ranked]
    alt = f"Share of the match that each row won against each column in {board.name}, block {board.block};"
    alt += f" matches won: {', '.join(rates)}"
    caption = "Share of the match that the row won against the column, head start included; * is the champion."
    caption += _left_out(len(board.players) - len(ranked))
    return Picture("Who beats whom", svg(figure, f"wins-{board.competition}", alt), caption)


@mpl.rc_context(STYLE)
def weights(summary: Summary) -> Picture | None:
    """Draw the row of each validator over blocks, stacked by miner; None: nobody has set weights."""
    setters = [v for v in summary.validators if any(row.validator == v for row in summary.weights)][:_CURVES]
    if not setters:
        return None
    most: dict[Hotkey, float] = {}
    for row in summary.weights:
        most |= {hotkey: max(share, most.get(hotkey, 0.0)) for hotkey, share in row.shares.items()}
    shown = _largest(summary, most)
    figure, rows = drawing.figure(1.0 + 1.35 * len(setters), len(setters))
    for axes, validator in zip(rows, setters, strict=True):
        _stack(axes, summary, validator, shown)
        axes.set_ylabel(ascii_only(summary.label(validator)))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(0, 1)
    rows[-1].set_xlim(min(row.block for row in summary.weights), max(summary.run.ended, summary.weights[-1].block + 1))
    rows[-1].set_xlabel("block")
    drawing.legend(figure, rows[0])
    last = "; ".join(f"{summary.label(v)}: {_shares(summary, summary.last_weights()[v].shares)}" for v in setters)
    caption = "Each row holds until the validator sets the next one." + _left_out(len(most) - len(shown), "summed up")
    return Picture("Weights by validator", svg(figure, "weights", f"Weights over blocks; last {last}"), caption)


@mpl.rc_context(STYLE)
def incentive(summary: Summary) -> Picture | None:
    """Draw what share of the miners' pay each got in each epoch; None: no epoch has paid a miner."""
    best: dict[Hotkey, float] = {}
    for row in summary.epochs:
        best[row.hotkey] = max(row.incentive, best.get(row.hotkey, 0.0))
    shown = _largest(summary, {hotkey: share for hotkey, share in best.items() if share > 0})
    if not shown:
        return None
    figure, (axes,) = drawing.figure(2.8)
    for miner in shown:
        points = [(row.block, row.incentive) for row in summary.epochs if row.hotkey == miner]
        drawing.curve(axes, _index(summary, miner), summary.label(miner), points)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axes.set_ylabel("share of the pay")
    axes.set_xlabel("block of the epoch")
    drawing.legend(figure, axes)
    paid = {row.hotkey: row.incentive for row in summary.last_epoch()}
    alt = f"Incentive by miner over epochs; last {_shares(summary, paid)}"
    return Picture("Incentive by miner", svg(figure, "incentive", alt), "What Yuma consensus made of the weights.")


def _of_task(task: TaskName) -> Callable[[Loss], float | None]:
    return lambda loss: loss.tasks.get(task)


def _stack(axes: Axes, summary: Summary, validator: Hotkey, shown: tuple[Hotkey, ...]) -> None:
    rows = [row for row in summary.weights if row.validator == validator]
    blocks = [*(row.block for row in rows), Block(max(summary.run.ended, rows[-1].block + 1))]
    layers: dict[Hotkey | None, list[float]] = {h: [row.shares.get(h, 0.0) for row in rows] for h in shown}
    others = [sum(row.shares.values()) - sum(row.shares.get(h, 0.0) for h in shown) for row in rows]
    if max(others) > 0.001:  # noqa: PLR2004 - a share nobody can see
        layers[None] = others
    floor = [0.0] * len(rows)
    for hotkey, shares in layers.items():
        top = [below + share for below, share in zip(floor, shares, strict=True)]
        name = ascii_only(summary.label(hotkey)) if hotkey else "others"
        fill = colour(summary, hotkey) if hotkey else OTHERS
        low, high = ([*each, each[-1]] for each in (floor, top))
        axes.fill_between(blocks, low, high, step="post", color=fill, lw=0, alpha=0.85, label=name)
        floor = top
    for block in blocks[:-1]:
        axes.axvline(block, color=FAINT, lw=0.5)


def _largest(summary: Summary, values: Mapping[Hotkey, float]) -> tuple[Hotkey, ...]:
    """Return the hotkeys of the largest values, as many as have room, in the order of the run's miners."""
    largest = sorted(values, key=lambda hotkey: (-values[hotkey], _index(summary, hotkey)))[:_CURVES]
    return tuple(sorted(largest, key=lambda hotkey: (_index(summary, hotkey), hotkey)))


def _index(summary: Summary, hotkey: Hotkey) -> int:
    return summary.miners.index(hotkey) if hotkey in summary.miners else len(summary.miners)


def _names(summary: Summary, hotkeys: Iterable[Hotkey]) -> str:
    return ", ".join(summary.label(hotkey) for hotkey in hotkeys)


def _shares(summary: Summary, shares: Mapping[Hotkey, float]) -> str:
    largest = sorted(shares, key=lambda hotkey: -shares[hotkey])[:_CURVES]
    return ", ".join(f"{summary.label(h)} {shares[h]:.1%}" for h in largest if shares[h] > 0)


def _left_out(count: int, how: str = "left out") -> str:
    return f" {count} smaller ones are {how}." if count > 0 else ""
