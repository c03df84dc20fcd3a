"""The people in view of one camera: tracks of faces and tracks of bodies, each person once.

Faces and bodies are followed apart, since they are looked for at different rates and hidden at
different times; who turns away keeps the body's track, whose body is hidden that of the face. A
face whose place is where a body's head is, and stays so, is that person's. Nothing here is told
who anybody is: a number is a person's for as long as they are in view, a minute at most.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from edge_agent.vision.arrays import Detections, Doubles, Floats, Ints
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.motion import BODIES
from edge_agent.vision.people import NO_BODY, NO_FACE, Bodies, faces_of_bodies
from edge_agent.vision.tracker import Tracker, TrackerConfig, TrackSpan, TrackStep

_NEW_MS = 1000
"""Whom we know for less is put together with somebody at once, others when it is seen again."""
_SURE = 2
"""In so many looks on end a face is at another one's body until that is believed."""
_TWO = 3
"""Of whom so many frames showed both faces are two people, whoever's body is taken for whose."""


@dataclass(frozen=True, slots=True)
class PersonSpan:
    """A person who has gone, or whose number has: `goes_on_as` is then the one from now on."""

    person: int
    goes_on_as: int | None = None


@dataclass(frozen=True, slots=True)
class CrowdStep:
    """What one frame changed.

    `persons` (k,) who is seen in it; `faces` (k,) each one's row of the frame's detections, or
    `NO_FACE`, and `bodies` (k,) of the bodies, or `NO_BODY`; `face_boxes`, `body_boxes` (k, 4) the
    filtered boxes (left, top, width, height, px), NaN where there is none. `ended` who has gone;
    `merged` pairs (number that is no more, number of the same person).
    """

    persons: Ints
    faces: Ints
    bodies: Ints
    face_boxes: Doubles
    body_boxes: Doubles
    ended: tuple[PersonSpan, ...]
    merged: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Person:
    first_ms: int
    faces: set[int] = field(default_factory=set)
    bodies: set[int] = field(default_factory=set)
    beside: Counter[int] = field(default_factory=Counter)  # frames that showed both faces, by whom


@dataclass(frozen=True, slots=True)
class _Look:
    """The tracks seen in one frame: by the track's number the row in the step."""

    faces: dict[int, int]
    bodies: dict[int, int]


