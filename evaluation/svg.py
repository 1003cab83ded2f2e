"""Matplotlib figures as small SVG that takes its text colour from the page, alone or several side by side.

Supports inline use in HTML (identifiers that do not clash, a text alternative, no fixed colours for ink) and
files that stand alone. One unit of a figure is one CSS pixel.
"""

from __future__ import annotations

import io
import itertools
import re
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import escape
from matplotlib.figure import Figure

INK = "#010203"  # drawn in the page's text colour
FAINT = "#010204"  # drawn in the page's colour of rules
INK_ALONE, FAINT_ALONE = "#222222", "#b8b8b8"
RASTER_DPI = 170  # of what is drawn as an image: clouds of points
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "faconvlstm",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "image.composite_image": False,
    "hatch.linewidth": 0.5,
}


@dataclass(frozen=True)
class Drawing:
    """One SVG.

    Attributes:
        body: what stands inside the svg element.
        width: in CSS pixels.
        height: in CSS pixels.
        alternative: what there is to see, in words.
    """

    body: str
    width: float
    height: float
    alternative: str

    def inline(self) -> str:
        """For an HTML page: colours from the page, scaled down where the page is narrow."""
        body = self.body.replace(INK, "currentColor").replace(FAINT, "var(--rule)")
        return f'<svg role="img" aria-label="{escape(self.alternative)}" {self._frame()}>{body}</svg>'

    def nested(self, x: float, y: float) -> str:
        """Inside another SVG, at a place."""
        return f'<svg x="{x:g}" y="{y:g}" {self._frame()}>{self.body}</svg>'

    def _frame(self) -> str:
        return (
            f'width="{self.width:g}" height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}" '
            'style="stroke-linejoin:round;stroke-linecap:butt"'
        )


def figure(width: float, height: float) -> Figure:
    """An empty figure of that many CSS pixels, outside pyplot's state."""
    return Figure(figsize=(width / 72, height / 72), dpi=72)


def draw(fig: Figure, alternative: str, key: str) -> Drawing:
    """The figure as a drawing.

    Args:
        fig: the figure, made under STYLE.
        alternative: what there is to see, in words.
        key: set before every identifier, unlike for every drawing of a page.
    """
    buffer = io.BytesIO()
    fig.savefig(
        buffer, format="svg", dpi=RASTER_DPI, transparent=True, metadata={"Date": None, "Creator": None}
    )
    text = buffer.getvalue().decode()
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    width, height = (72 * inches for inches in fig.get_size_inches())
    return Drawing(_small(_own_ids(body, slug(key))), round(width, 2), round(height, 2), alternative)


def slug(text: str) -> str:
    """The text as an identifier and name of a file: letters, digits, '.', '_' and '-', unlike for unlike texts."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    return plain if plain == text else f"{plain}-{zlib.crc32(text.encode()):08x}"


def styled() -> AbstractContextManager[None]:
    """The settings under which figures are made, as a context."""
    return mpl.rc_context(STYLE)


def alone(groups: Sequence[tuple[str, Sequence[tuple[Drawing, str]]]], *, columns: int, title: str) -> str:
    """One SVG document with the title above and the groups below each other.

    Args:
        groups: heading (empty for none), and drawings with the label above each, which stand in a grid.
        columns: drawings side by side.
        title: of the whole.
    """
    gap, line = 12.0, 18.0
    parts, y, width = [_text(title, gap, 19, 13)], 30.0, 0.0
    for heading, labelled in groups:
        if heading:
            parts.append(_text(heading, gap, y + 14, 12))
            y += line + 4
        for row in (labelled[i : i + columns] for i in range(0, len(labelled), columns)):
            x = gap
            for drawing, label in row:
                parts += [_text(label, x, y + 12, 11), drawing.nested(x, y + line)]
                x += (
                    max(drawing.width, 0.52 * 11 * len(label)) + gap
                )  # about the width of the label's letters
            width = max(width, x)
            y += line + max(drawing.height for drawing, _ in row) + gap
    body = "".join(parts).replace(INK, INK_ALONE).replace(FAINT, FAINT_ALONE)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width:g}" height="{y:g}" viewBox="0 0 {width:g} {y:g}">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{body}</svg>\n'
    )


def _text(words: str, x: float, y: float, size: float) -> str:
    style = f"font: {size:g}px sans-serif; fill: {INK}"
    return f'<text x="{x:g}" y="{y:g}" style="{style}">{escape(words)}</text>'


def _own_ids(body: str, key: str) -> str:
    """Short identifiers that no other drawing of the page has; those that nothing refers to go."""
    used = dict.fromkeys(re.findall(r'(?:url\(#|xlink:href="#)([^")]+)', body))
    short = {name: f"{key}-{number}" for name, number in zip(used, itertools.count())}
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{short[m[1]]}"' if m[1] in short else "", body)
    return re.sub(r'(url\(#|xlink:href="#)([^")]+)', lambda m: m[1] + short[m[2]], body)


def _small(body: str) -> str:
    """Without what a page has no use for, with coordinates to a hundredth of a pixel."""
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = body.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif").replace(
        "'DejaVu Sans'", "system-ui, sans-serif"
    )
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(
        r"-?\d+\.\d{3,}",
        lambda m: f"{float(m[0]):.1f}" if abs(float(m[0])) >= 10 else f"{float(m[0]):.3g}",
        body,
    )
    body = re.sub(r"\s*\n\s*", " ", body).strip()
    return re.sub(r' d="([ML0-9. z-]+)"', lambda m: f' d="{_relative(m[1])}"', body)


def _relative(path: str) -> str:
    """A path of straight lines in steps of a tenth of a pixel, each from the point before: half as long."""
    parts, here, start = [], (0, 0), (0, 0)
    for command, x, y, _ in re.findall(r"([ML]) (\S+) (\S+)|(z)", path):
        if not command:
            parts.append("z")
            here = start
            continue
        there = (round(10 * float(x)), round(10 * float(y)))
        step = " ".join(f"{(a - b) / 10:g}" for a, b in zip(there, here, strict=True))
        parts.append(f"{'m' if command == 'M' else 'l'}{step}")
        here = there
        start = there if command == "M" else start
    return "".join(parts)
