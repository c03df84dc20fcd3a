"""One camera's way from frames to sightings.

Each frame that is due is searched for faces, and some of them for whole persons; each person is
followed, and of each the best crops of the face are kept, if it shows. Only when a person has gone
are the crops embedded, once, and the mask status voted. Crops, vectors, positions and looks of who
has gone are overwritten; nothing of them is kept but the sighting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from edge_agent.capture import Frame
from edge_agent.encounters import DistanceModel, EncounterBook
from edge_agent.stills.portraits import Portraits, Still
from edge_agent.vision.absence import Absences
from edge_agent.vision.alignment import align
from edge_agent.vision.arrays import Detections, Doubles
from edge_agent.vision.boxes import shared
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.crowd import Crowd, CrowdStep, PersonSpan
from edge_agent.vision.describing import Describer
from edge_agent.vision.gallery import Gallery
from edge_agent.vision.looks import looks_of
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import (
    NO_BODY,
    NO_FACE,
    Bodies,
    PersonDetector,
    outside,
)
from edge_agent.vision.quality import face_signs, quality, sharpness, upper_bounds
from edge_agent.vision.rhythm import Rhythm
from edge_agent.vision.scene import Scene
from edge_agent.vision.searching import Eyes
from edge_agent.vision.stats import PipelineStats, Stage, StageClock
from edge_agent.vision.track import Track
from edge_agent.vision.wearing import Wearing
from protocol.sightings import Quantised
from protocol.v2.sightings import Encounter, Row, Sighting

MAX_ENCOUNTERS = 64
"""Most encounters reported of one sighting: the longest ones."""
_ONE_PERSON = 0.8  # share of a body within another from which the two may be one person's parts


class CameraPipeline:
    """Turns one camera's frames into sightings. For one thread; begins anew when time goes back."""

    def __init__(
        self,
        config: VisionConfig,
        models: VisionModels,
        *,
        camera: str = "",
        person_detectors: Sequence[PersonDetector] | None = None,
        stills: Callable[[], bool] = lambda: False,
    ) -> None:
        """Set up for one camera, named for the logs.

        Args:
            config: of the camera.
            models: find faces, and make templates and mask status of them.
            camera: its name.
            person_detectors: see people also when their faces do not show; each for this camera
                alone. Left out: the bundle's, if it has one.
            stills: whether a still is to be made of each sighting now; see :meth:`take_stills`.

        Raises:
            ModelError: the detector cannot be loaded.
        """
        self._config = config
        self._models = models
        self._camera = camera
        self._crowd = Crowd(config)
        self._scene = Scene()
        self._faces_due = Rhythm(config.detect_fps)
        self._clock = StageClock()
        self._eyes = Eyes(config, models, self._clock, person_detectors)
        meeting = config.encounters
        self._book = EncounterBook(reach_m=meeting.reach_m, max_gap_s=meeting.max_gap_s)
        self._distances: DistanceModel | None = None
        self._frame_size: tuple[int, int] = (0, 0)
        self._wearing = Wearing(
            models.clothes,
            crops=config.crops_per_track,
            least=config.min_crops,
            spacing_ms=round(config.crop_spacing_s * 1000),
            camera=camera,
        )
        self._portraits = Portraits(
            partial(models.detector, score_threshold=config.continue_score),
            wanted=stills,
            camera=camera,
            bodies_sought=self._eyes.seek_bodies,
        )
        self._tracks: dict[int, Track] = {}
        self._closed: dict[int, Track] = {}  # gone, but met one who has not: id and vote
        self._going_on: dict[int, tuple[Track, bool]] = {}  # of this frame, by the new number
        self._absences = Absences(config.person_max_absent_s)
        self._lost: dict[int, tuple[Track, bool]] = {}  # who may come back, as in `_going_on`
        self._last_ms: int | None = None
        self._describer = Describer(
            config, models, wearing=self._wearing, clock=self._clock, camera=camera
        )
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
        if not self._faces_due.is_due(frame.captured_at_ms):
            return before
        self._fit_frame(frame)
        if self._scene.is_cut(frame.image):
            self._eyes.forget()
            before += self._let_go()
        everyone, bodies = self._eyes.look(frame)
        counted = outside(self._config.ignored, everyone.boxes)
        faces = everyone.take(counted)
        self._faces += len(faces)
        with self._clock.stage(Stage.TRACK):
            looks = None if bodies is None else looks_of(frame.image, bodies.boxes)
            step = self._crowd.update(frame.captured_at_ms, faces, bodies, looks)
        self._merge(step)
        # Encounters of this frame belong to the people who go on; ended ones were not in it.
        sightings = before + self._finish(step.ended)
        self._note_people(step, faces, bodies, frame)
        self._going_on.clear()
        if bodies is not None:
            self._absences.note(frame.captured_at_ms, step.persons, step.bodies, bodies, looks)
            self._recognise(step, frame.captured_at_ms)
        self._collect_crops(frame, faces, step)
        if bodies is not None:
            with self._clock.stage(Stage.CLOTHES):
                at_ms = frame.captured_at_ms
                self._wearing.look(frame.image, at_ms, step.persons, step.bodies, bodies)
        with self._clock.stage(Stage.STILLS):
            shown = faces.and_these(everyone.take(~counted))
            self._portraits.look(frame.image, frame.captured_at_ms, step, shown, bodies)
        with self._clock.stage(Stage.ENCOUNTERS):
            self._observe_distances(step, frame.captured_at_ms, looked=bodies is not None)
        self._processed += 1
        self._clock.frame()
        return sightings

    def expire(self, now_ms: int) -> list[Sighting]:
        """Close tracks by the clock alone: call it when no frame has come for a while."""
        if self._absences.expire(now_ms):
            self._forget_lost()
        return self._flush_if_back(now_ms) or self._finish(self._crowd.expire(now_ms))

    def _let_go(self) -> list[Sighting]:
        """Close all tracks for good: nobody comes back from before a cut."""
        sightings = self._finish(self._crowd.flush())
        self._absences.flush()
        self._forget_lost()
        return sightings

    def flush(self) -> list[Sighting]:
        """Close all tracks: at the end of the source or programme, and when the clock was set.

        Who is in view then gives two sightings; times may go on from anywhere.
        """
        self._last_ms = None
        self._faces_due.begin_again()
        self._eyes.begin_again()
        self._scene.forget()
        return self._let_go()

    def take_stills(self) -> dict[bytes, Still]:
        """Hand out the stills of the sightings so far, by their ids; the caller wipes them."""
        return self._portraits.take()

    @property
    def stats(self) -> PipelineStats:
        """Counts and times so far."""
        return PipelineStats(
            frames=self._frames,
            processed=self._processed,
            fps=self._clock.fps,
            faces=self._faces,
            tracks=self._crowd.started,
            tracks_open=len(self._crowd),
            tracks_discarded=self._discarded,
            sightings=self._sightings,
            without_template=self._without_template,
            stages=self._clock.times(),
        )

    # -- while people are in view -----------------------------------------------------------------

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

    def _merge(self, step: CrowdStep) -> None:
        """Let two be one of whom that has come out."""
        for gone, into in step.merged:
            self._book.merge(gone, into)
            self._wearing.merge(gone, into)
            self._portraits.merge(gone, into)
            self._absences.merge(gone, into)
            if gone in self._tracks:
                self._tracks[into].take(self._tracks.pop(gone))

    def _recognise(self, step: CrowdStep, at_ms: int) -> None:
        """Let those who were lost a moment ago and are found again be who they were."""
        found = self._absences.returned(at_ms, step.persons.tolist(), self._frame_size)
        for number, before in found:
            earlier, seen = self._lost.pop(before)
            self._tracks[number].go_on_from(earlier, seen=seen)
            self._book.go_on(before, number)
        if self._absences.expire(at_ms):
            self._forget_lost()

    def _note_people(
        self, step: CrowdStep, faces: Detections, bodies: Bodies | None, frame: Frame
    ) -> None:
        for index, number in enumerate(step.persons.tolist()):
            track = self._tracks.get(number)
            if track is None:
                spacing_ms = round(self._config.crop_spacing_s * 1000)
                gallery = Gallery(self._config.crops_per_track, spacing_ms)
                track = self._tracks[number] = Track(gallery, first_ms=frame.captured_at_ms)
                if number in self._going_on:
                    earlier, seen = self._going_on[number]
                    track.go_on_from(earlier, seen=seen)
            track.last_ms = frame.captured_at_ms
            track.hits += 1
            face, body = step.faces[index], step.bodies[index]
            if face != NO_FACE:
                track.note_face(step.face_boxes[index], float(faces.scores[face]))
            if bodies is None:
                continue
            if body == NO_BODY:
                track.chances += len(bodies) > 0
                track.still.look(frame.image, step.face_boxes[index])
            else:
                track.bodies += 1
                track.body_score = max(track.body_score, float(bodies.scores[body]))
                track.still.look(frame.image, step.body_boxes[index])

    def _collect_crops(self, frame: Frame, faces: Detections, step: CrowdStep) -> None:
        """Align the faces that could still be among the best of their track, and offer them."""
        shown = step.faces != NO_FACE
        if not shown.any():
            return
        chosen = faces.take(step.faces[shown])
        tracks = [self._tracks[number] for number in step.persons[shown].tolist()]
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
            refined = self._eyes.refine(frame.image, chosen.take(wanted))
        for row, score in zip(wanted.tolist(), refined.scores.tolist(), strict=True):
            tracks[row].note_closer(found=score > 0)
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

    def _observe_distances(self, step: CrowdStep, at_ms: int, *, looked: bool) -> None:
        """Note who is how far from whom: where bodies are sought, in the frames in which they are.

        Of two boxes of which one is within the other, and which do not both have a face, nobody can
        say that they are two people: nobody is their own contact.
        """
        if self._distances is None or not (looked or not self._eyes.seek_bodies):
            return
        apart = self._distances.distances(step.face_boxes, step.body_boxes)
        faceless = step.faces == NO_FACE
        boxes = np.where(np.isnan(step.body_boxes), step.face_boxes, step.body_boxes)
        doubtful = (shared(boxes, boxes) > _ONE_PERSON) & (faceless[:, None] | faceless[None])
        self._book.observe(at_ms, step.persons, np.where(doubtful, np.inf, apart))

    # -- when people have gone ----------------------------------------------------------------

    def _finish(self, ended: tuple[PersonSpan, ...]) -> list[Sighting]:
        """Make the sightings of who has gone and wipe what is no longer needed."""
        kept: list[int] = []
        for span in ended:
            track = self._tracks.pop(span.person)
            seen = self._is_person(track)
            if span.goes_on_as is not None:
                self._going_on[span.goes_on_as] = track, seen
                self._absences.go_on(span.person, span.goes_on_as)
                self._book.go_on(span.person, span.goes_on_as)
            elif seen or track.continues is not None:
                self._absences.lose(span.person, self._frame_size)
            lost = span.person in self._absences.away
            if lost:
                self._lost[span.person] = track, seen
            if seen:
                kept.append(span.person)
                self._closed[span.person] = track
                self._describer.vote(track)
            else:
                self._discarded += 1
                self._book.forget(span.person, for_good=not lost and span.goes_on_as is None)
                self._wearing.forget(span.person)
                self._portraits.forget(span.person)
                if not lost:
                    self._absences.forget(span.person)
                track.wipe()
        sightings = [self._sighting(number) for number in kept]
        for number in kept:
            self._closed[number].wipe()
        if kept:
            self._forget_settled()
        return sightings

    def _is_person(self, track: Track) -> bool:
        config = self._config
        long_enough = track.last_ms - track.first_ms >= config.min_duration_s * 1000
        sure_enough = (
            track.face_score >= config.confirm_score
            or track.body_score >= config.person_confirm_score
        )
        # Bodies are looked for half as often as faces: each counts twice.
        often = track.hits + track.bodies >= config.min_hits
        true = track.moves() and not track.is_pattern()
        return long_enough and sure_enough and often and true

    def _sighting(self, number: int) -> Sighting:
        track = self._closed[number]
        with self._clock.stage(Stage.STILLS):
            self._portraits.finish(number, track.sighting_id)
        template, worth, networks = self._describer.template(track)
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
            networks={} if template is None else {modality: networks},
            continues=track.continues,
            encounters=self._encounters(number),
        )
        templates: dict[str, Quantised] = {} if template is None else {modality: template}
        return self._describer.dressed(
            Sighting(track.sighting_id, track.episode, row, templates), number
        )

    def _encounters(self, number: int) -> tuple[Encounter, ...]:
        """The encounters of a closed track, with what is known of the others by now."""
        found = []
        for meeting in self._book.meetings(number):
            other = self._closed.get(meeting.other_track) or self._tracks[meeting.other_track]
            together_s = meeting.seconds + meeting.before_s
            if together_s < self._config.encounters.min_s or not self._is_person(other):
                continue
            mask = (
                other.mask if meeting.other_track in self._closed else self._describer.vote(other)
            )
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

    def _forget_lost(self) -> None:
        """Drop what was kept of those who were lost and will not be found again."""
        for number in self._lost.keys() - self._absences.away:
            del self._lost[number]
            if number not in self._closed:
                self._book.forget(number)
        self._forget_settled()

    def _forget_settled(self) -> None:
        """Drop the closed tracks whose encounters are with closed tracks only, and who are gone."""
        away = self._absences.away
        settled = [
            number
            for number in self._closed
            if number not in away and not self._book.partners(number) & set(self._tracks)
        ]
        for number in settled:
            self._book.forget(number)
            del self._closed[number]
