"""What each person in view wears: the best crops of their body, and one template made of them.

Crops are kept while somebody is in view and overwritten when they have gone. If too few were good
enough, or they do not agree, there is no template: one of the background, or of two people, would
put strangers into a ranking.
"""

from __future__ import annotations

import structlog

from edge_agent.vision.appearance import (
    BODY_HEIGHT,
    BODY_WIDTH,
    AppearanceEmbedder,
    body_bounds,
    body_crop,
    light,
)
from edge_agent.vision.arrays import Image, Ints
from edge_agent.vision.errors import ModelError
from edge_agent.vision.fusion import fuse
from edge_agent.vision.gallery import Gallery
from edge_agent.vision.people import NO_BODY, Bodies
from protocol.sightings import Quantised, quantise_template

log = structlog.get_logger()

GOOD_ENOUGH = 0.35
"""Worth from which a body's crop may take part in a template."""
AGREEMENT = 0.6
"""Cosine from which two crops of one track may show the same clothes: of first and last crops of
public clips nine in ten reach it, and of strangers in one clip one in six (the report)."""


class Wearing:
    """The bodies of one camera's people, by the number that each has while in view."""

    def __init__(
        self,
        embedder: AppearanceEmbedder | None,
        *,
        crops: int,
        least: int,
        spacing_ms: int,
        camera: str = "",
    ) -> None:
        """Begin with nobody in view.

        Args:
            embedder: makes the templates; without one nothing is kept.
            crops: most crops kept of a person.
            least: crops that a template takes.
            spacing_ms: of crops nearer in time only the better is kept.
            camera: its name, for the logs.
        """
        self._embedder = embedder
        self._crops, self._least, self._spacing_ms = crops, least, spacing_ms
        self._camera = camera
        self._galleries: dict[int, Gallery] = {}

    def look(self, image: Image, at_ms: int, persons: Ints, rows: Ints, bodies: Bodies) -> None:
        """Keep the bodies of a frame that are among their person's best.

        Args:
            image: the frame.
            at_ms: when it was captured.
            persons: numbers (k,) of who is seen in it.
            rows: (k,) whose row of `bodies` is each one's, or `NO_BODY`.
            bodies: all that were found in it; who stands before whom is told from these.
        """
        if self._embedder is None:
            return
        bounds = body_bounds(bodies.boxes, (image.shape[0], image.shape[1]))
        for number, row in zip(persons.tolist(), rows.tolist(), strict=True):
            if row == NO_BODY or bounds[row] < GOOD_ENOUGH:
                continue
            gallery = self._galleries.get(number)
            if gallery is None:
                shape = (BODY_HEIGHT, BODY_WIDTH, 3)
                gallery = self._galleries[number] = Gallery(self._crops, self._spacing_ms, shape)
            if not gallery.wants(float(bounds[row]), at_ms):
                continue
            crop = body_crop(image, bodies.boxes[row])
            worth = float(bounds[row]) * light(crop)
            if worth >= GOOD_ENOUGH:
                gallery.offer(crop, worth, at_ms)
            crop.fill(0)

    def merge(self, gone: int, into: int) -> None:
        """Let two numbers be one person's: the fuller gallery stays."""
        gallery = self._galleries.pop(gone, None)
        if gallery is None:
            return
        other = self._galleries.get(into)
        if other is not None and len(other) >= len(gallery):
            gallery.wipe()
            return
        if other is not None:
            other.wipe()
        self._galleries[into] = gallery

    def template(self, number: int) -> Quantised | None:
        """The template of who has gone, None if the crops do not do; the crops are wiped."""
        gallery = self._galleries.pop(number, None)
        if gallery is None or self._embedder is None:
            return None
        crops, worth = gallery.crops(GOOD_ENOUGH)
        gallery.wipe()
        try:
            vectors = self._embedder.embed(crops)
        except ModelError as error:
            log.error("vision.clothes_failed", camera=self._camera, reason=str(error))  # noqa: TRY400 - the reason says it all
            return None
        finally:
            crops.fill(0)
        fused = fuse(vectors, worth, agreement=AGREEMENT) if len(vectors) >= self._least else None
        vectors.fill(0)
        if fused is None:
            log.info("vision.clothes_unclear", camera=self._camera, crops=len(vectors))
            return None
        template = quantise_template(fused.vector)
        fused.vector.fill(0)
        return template

    def forget(self, number: int) -> None:
        """Wipe what was kept of somebody who is no sighting."""
        gallery = self._galleries.pop(number, None)
        if gallery is not None:
            gallery.wipe()
