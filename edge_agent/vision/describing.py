"""What is said of a track once its person has gone: mask status, template of the face, clothes.

Networks run here once a track, on the crops that were kept of it; one that fails costs what it
was to tell, and nothing else.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from edge_agent.vision.config import VisionConfig
from edge_agent.vision.errors import ModelError
from edge_agent.vision.fusion import fuse
from edge_agent.vision.mask import NOTHING_KNOWN, MaskCourse
from edge_agent.vision.models import VisionModels
from edge_agent.vision.stats import Stage, StageClock
from edge_agent.vision.track import Track
from edge_agent.vision.wearing import Wearing
from protocol.sightings import Quantised, quantise_template
from protocol.v2.sightings import Sighting

log = structlog.get_logger()


class Describer:
    """Describes the tracks of one camera.

    Args:
        config: of the camera.
        models: make templates and mask status.
        wearing: the bodies of its people.
        clock: counts the time that it takes.
        camera: its name, for the logs.
    """

    def __init__(
        self,
        config: VisionConfig,
        models: VisionModels,
        *,
        wearing: Wearing,
        clock: StageClock,
        camera: str,
    ) -> None:
        self._config = config
        self._models = models
        self._wearing = wearing
        self._clock = clock
        self._camera = camera

    def vote(self, track: Track) -> MaskCourse:
        """The mask status from the crops so far, asked again only when they have changed."""
        if track.voted_version != track.gallery.version:
            crops, qualities = track.gallery.crops()
            with self._clock.stage(Stage.MASK):
                try:
                    track.mask = self._models.mask.course(
                        crops, qualities, track.gallery.times_ms()
                    )
                except ModelError as error:
                    log.error("vision.mask_failed", camera=self._camera, reason=str(error))  # noqa: TRY400 - the reason says it all
                    track.mask = NOTHING_KNOWN
            crops.fill(0)
            track.voted_version = track.gallery.version
        return track.mask

    def dressed(self, sighting: Sighting, number: int) -> Sighting:
        """Add the template of what the person wears, if enough of it was seen."""
        with self._clock.stage(Stage.CLOTHES):
            clothes = self._wearing.template(number)
        if clothes is None:
            return sighting
        modality = self._models.clothes_modality
        networks = {**sighting.row.networks, modality: self._models.models[modality]}
        return replace(
            sighting,
            row=replace(sighting.row, networks=networks),
            templates={**sighting.templates, modality: clothes},
        )

    def template(self, track: Track) -> tuple[Quantised | None, float, str]:
        """The quantised template, None if the crops do not do; their mean quality; its networks."""
        crops, qualities = track.gallery.crops(self._config.face_min_quality)
        worth = float(qualities.mean()) if len(qualities) else 0.0
        try:
            if len(crops) < self._config.min_crops:
                return None, worth, ""
            with self._clock.stage(Stage.MASK):
                masked = self._models.mask.shows_mask(crops)
            with self._clock.stage(Stage.EMBED):
                vectors = self._models.embedder.embed(crops, masked)
            fused = fuse(vectors, qualities)
            vectors.fill(0)
            if fused is None:
                log.info("vision.track_incoherent", camera=self._camera, crops=len(crops))
                return None, worth, ""
            template = quantise_template(fused.vector)
            fused.vector.fill(0)
            networks = self._models.embedder.networks(masked[fused.used])
            return template, float(qualities[fused.used].mean()), networks
        except ModelError as error:
            log.error("vision.embedding_failed", camera=self._camera, reason=str(error))  # noqa: TRY400 - the reason says it all
            return None, worth, ""
        finally:
            crops.fill(0)