class Crowd:
    """The people of one camera. Times given must not run backwards, but after a `flush`."""

    def __init__(self, config: VisionConfig) -> None:
        self._max_length_ms = config.max_length_s * 1000
        self._face_tracks = Tracker(
            TrackerConfig(config.begin_score, config.continue_score, config.max_lost_s)
        )
        self._body_tracks = Tracker(
            TrackerConfig(
                config.person_begin_score,
                config.person_continue_score,
                config.person_max_lost_s,
                config.person_max_hidden_s,
                gait=BODIES,
                size_change=2.2,
            )
        )
        self._people: dict[int, _Person] = {}
        self._of_face: dict[int, int] = {}
        self._of_body: dict[int, int] = {}
        self._votes: dict[tuple[int, int], int] = {}
        self._merged: list[tuple[int, int]] = []
        self._next = 1

    def __len__(self) -> int:
        return len(self._people)

    @property
    def started(self) -> int:
        """How many numbers have been given so far."""
        return self._next - 1

    def update(
        self, at_ms: int, faces: Detections, bodies: Bodies | None, looks: Doubles | None = None
    ) -> CrowdStep:
        """Take in what was found in a frame captured at `at_ms`.

        Args:
            at_ms: when.
            faces: what the face detector found.
            bodies: what the person detector found; None if it did not look.
            looks: (n, d) of the bodies, see `Tracker.update`.
        """
        self._merged = []
        face_step = self._face_tracks.update(faces, at_ms)
        self._lose_faces(face_step.ended)
        body_step = None
        if bodies is not None:
            body_step = self._body_tracks.update(_surer(bodies, faces), at_ms, looks)
            self._lose_bodies(body_step.ended)
        else:
            self._lose_bodies(self._body_tracks.expire(at_ms))
        look = _Look(_rows(face_step), _rows(body_step))
        if body_step is not None and bodies is not None:
            places = faces.boxes[face_step.detections], bodies.boxes[body_step.detections]
            self._put_together(face_step, body_step, places, look, at_ms)
        for track in look.faces:
            if track not in self._of_face:
                self._join_face(track, self._new(at_ms))
        for track in look.bodies:
            if track not in self._of_body:
                self._join_body(track, self._new(at_ms))
        self._note_beside(look)
        ended = self._gone() + self._split(look, at_ms)
        return self._step(face_step, body_step, look, ended)

    def expire(self, at_ms: int) -> tuple[PersonSpan, ...]:
        """Say who has not been seen for so long before `at_ms` that they have gone."""
        self._lose_faces(self._face_tracks.expire(at_ms))
        self._lose_bodies(self._body_tracks.expire(at_ms))
        return self._gone()

    def flush(self) -> tuple[PersonSpan, ...]:
        """Let everybody go; the next frame may be of any time."""
        self._face_tracks.flush()
        self._body_tracks.flush()
        ended = tuple(PersonSpan(number) for number in self._people)
        for known in (self._people, self._of_face, self._of_body, self._votes):
            known.clear()
        return ended

    # -- who is who -----------------------------------------------------------------------------

    def _put_together(
        self,
        face_step: TrackStep,
        body_step: TrackStep,
        places: tuple[Floats, Floats],
        look: _Look,
        at_ms: int,
    ) -> None:
        """Let faces be those of the bodies at whose heads they lie, as found: places (n|k, 4)."""
        face_tracks, body_tracks = face_step.track_ids.tolist(), body_step.track_ids.tolist()
        kept = np.array(
            [
                [self._of_face.get(f, -1) == self._of_body.get(b, -2) for b in body_tracks]
                for f in face_tracks
            ],
            np.bool_,
        ).reshape(len(face_tracks), len(body_tracks))
        owners = faces_of_bodies(*places, kept)
        votes = self._votes
        self._votes = {}
        for face, owner in zip(face_tracks, owners.tolist(), strict=True):
            if owner == NO_BODY:
                continue
            body = body_tracks[owner]
            mine, theirs = self._of_face.get(face), self._of_body.get(body)
            if mine is None and theirs is None:
                number = self._new(at_ms)
                self._join_face(face, number)
                self._join_body(body, number)
            elif mine is None and theirs is not None:
                if not self._people[theirs].faces & look.faces.keys():
                    self._join_face(face, theirs)
            elif theirs is None and mine is not None:
                if not self._people[mine].bodies & look.bodies.keys():
                    self._join_body(body, mine)
            elif mine is not None and theirs is not None and mine != theirs:
                self._votes[face, body] = votes.get((face, body), 0) + 1
                self._settle(face, body, look, at_ms)

    def _settle(self, head: int, body: int, look: _Look, at_ms: int) -> None:
        """Decide whose face it is that lies at the head of another person's body."""
        mine, theirs = self._of_face[head], self._of_body[body]
        votes = self._votes[head, body]
        alone = not self._people[mine].bodies & look.bodies.keys()
        faceless = not self._people[theirs].faces & look.faces.keys()
        if alone and faceless and not self._are_two(mine, theirs):
            young = at_ms - max(self._people[n].first_ms for n in (mine, theirs)) < _NEW_MS
            if young or votes >= _SURE:
                self._merge(mine, theirs)
        elif votes >= _SURE:
            self._exchange(mine, theirs, body, look)

    def _note_beside(self, look: _Look) -> None:
        """Note whose faces this frame shows at once: these are no one person."""
        shown = {self._of_face[track] for track in look.faces}
        for number in shown:
            self._people[number].beside.update(shown - {number})

    def _are_two(self, first: int, second: int) -> bool:
        one, other = self._people[first], self._people[second]
        return max(one.beside[second], other.beside[first]) >= _TWO

    def _exchange(self, mine: int, theirs: int, body: int, look: _Look) -> None:
        """Give a body to whose face is at its head, and those seen of theirs to whose it was.

        When two cross, their bodies may be taken for one another's; faces less often are.
        """
        self._people[theirs].bodies.discard(body)
        for other in self._people[mine].bodies & look.bodies.keys():
            self._people[mine].bodies.discard(other)
            self._join_body(other, theirs)
        self._join_body(body, mine)

    def _merge(self, first: int, second: int) -> None:
        """Make one of two; the one that was here longer keeps the number."""
        order = sorted((first, second), key=lambda number: (self._people[number].first_ms, number))
        into, gone = order
        for face in self._people[gone].faces:
            self._join_face(face, into)
        for body in self._people[gone].bodies:
            self._join_body(body, into)
        self._people[into].beside.update(self._people[gone].beside)
        del self._people[gone]
        self._merged.append((gone, into))

    def _new(self, at_ms: int) -> int:
        number, self._next = self._next, self._next + 1
        self._people[number] = _Person(at_ms)
        return number

    def _join_face(self, track: int, number: int) -> None:
        self._of_face[track] = number
        self._people[number].faces.add(track)

    def _join_body(self, track: int, number: int) -> None:
        self._of_body[track] = number
        self._people[number].bodies.add(track)

    # -- who has gone ---------------------------------------------------------------------------

    def _lose_faces(self, spans: tuple[TrackSpan, ...]) -> None:
        for span in spans:
            self._people[self._of_face.pop(span.track_id)].faces.discard(span.track_id)

    def _lose_bodies(self, spans: tuple[TrackSpan, ...]) -> None:
        for span in spans:
            self._people[self._of_body.pop(span.track_id)].bodies.discard(span.track_id)

    def _gone(self) -> tuple[PersonSpan, ...]:
        """Forget the people of whom no track is left."""
        left = [n for n, person in self._people.items() if not (person.faces or person.bodies)]
        for number in left:
            del self._people[number]
        return tuple(PersonSpan(number) for number in left)

    def _split(self, look: _Look, at_ms: int) -> tuple[PersonSpan, ...]:
        """Give those seen now a new number who have had theirs for too long."""
        spans = []
        seen = {self._of_face[track] for track in look.faces}
        seen |= {self._of_body[track] for track in look.bodies}
        for number in sorted(seen):
            if at_ms - self._people[number].first_ms <= self._max_length_ms:
                continue
            person, again = self._people[number], self._new(at_ms)
            for face in person.faces:
                self._join_face(face, again)
            for body in person.bodies:
                self._join_body(body, again)
            del self._people[number]
            spans.append(PersonSpan(number, goes_on_as=again))
        return tuple(spans)

    def _step(
        self,
        face_step: TrackStep,
        body_step: TrackStep | None,
        look: _Look,
        ended: tuple[PersonSpan, ...],
    ) -> CrowdStep:
        faces = {self._of_face[track]: row for track, row in look.faces.items()}
        bodies = {self._of_body[track]: row for track, row in look.bodies.items()}
        persons = sorted(faces.keys() | bodies.keys())
        step = CrowdStep(
            persons=np.array(persons, np.int64),
            faces=np.full(len(persons), NO_FACE, np.int64),
            bodies=np.full(len(persons), NO_BODY, np.int64),
            face_boxes=np.full((len(persons), 4), np.nan),
            body_boxes=np.full((len(persons), 4), np.nan),
            ended=ended,
            merged=tuple(self._merged),
        )
        for index, number in enumerate(persons):
            if number in faces:
                step.faces[index] = face_step.detections[faces[number]]
                step.face_boxes[index] = face_step.boxes[faces[number]]
            if number in bodies and body_step is not None:
                step.bodies[index] = body_step.detections[bodies[number]]
                step.body_boxes[index] = body_step.boxes[bodies[number]]
        return step


def _surer(bodies: Bodies, faces: Detections) -> Bodies:
    """The bodies, each at least as sure as the face that is at its head."""
    owners = faces_of_bodies(faces.boxes, bodies.boxes)
    shown = owners != NO_BODY
    scores = bodies.scores.copy()
    scores[owners[shown]] = np.maximum(scores[owners[shown]], faces.scores[shown])
    return Bodies(bodies.boxes, scores)


def _rows(step: TrackStep | None) -> dict[int, int]:
    if step is None:
        return {}
    return {track: row for row, track in enumerate(step.track_ids.tolist())}
