"""What all pictures share: a figure, its axes, a miner's look, and the way from a figure to inline SVG.

The figure is drawn without a background and with ink that the page chooses, so one picture fits light, dark and print.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Okabe and Ito (2008), without black and yellow: the first belongs to the page, the second fades on white."""
MARKERS = "osD^vPX"
"""One more than colours, so that both together tell 42 miners apart."""
OTHERS = "#8f8f8f"
"""Of what is summed up."""
WIDTH = 5.4
"""Of every figure, in inches of 72 points."""

INK, FAINT, SHADE = "#010203", "#010204", "#010205"
"""Stand for what the page decides: text and axes, grid lines, shaded areas."""
_PAGE = {INK: "currentColor", FAINT: "var(--line)", SHADE: "var(--shade)"}

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}
"""For ``matplotlib.rc_context`` around whatever draws; the type of its keys is private to matplotlib."""


def figure(height: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many inches and its axes, one below the other, with a common x axis."""
    drawn = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = drawn.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    return drawn, list(axes)


def look(index: int) -> dict[str, Any]:
    """Return the colour and the marker of a miner, by its place among the miners of the run."""
    return {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)]}


def curve(axes: Axes, index: int, name: str, points: Sequence[tuple[int, float]]) -> None:
    """Draw what was measured as markers and its mean at each block as a line."""
    at: dict[int, list[float]] = {}
    for block, value in points:
        at.setdefault(block, []).append(value)
    blocks = sorted(at)
    shape = look(index)
    axes.plot(blocks, [sum(at[b]) / len(at[b]) for b in blocks], color=shape["color"], lw=1.6)
    xs, ys = [block for block, _ in points], [value for _, value in points]
    axes.plot(xs, ys, ls="", **shape)
    axes.plot([], [], label=ascii_only(name), **shape)


def legend(drawn: Figure, axes: Axes) -> None:
    """Name the curves of one of the axes above all of them."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        drawn.legend(handles, names, loc="outside upper left", ncols=4, handletextpad=0.4, columnspacing=1.4)


def ascii_only(text: str) -> str:
    """Return a text that every font has: each other character becomes a question mark."""
    return text.encode("ascii", "replace").decode()


def svg(drawn: Figure, name: str, alt: str) -> str:
    """Return a figure as an ``<svg>`` element for a page; ``name`` keeps its ids apart from other pictures'."""
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context(STYLE | {"svg.hashsalt": name}):
        drawn.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>|<!--.*?-->|<metadata.*?</metadata>", "", text, flags=re.DOTALL)
    used = set(re.findall(r"#([A-Za-z][\w.-]*)", text))
    text = re.sub(r'\s+id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    view = re.search(r'viewBox="[^"]*"', text)
    opening = f'<svg {view[0] if view else ""} role="img" aria-label="{html.escape(alt)}"'
    opening += ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    text = opening + text[text.index(">") + 1 :]
    return _recoloured(text.replace("'DejaVu Sans', sans-serif", "sans-serif"), _PAGE).strip()


def _recoloured(text: str, colours: Mapping[str, str]) -> str:
    for placeholder, chosen in colours.items():
        text = text.replace(placeholder, chosen)
    return text
