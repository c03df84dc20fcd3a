"""Reads Motion JPEG a packet at a time: each is a picture, decoded only if it is asked for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_agent.video.decoder import Decoder, target_of
from edge_agent.video.images import decode_image
from edge_agent.video.reading import Image, refuse_large

CODECS = frozenset({"mjpg", "jpeg", "mjpa"})


class PacketDecoder(Decoder):
    """Like `Decoder`, of a film in which every packet is a JPEG file."""

    def __init__(self, path: Path, name: str) -> None:
        """Open a film.

        Args:
            path: the film.
            name: what to call it in errors.

        Raises:
            SourceError: its frames are too large.
        """
        super().__init__(target_of(path), name, [cv2.CAP_PROP_FORMAT, -1])

    @property
    def packets(self) -> bool:
        """Whether packets come as they are."""
        return self.opened and self._capture.get(cv2.CAP_PROP_FORMAT) == -1

    def picture(self) -> Image | None:
        """The packet as (H, W, 3) uint8 BGR; None if it is damaged.

        Raises:
            SourceError: it is too large.
        """
        try:
            good, packet = self._capture.retrieve()
        except cv2.error:
            return None
        if not good or packet is None or not packet.size:
            return None
        image = decode_image(np.asarray(packet, np.uint8).tobytes())
        packet.fill(0)
        if image is None:
            return None
        refuse_large(image.shape[1], image.shape[0], self._name)
        return image


def packet_decoder(path: Path, name: str, known: Decoder) -> PacketDecoder | None:
    """Return a decoder of a film whose first packet is the whole picture; None of any other.

    Of an interlaced one each packet holds two, of every other line; pixels may not be square, and
    a film may lie on its side: `Decoder` sees to all of that.

    Args:
        path: the film.
        name: what to call it in errors.
        known: as it is opened to be decoded; what comes undecoded does not say that it is turned.

    Raises:
        SourceError: its frames are too large.
    """
    if known.facts.codec not in CODECS or known.ratio != 1.0 or known.turned_deg:
        return None
    first = PacketDecoder(path, name)
    try:
        image = first.picture() if first.packets and first.grab() else None
    finally:
        first.close()
    if image is None:
        return None
    whole = image.shape[:2] == (first.facts.height, first.facts.width)
    image.fill(0)
    return PacketDecoder(path, name) if whole else None
