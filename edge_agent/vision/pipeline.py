"""One camera's way from frames to sightings.

Each frame that is due is searched for people, by their faces and by whatever else sees a person;
each is followed, and of each track the best crops of its face are kept, if it shows. Only when a
track has ended are its crops embedded, once, and its mask status voted. Crops, vectors and
positions of a closed track are overwritten; nothing of them is kept but the sighting.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog

from edge_agent.capture import Frame
from edge_agent.encounters import DistanceModel, EncounterBook
from edge_agent.vision.alignment import align
from edge_agent.vision.arrays import Detections, Doubles
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.errors import ModelError
from edge_agent.vision.fusion import fuse
from edge_agent.vision.gallery import Gallery
from edge_agent.vision.mask import NOTHING_KNOWN, MaskCourse
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import NO_FACE, People, PersonDetector, people_of
from edge_agent.vision.quality import face_signs, quality, sharpness, upper_bounds
from edge_agent.vision.stats import PipelineStats, Stage, StageClock
from edge_agent.vision.tracker import Tracker, TrackerConfig, TrackSpan, TrackStep
from protocol.names import SIGHTING_ID_BYTES
from protocol.sightings import Quantised, quantise_template
from protocol.v2.sightings import EPISODE_BYTES, Encounter, Row, Sighting

log = structlog.get_logger()

MAX_ENCOUNTERS = 64
"""Most encounters reported of one sighting: the longest ones."""


@dataclass(slots=True)
class _Track:
    """What is kept of a track: its sighting's id, its crops, and its mask vote so far.

    `episode` is the person's for as long as the tracker follows them, over several tracks; of the
    one before this one `continues` is the sighting.
    """

    gallery: Gallery
    sighting_id: bytes = field(default_factory=lambda: secrets.token_bytes(SIGHTING_ID_BYTES))
    episode: bytes = field(default_factory=lambda: secrets.token_bytes(EPISODE_BYTES))
    continues: bytes | None = None
    first_ms: int = 0
    last_ms: int = 0
    hits: int = 0
    score: float = 0.0  # the best of any detector
    mask: MaskCourse = NOTHING_KNOWN
    voted_version: int = 0
    sharp: float = 0.0  # the best share of its possible quality that a crop has reached

    def go_on_from(self, earlier: _Track, *, seen: bool) -> None:
        """Go on with a person whose track was closed for its length; ``seen``: as a sighting."""
        self.episode = earlier.episode
        self.continues = earlier.sighting_id if seen else earlier.continues
        self.score = earlier.score

    def wants(self, bound: float, at_ms: int) -> bool:
        """Whether a face that could have this quality may give a crop worth keeping."""
        hope = min(1.0, 1.05 * self.sharp) if len(self.gallery) else 1.0
        return bound > 0 and self.gallery.wants(bound * hope, at_ms)


class CameraPipeline:
    """Turns one camera's frames into sightings. For one thread; begins anew when time goes back."""

    def __init__(
        self,
        config: VisionConfig,
        models: VisionModels,
        *,
        camera: str = "",
        person_detectors: Sequence[PersonDetector] = (),
    ) -> None:
        """Set up for one camera, named for the logs.

        Args:
            config: of the camera.
            models: find faces, and make templates and mask status of them.
            camera: its name.
            person_detectors: see people also when their faces do not show; each for this camera
                alone.

        Raises:
            ModelError: the detector cannot be loaded.
        """
        self._config = config
        self._models = models
        self._camera = camera
        self._person_detectors = tuple(person_detectors)
        self._face_detector = models.detector(
            config.detect_width, config.detect_height, config.continue_score
        )
        self._tracker = Tracker(
            TrackerConfig(
                high_score=config.begin_score,
                low_score=config.continue_score,
                max_lost_s=config.max_lost_s,
                max_length_s=config.max_length_s,
            )
        )
        meeting = config.encounters
        self._book = EncounterBook(reach_m=meeting.reach_m, max_gap_s=meeting.max_gap_s)
        self._distances: DistanceModel | None = None
        self._frame_size: tuple[int, int] = (0, 0)
        self._tracks: dict[int, _Track] = {}
        self._closed: dict[int, _Track] = {}  # ended, but met a track that has not: id and vote
        self._going_on: dict[int, tuple[_Track, bool]] = {}  # of this frame, by the new number
        self._due_ms: float | None = None
        self._last_ms: int | None = None
        self._clock = StageClock()
        self._frames = self._processed = self._faces = 0
        self._discarded = self._sightings = self._without_template = 0

    def process(self, frame: Frame) -> list[Sighting]:
        """Take in a frame; sightings whose tracks have ended by then. The frame is not kept.

        Frames that come faster than `detect_fps` are passed over.

        Raises:
            HomographyError: the configured ground does not fit frames of this size.
            ModelError: a detector failed.
        """
        self._frames += 1
        before = self._flush_if_back(frame.captured_at_ms)
        if not self._is_due(frame.captured_at_ms):
            return before
        self._fit_frame(frame)
        with self._clock.stage(Stage.DETECT):
            faces = self._face_detector.detect(frame.image)
            bodies = [detector.detect(frame.image) for detector in self._person_detectors]
        self._faces += len(faces)
        with self._clock.stage(Stage.TRACK):
            people = people_of(faces, bodies, body_heads=self._config.encounters.body_heads)
            step = self._tracker.update(people, frame.captured_at_ms)
        # Encounters of this frame belong to the tracks that go on; ended ones were not in it.
        sightings = before + self._finish(step.ended)
        self._note_tracks(step, people, frame.captured_at_ms)
        self._going_on.clear()
        self._collect_crops(frame, faces, people, step)
        with self._clock.stage(Stage.ENCOUNTERS):
            self._observe_distances(step, frame.captured_at_ms)
        self._processed += 1
        self._clock.frame()
        return sightings

    def expire(self, now_ms: int) -> list[Sighting]:
        """Close tracks by the clock alone: call it when no frame has come for a while."""
        return self._flush_if_back(now_ms) or self._finish(self._tracker.expire(now_ms))

    def flush(self) -> list[Sighting]:
        """Close all tracks: at the end of the source or programme, and when the clock was set.

        Who is in view then gives two sightings; times may go on from anywhere.
        """
        self._due_ms = self._last_ms = None
        return self._finish(self._tracker.flush())

    @property
    def stats(self) -> PipelineStats:
        """Counts and times so far."""
        return PipelineStats(
            frames=self._frames,
            processed=self._processed,
            fps=self._clock.fps,
            faces=self._faces,
            tracks=self._tracker.started,
            tracks_open=len(self._tracker),
            tracks_discarded=self._discarded,
            sightings=self._sightings,
            without_template=self._without_template,
            stages=self._clock.times(),
        )

    # -- while tracks run ---------------------------------------------------------------------

    def _is_due(self, at_ms: int) -> bool:
        interval_ms = 1000 / self._config.detect_fps
        # A frame a little early is better than the next one, much too late.
        if self._due_ms is not None and self._due_ms - 2 * interval_ms < at_ms < self._due_ms - 5:
            return False
        late = self._due_ms is None or abs(at_ms - self._due_ms) > interval_ms
        self._due_ms = (at_ms if late or self._due_ms is None else self._due_ms) + interval_ms
        return True

    def _flush_if_back(self, at_ms: int) -> list[Sighting]:
        """Close all tracks when time has gone back: none of them could ever end otherwise."""
        back = self._last_ms is not None and at_ms < self._last_ms
        sightings = self.flush() if back else []
        self._last_ms = at_ms
        return sightings

    def _fit_frame(self, frame: Frame) -> None:
        size = (frame.image.shape[0], frame.image.shape[1])
        if self._distances is None or size != self._frame_size:
            self._distances = DistanceModel(self._config.encounters, size)
            self._frame_size = size

    def _note_tracks(self, step: TrackStep, people: People, at_ms: int) -> None:
        scores = people.scores[step.detections]
        for number, score in zip(step.track_ids.tolist(), scores.tolist(), strict=True):
            track = self._tracks.get(number)
            if track is None:
                spacing_ms = round(self._config.crop_spacing_s * 1000)
                gallery = Gallery(self._config.crops_per_track, spacing_ms)
                track = self._tracks[number] = _Track(gallery, first_ms=at_ms)
                if number in self._going_on:
                    earlier, seen = self._going_on[number]
                    track.go_on_from(earlier, seen=seen)
            track.last_ms = at_ms
            track.hits += 1
            track.score = max(track.score, score)

    def _collect_crops(
        self, frame: Frame, faces: Detections, people: People, step: TrackStep
    ) -> None:
        """Align the faces that could still be among the best of their track, and offer them."""
        rows = people.faces[step.detections]
        shown = rows != NO_FACE
        if not shown.any():
            return
        chosen = faces.take(rows[shown])
        tracks = [self._tracks[number] for number in step.track_ids[shown].tolist()]
        bounds = self._bounds(chosen)
        wanted = np.flatnonzero(
            [
                track.wants(bound, frame.captured_at_ms)
                for track, bound in zip(tracks, bounds.tolist(), strict=True)
            ]
        )
        if not len(wanted):
            return
        with self._clock.stage(Stage.REFINE):
            refined = self._face_detector.refine(frame.image, chosen.take(wanted))
        with self._clock.stage(Stage.ALIGN):
            crops = align(frame.image, refined.landmarks)
            possible = self._bounds(refined)
            values = quality(possible, sharpness(crops))
            for row, crop, bound, value in zip(
                wanted.tolist(), crops, possible.tolist(), values.tolist(), strict=True
            ):
                if value >= self._config.mask_min_quality:
                    tracks[row].sharp = max(tracks[row].sharp, value / bound)
                    tracks[row].gallery.offer(crop, value, frame.captured_at_ms)
            crops.fill(0)

    def _bounds(self, faces: Detections) -> Doubles:
        """The best quality (n,) that each face can have; 0 for faces not to be looked at."""
        signs = face_signs(faces, self._frame_size)
        bounds = upper_bounds(signs, faces.scores)
        large = signs.eyes_px >= self._config.min_eyes_px
        return np.where(large & (bounds >= self._config.mask_min_quality), bounds, 0.0)

    def _observe_distances(self, step: TrackStep, at_ms: int) -> None:
        if len(step.track_ids) and self._distances is not None:
            apart = self._distances.distances(step.boxes)
            self._book.observe(at_ms, step.track_ids, apart)

    # -- when tracks end ----------------------------------------------------------------------

    def _finish(self, ended: tuple[TrackSpan, ...]) -> list[Sighting]:
        """Make the sightings of ended tracks and wipe what is no longer needed."""
        kept: list[int] = []
        for span in ended:
            track = self._tracks.pop(span.track_id)
            seen = self._is_person(track)
            if span.goes_on_as is not None:
                self._going_on[span.goes_on_as] = track, seen
            if seen:
                kept.append(span.track_id)
                self._closed[span.track_id] = track
                self._vote(track)
            else:
                self._discarded += 1
                self._book.forget(span.track_id)
                track.gallery.wipe()
        sightings = [self._sighting(number) for number in kept]
        for number in kept:
            self._closed[number].gallery.wipe()
        if kept:
            self._forget_settled()
        return sightings

    def _is_person(self, track: _Track) -> bool:
        long_enough = track.last_ms - track.first_ms >= self._config.min_duration_s * 1000
        sure_enough = track.score >= self._config.confirm_score
        return long_enough and sure_enough and track.hits >= self._config.min_hits

    def _vote(self, track: _Track) -> MaskCourse:
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

    def _sighting(self, number: int) -> Sighting:
        track = self._closed[number]
        template, worth = self._template(track)
        self._sightings += 1
        self._without_template += template is None
        modality = self._models.modality
        row = Row(
            first_ms=track.first_ms,
            last_ms=track.last_ms,
            mask=track.mask.vote.status,
            mask_confidence=track.mask.vote.confidence,
            quality=worth,
            masks=track.mask.spans(track.first_ms, track.last_ms),
            networks={} if template is None else {modality: self._models.model_id},
            continues=track.continues,
            encounters=self._encounters(number),
        )
        templates: dict[str, Quantised] = {} if template is None else {modality: template}
        return Sighting(track.sighting_id, track.episode, row, templates)

    def _template(self, track: _Track) -> tuple[Quantised | None, float]:
        """The quantised template, None if the crops do not do, and the mean quality of these."""
        crops, qualities = track.gallery.crops(self._config.face_min_quality)
        worth = float(qualities.mean()) if len(qualities) else 0.0
        try:
            if len(crops) < self._config.min_crops:
                return None, worth
            with self._clock.stage(Stage.EMBED):
                vectors = self._models.embedder.embed(crops)
            fused = fuse(vectors, qualities)
            vectors.fill(0)
            if fused is None:
                log.info("vision.track_incoherent", camera=self._camera, crops=len(crops))
                return None, worth
            template = quantise_template(fused.vector)
            fused.vector.fill(0)
            return template, float(qualities[fused.used].mean())
        except ModelError as error:
            log.error("vision.embedding_failed", camera=self._camera, reason=str(error))  # noqa: TRY400 - the reason says it all
            return None, worth
        finally:
            crops.fill(0)

    def _encounters(self, number: int) -> tuple[Encounter, ...]:
        """The encounters of a closed track, with what is known of the others by now."""
        found = []
        for meeting in self._book.meetings(number):
            other = self._closed.get(meeting.other_track) or self._tracks[meeting.other_track]
            if meeting.seconds < self._config.encounters.min_s or not self._is_person(other):
                continue
            mask = other.mask if meeting.other_track in self._closed else self._vote(other)
            met_ms = meeting.first_ms, meeting.last_ms
            found.append(
                Encounter(
                    other_id=other.sighting_id,
                    other_episode=other.episode,
                    first_ms=meeting.first_ms,
                    last_ms=meeting.last_ms,
                    within_s=meeting.seconds,
                    nearest_m=meeting.distance_m,
                    median_m=meeting.median_m,
                    masks=self._closed[number].mask.spans(*met_ms),
                    other_masks=mask.spans(*met_ms),
                )
            )
        return tuple(found[:MAX_ENCOUNTERS])

    def _forget_settled(self) -> None:
        """Drop the closed tracks whose encounters are with closed tracks only."""
        settled = [
            number for number in self._closed if not self._book.partners(number) & set(self._tracks)
        ]
        for number in settled:
            self._book.forget(number)
            del self._closed[number]
