"""Gives a recording's pictures, each with the moment at which it was taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from edge_agent.capture import Frame
from edge_agent.footage.found import FoundFile

Quality = Literal["fast", "full"]


def frames(file: FoundFile, *, quality: Quality = "full", gap_s: float = 0.0) -> Iterator[Frame]:
    """Read a file from its beginning; each frame is wiped when the next one is asked for.

    Args:
        file: as `edge_agent.footage.scan` found it; `began_ms` must be known.
        quality: what is traded for speed.
        gap_s: pictures nearer than this to the one before are passed over.

    Raises:
        SourceError: it cannot be decoded.
    """
    raise NotImplementedError
