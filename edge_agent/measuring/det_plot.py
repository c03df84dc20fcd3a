"""A DET plot (ISO/IEC 19795-1: false non-matches over false matches, both logarithmic) as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import numpy as np

from edge_agent.measuring.scores import BINS, Pairs

_WIDTH, _HEIGHT, _MARGIN = 640, 440, 60
_LEFT_LOG, _RIGHT_LOG = -7.0, 0.0
_LOW_LOG, _HIGH_LOG = -3.0, 0.0
_COLOURS = ("#1b6ca8", "#c8553d", "#4b7f52", "#7d5ba6", "#8a6d3b", "#2f4858")


def det_svg(kinds: Mapping[str, Pairs], title: str) -> str:
    """The plot of each kind that has strangers and one person's pairs, a curve each."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_MARGIN}" y="24" font-size="14">{escape(title)}</text>',
        *_axes(),
    ]
    drawn = 0
    for name, pairs in kinds.items():
        points = _curve(pairs)
        if len(points) < 2:
            continue
        colour = _COLOURS[drawn % len(_COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        at = 50 + 16 * drawn
        label = f'<text x="{_WIDTH - 190}" y="{at}" fill="{colour}">{escape(name)}</text>'
        parts.append(label)
        drawn += 1
    return "\n".join([*parts, "</svg>", ""])


def _axes() -> list[str]:
    parts = []
    for power in range(int(_LEFT_LOG), int(_RIGHT_LOG) + 1):
        x = _x(10.0**power)
        parts.append(f'<line x1="{x}" y1="{_y(1)}" x2="{x}" y2="{_y(1e-3)}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 12}" y="{_y(1e-3) + 16}">1e{power}</text>')
    for rate in (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001):
        y = _y(rate)
        parts.append(f'<line x1="{_x(1e-7)}" y1="{y}" x2="{_x(1)}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="16" y="{y + 4}">{rate:g}</text>')
    middle = (_x(1e-7) + _x(1)) / 2
    parts.append(f'<text x="{middle - 60}" y="{_HEIGHT - 14}">false match rate</text>')
    parts.append(f'<text x="{_MARGIN}" y="44">false non-match rate</text>')
    return parts


def _curve(pairs: Pairs) -> list[tuple[float, float]]:
    """Where the curve goes, as far as a stranger was counted."""
    scores = np.sort(np.array([score for one in pairs.same.values() for score in one]))
    of = int(pairs.strangers.sum())
    if not len(scores) or not of:
        return []
    reaching = pairs.strangers[::-1].cumsum()[::-1]
    edges = -1 + 2 * np.arange(BINS) / BINS
    missed = np.searchsorted(scores, edges, side="left") / len(scores)
    points: list[tuple[float, float]] = []
    for count, rate in zip(reaching.tolist(), missed.tolist(), strict=True):
        if count and rate:
            place = _x(count / of), _y(rate)
            if not points or place != points[-1]:
                points.append(place)
    return points


def _x(rate: float) -> float:
    part = (max(math.log10(rate), _LEFT_LOG) - _LEFT_LOG) / (_RIGHT_LOG - _LEFT_LOG)
    return round(_MARGIN + part * (_WIDTH - 2 * _MARGIN), 1)


def _y(rate: float) -> float:
    part = (max(math.log10(rate), _LOW_LOG) - _LOW_LOG) / (_HIGH_LOG - _LOW_LOG)
    return round(_HEIGHT - _MARGIN - part * (_HEIGHT - 2 * _MARGIN), 1)
