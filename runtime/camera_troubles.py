"""What is wrong with cameras, in words, out of the figures of a health report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from runtime.phrases import Phrase, phrase

_VIEWS: Mapping[float, Callable[[str], Phrase]] = {
    1: lambda camera: phrase("camera {camera} is too dark", camera=camera),
    2: lambda camera: phrase("camera {camera} is blocked", camera=camera),
    3: lambda camera: phrase("camera {camera} is blurred", camera=camera),
    4: lambda camera: phrase("camera {camera} stands still", camera=camera),
    5: lambda camera: phrase("camera {camera} shows another place than before", camera=camera),
}
"""The figures `trouble.view.<camera>`."""


def camera_troubles(cameras: Iterable[str], figures: Mapping[str, object]) -> list[Phrase]:
    """Say which of these cameras' pictures a box reports to be no good (docs/operations.md)."""
    codes = [(camera, figures.get(f"trouble.view.{camera}")) for camera in cameras]
    return [
        _VIEWS.get(code, _shows_nothing)(camera)
        for camera, code in codes
        if isinstance(code, int | float) and code
    ]


def _shows_nothing(camera: str) -> Phrase:
    return phrase("camera {camera} shows nothing", camera=camera)
