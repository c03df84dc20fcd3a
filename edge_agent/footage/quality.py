"""What `--quality fast` trades for speed, and what `full` leaves as on a camera that is watched."""

from __future__ import annotations

from typing import Literal

from edge_agent.vision.config import VisionConfig

Quality = Literal["fast", "full"]

TRADED = (
    "full: every picture that a camera of now would be searched in, at the same size. fast: faces "
    "are sought in pictures of 640x360 (a bare face needs 24 px of height in 720p, not 16: who is "
    "farther away is missed), pictures that no other needs are not decoded, and blocks are not "
    "smoothed."
)
"""In words, for help and documents."""

_FAST_WIDTH, _FAST_HEIGHT = 640, 360


def vision_for(quality: Quality, config: VisionConfig) -> VisionConfig:
    """Return the settings by which recordings are searched.

    Args:
        quality: what is traded.
        config: of the camera; what it sets lower than `fast` would stays.
    """
    if quality == "full":
        return config
    return config.model_copy(
        update={
            "detect_width": min(config.detect_width, _FAST_WIDTH),
            "detect_height": min(config.detect_height, _FAST_HEIGHT),
        }
    )
