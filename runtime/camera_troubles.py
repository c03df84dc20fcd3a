"""What is wrong with cameras, in words, out of the figures of a health report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_VIEWS: Mapping[float, str] = {
    1: "is too dark",
    2: "is blocked",
    3: "is blurred",
    4: "stands still",
    5: "shows another place than before",
}
"""The figures `trouble.view.<camera>`."""


def camera_troubles(cameras: Iterable[str], figures: Mapping[str, object]) -> list[str]:
    """Say which of these cameras' pictures a box reports to be no good (docs/operations.md)."""
    codes = [(camera, figures.get(f"trouble.view.{camera}")) for camera in cameras]
    return [
        f"camera {camera} {_VIEWS.get(code, 'shows nothing')}"
        for camera, code in codes
        if isinstance(code, int | float) and code
    ]
