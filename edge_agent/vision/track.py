"""What is kept of one person while they are in view, and what it says of them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import numpy as np

from edge_agent.vision.arrays import Doubles
from edge_agent.vision.gallery import Gallery
from edge_agent.vision.mask import NOTHING_KNOWN, MaskCourse
from edge_agent.vision.still import Stillness
from protocol.names import SIGHTING_ID_BYTES
from protocol.v2.sightings import EPISODE_BYTES

_STILL_MS = 6000
"""Of whom nothing at all has moved for so long is a picture."""
_BODILESS_MS, _CHANCES = 3000, 3
"""A face that is in one place for so long, and had no body in looks that found others'."""
_SURE_BODY = 0.65
"""Score from which a body needs not be seen to move: a coat on a chair scores less."""
_FACE_MOVES = 0.15  # in face heights
_DENIED = 3
"""Looks closer that all find no face where one was taken to be. Of a masked face of 24 px one look
in eight does (docs/decisions/0017); three in a row are rarer, by how much was not counted, as
pictures that follow one another are alike."""


@dataclass(slots=True)
class Track:
    """What is kept of a person in view: the sighting's id, crops, and the mask vote so far.

    `episode` is the person's for as long as they are followed, over several sightings; of the one
    before this one `continues` is the sighting.
    """

    gallery: Gallery
    sighting_id: bytes = field(default_factory=lambda: secrets.token_bytes(SIGHTING_ID_BYTES))
    episode: bytes = field(default_factory=lambda: secrets.token_bytes(EPISODE_BYTES))
    continues: bytes | None = None
    first_ms: int = 0
    last_ms: int = 0
    hits: int = 0
    face_score: float = 0.0  # the best of the face detector
    body_score: float = 0.0  # the best of any person detector
    bodies: int = 0  # how often a body was seen
    chances: int = 0  # how often none was seen at the face, but others' were
    face_low: Doubles = field(default_factory=lambda: np.full(2, np.inf))  # of where its face was
    face_high: Doubles = field(default_factory=lambda: np.full(2, -np.inf))
    face_px: float = 0.0
    confirmed: bool = False  # a closer look has found its face
    denied: int = 0  # closer looks that found none
    still: Stillness = field(default_factory=Stillness)
    moved: bool = False  # was seen to move under an earlier number
    mask: MaskCourse = NOTHING_KNOWN
    voted_version: int = 0
    sharp: float = 0.0  # the best share of its possible quality that a crop has reached

    def go_on_from(self, earlier: Track, *, seen: bool) -> None:
        """Go on with a person whose sighting was closed: for its length, or they were lost.

        Args:
            earlier: what was kept of them.
            seen: whether it is a sighting.
        """
        self.episode = earlier.episode
        self.continues = earlier.sighting_id if seen else earlier.continues
        self.face_score = max(self.face_score, earlier.face_score)
        self.body_score = max(self.body_score, earlier.body_score)
        self.bodies += earlier.bodies
        self.confirmed |= earlier.confirmed
        self.moved |= earlier.moves()

    def take(self, other: Track) -> None:
        """Take in what was kept of the same person under another number.

        Whoever was followed before goes on, whichever of the numbers that was.
        """
        if self.continues is None and other.continues is not None:
            self.episode, self.continues = other.episode, other.continues
        if len(other.gallery) > len(self.gallery):
            self.gallery, other.gallery = other.gallery, self.gallery
            self.sharp, self.voted_version = other.sharp, -1
        other.wipe()
        self.first_ms = min(self.first_ms, other.first_ms)
        self.last_ms = max(self.last_ms, other.last_ms)
        self.hits += other.hits
        self.face_score = max(self.face_score, other.face_score)
        self.body_score = max(self.body_score, other.body_score)
        self.bodies += other.bodies
        self.confirmed |= other.confirmed
        self.denied += other.denied
        self.moved |= other.moved

    def note_face(self, box: Doubles, score: float) -> None:
        """Note where its face (left, top, width, height) is now, and how sure that is."""
        centre = box[:2] + box[2:] / 2
        self.face_low = np.minimum(self.face_low, centre)
        self.face_high = np.maximum(self.face_high, centre)
        self.face_px = max(self.face_px, float(box[3]))
        self.face_score = max(self.face_score, score)

    def note_closer(self, *, found: bool) -> None:
        """Note whether a closer look has found its face."""
        self.confirmed |= found
        self.denied += not found

    def is_pattern(self) -> bool:
        """Whether this is what somebody wears or carries, taken for a face.

        It moves with them, never has a body where others have theirs, and closer looks find no
        face.
        """
        bodiless = self.bodies == 0 and self.chances > 0
        return bodiless and not self.confirmed and self.denied >= _DENIED

    def moves(self) -> bool:
        """Whether this is somebody who moves, or may be: it was not seen for long."""
        there_ms = self.last_ms - self.first_ms
        if self.moved:
            return True
        if not self.face_px and self.body_score < _SURE_BODY and not self.still.moved:
            return False
        if there_ms < _BODILESS_MS:
            return True
        bodiless = self.bodies == 0 and self.chances >= _CHANCES
        off_px = float(np.hypot(*(self.face_high - self.face_low))) if self.face_px else 0.0
        if bodiless and off_px < _FACE_MOVES * self.face_px:
            return False
        return there_ms < _STILL_MS or self.still.moved

    def wants(self, bound: float, at_ms: int) -> bool:
        """Whether a face that could have this quality may give a crop worth keeping."""
        hope = min(1.0, 1.05 * self.sharp) if len(self.gallery) else 1.0
        return bound > 0 and self.gallery.wants(bound * hope, at_ms)

    def wipe(self) -> None:
        """Overwrite its crops, and what its place looked like."""
        self.gallery.wipe()
        self.still.wipe()
