"""Measure contacts as an officer reads them against the truth of films drawn from a script.

The way is a board's and an officer's own: `edge_agent.vision.pipeline`, rows as they are sealed,
`officers.desk` from candidates to persons. Only what detectors find is scripted, and which
sightings are the patient's, as a matcher would say. Run `python -m benchmarks contacts` after
`make setup`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks.bench_edge import STATE, load
from benchmarks.contact_scene import REACH_M, Companion, Film, Stay, crossing, true_seconds
from benchmarks.figures import Figure
from benchmarks.people_scene import SIZE, Camera, Moment, Street
from edge_agent.vision.absence import Absences
from edge_agent.vision.arrays import Detections, Doubles, Floats, Image
from edge_agent.vision.boxes import generalised_iou
from edge_agent.vision.config import EncounterConfig, GroundConfig, VisionConfig
from edge_agent.vision.crowd import Crowd, CrowdStep
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import Bodies
from edge_agent.vision.pipeline import CameraPipeline
from edge_agent.vision.searching import Eyes
from officers.desk.persons import Person, persons_of
from officers.desk.traces import Numbered, traces_of
from protocol.keytree import FACE
from protocol.names import SLOT_MS, CameraAddress, SightingName
from protocol.results import CONFIRMED, Candidate
from protocol.v2.sightings import Row, Sighting

BEGIN_MS = 1_800_000_000_000 // SLOT_MS * SLOT_MS + 10 * 60_000
"""Ten minutes into a quarter hour, so that longer films go on in the next."""
ADDRESS = CameraAddress("north", "box-1", "cam-1")
WRONG_S = 5.0
"""Of whom so many seconds are under another's name, or apart, is merged or split."""
STREETS = tuple(Street(people, 60.0, seed) for seed in range(1, 9) for people in (8, 16, 28))
"""People walking by within a minute, in pairs and alone; some stop for a while."""
_RED, _BLUE, _GREEN = (40, 40, 190), (170, 70, 30), (60, 130, 50)
_BLACK, _WHITE, _SAND = (35, 30, 30), (225, 225, 225), (140, 180, 205)


def films() -> dict[str, Film]:
    """Return the films by name."""
    passing = tuple(
        Companion(
            crossing(at_s, ahead_m=5.0, leftward=bool(odd % 2)), _WHITE, _BLACK, height_m=1.76
        )
        for odd, at_s in enumerate(range(25, 125, 25))
    )
    crowd = tuple(
        Companion(crossing(at_s, ahead_m=5.0, leftward=bool(at_s % 2)), _WHITE, _BLACK)
        for at_s in range(41, 950, 41)
    )
    beside = Companion((Stay(0, 130, (-0.6, 8.0)),), _RED, _BLACK)
    with_them = Companion((Stay(0, 130, (0.5, 8.2)),), _BLUE, _SAND, height_m=1.8)
    return {
        "130 s beside one": Film(seconds=132, seed=1, script=(beside, with_them)),
        "130 s, others pass before": Film(
            seconds=132, seed=2, script=(beside, with_them, *passing)
        ),
        "16 min beside one": Film(
            seconds=962,
            seed=3,
            script=(
                Companion((Stay(0, 960, (-0.5, 9.0)),), _GREEN, _BLACK),
                Companion((Stay(0, 960, (0.6, 9.0)),), _WHITE, _BLUE, height_m=1.62),
                *crowd,
            ),
        ),
        "two companions, one after the other and at once": Film(
            seconds=400,
            seed=4,
            script=(
                Companion((Stay(0, 390, (0.0, 8.0)),), _RED, _BLACK),
                Companion((Stay(10, 250, (-1.1, 8.2)),), _BLUE, _SAND, height_m=1.8),
                Companion((Stay(120, 390, (1.1, 7.9)),), _SAND, _BLACK, height_m=1.6),
            ),
        ),
        "two dressed alike beside one": Film(
            seconds=300,
            seed=5,
            script=(
                Companion((Stay(0, 295, (0.0, 8.0)),), _RED, _BLACK),
                Companion((Stay(0, 295, (-1.2, 8.2)),), _BLUE, _BLACK, height_m=1.8),
                Companion((Stay(0, 295, (1.2, 7.9)),), _BLUE, _BLACK, height_m=1.75),
                *passing,
            ),
        ),
        "a companion changes sides behind": Film(
            seconds=200,
            seed=6,
            script=(
                Companion((Stay(0, 195, (0.0, 8.0)),), _GREEN, _BLACK),
                Companion(
                    (Stay(0, 90, (-1.1, 8.8)), Stay(92.5, 195, (1.1, 8.8))),
                    _SAND,
                    _BLACK,
                    height_m=1.66,
                ),
            ),
        ),
    }


@dataclass(slots=True)
class Measured:
    """What came of the contacts of everybody in a film whom anybody kept company.

    Args:
        true_s, said_s: by pair of people, patient first.
        split: contacts beyond one a pair.
        merged: contacts that were with more than one person.
    """

    true_s: dict[tuple[int, int], float] = field(default_factory=dict)
    said_s: dict[tuple[int, int], float] = field(default_factory=dict)
    split: int = 0
    merged: int = 0

    @property
    def worst(self) -> float:
        """The largest share by which a pair's seconds are wrong."""
        return max(abs(self.said_s.get(k, 0.0) - true) / true for k, true in self.true_s.items())

    @property
    def wrong(self) -> float:
        """The share by which all seconds together are wrong."""
        missed = sum(abs(self.said_s.get(k, 0.0) - true) for k, true in self.true_s.items())
        return missed / sum(self.true_s.values())


def run(state: Path = STATE, *, quick: bool = False) -> list[Figure]:
    """Measure and return the figures; uses one core.

    Raises:
        BenchError: `make setup` has not been run.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        models, figures = load(state), []
        for name, film in films().items():
            if quick and film.seconds > 140:
                continue
            found = measure(film, models)
            figures += [
                Figure(f"{name}: contact seconds wrong, the worst pair", 100 * found.worst, "%"),
                Figure(f"{name}: contacts split", found.split, f"of {len(found.true_s)}"),
                Figure(f"{name}: contacts merged", found.merged, f"of {len(found.true_s)}"),
            ]
        streets = STREETS[:4] if quick else STREETS
        again, wrong = found_again(streets)
        figures += [
            Figure("busy streets: lost and found again", again, f"in {len(streets)} minutes"),
            Figure("busy streets: found as somebody else", wrong, f"of {again}"),
        ]
        return figures
    finally:
        cv2.setNumThreads(threads)


def measure(film: Film, models: VisionModels, *, least_s: float = 60.0) -> Measured:
    """Run a film through a box's and an officer's programs, everybody the patient in turn.

    Args:
        film: what is seen.
        models: of the box.
        least_s: pairs who are within reach for less are not scored.
    """
    box = _Box(models)
    sightings: list[Sighting] = []
    for frame, moment in film.frames(BEGIN_MS):
        box.shown.moment = moment
        sightings += box.process(frame)
    sightings += box.flush()
    who = {one.sighting_id: box.who(one.sighting_id) for one in sightings}
    whose: dict[bytes, Counter[int]] = {}
    for one in sightings:
        whose.setdefault(one.episode, Counter()).update(who[one.sighting_id])
    measured = Measured()
    everybody = range(len(film.script))
    for patient in everybody:
        truly = {o: true_seconds(film, patient, o) for o in everybody if o != patient}
        if max(truly.values(), default=0.0) < least_s:
            continue
        own = [one for one in sightings if _most(who[one.sighting_id]) == patient]
        long = {other: seconds for other, seconds in truly.items() if seconds >= least_s}
        _score(measured, patient, long, _persons(own), whose)
    return measured


def _score(
    measured: Measured,
    patient: int,
    truly: dict[int, float],
    persons: Sequence[Person],
    whose: dict[bytes, Counter[int]],
) -> None:
    listed: Counter[int] = Counter()
    for person in persons:
        met: Counter[int] = Counter()
        for exposure in person.exposures:
            met.update(whose.get(exposure.contact.episode, Counter()))
        other = _most(met)
        if other not in truly:
            continue
        pair = patient, other
        measured.said_s[pair] = measured.said_s.get(pair, 0.0) + person.seconds
        listed[other] += person.seconds >= WRONG_S
        strangers = sum(count for one, count in met.items() if one != other)
        measured.merged += strangers / 5 >= WRONG_S
    for other, seconds in truly.items():
        measured.true_s[patient, other] = seconds
        measured.split += max(0, listed[other] - 1)


def _most(counted: Counter[int]) -> int | None:
    return max(sorted(counted), key=counted.__getitem__) if counted else None


def _persons(own: Sequence[Sighting]) -> tuple[Person, ...]:
    """Return the contact list of whoever these sightings are, as an officer reads it."""
    items = []
    for number, one in enumerate(own, start=1):
        row = Row.parse(one.row.to_bytes())
        slot = row.last_ms // SLOT_MS
        name = SightingName(ADDRESS.box, ADDRESS.camera, slot // 96, 0, slot % 96, one.sighting_id)
        candidate = Candidate(
            "P-1", ADDRESS, one.sighting_id, row, FACE, "face@1", 0.8, 4.0, name, one.episode
        )
        items.append(Numbered(number, number.to_bytes(16, "big"), candidate, CONFIRMED))
    (trace,) = traces_of(["P-1"], items)
    return persons_of(trace)


def found_again(streets: Sequence[Street]) -> tuple[int, int]:
    """Return how often people who were lost in a busy street were found again, and how often wrong.

    Wrong is whoever goes on as somebody else.
    """
    found = wrong = 0
    for street in streets:
        crowd, absences = Crowd(VisionConfig()), Absences(VisionConfig().person_max_absent_s)
        who: dict[int, Counter[int]] = {}
        for moment in street.moments():
            step = crowd.update(moment.at_ms, moment.faces, moment.bodies, moment.looks)
            for gone, into in step.merged:
                absences.merge(gone, into)
                who.setdefault(into, Counter()).update(who.pop(gone, Counter()))
            for span in step.ended:
                if span.goes_on_as is None:
                    absences.lose(span.person, SIZE)
                else:
                    absences.go_on(span.person, span.goes_on_as)
                    who[span.goes_on_as] = who.get(span.person, Counter())
            if moment.bodies is None:
                continue
            for number, truth in _whom(step, moment):
                who.setdefault(number, Counter())[truth] += 1
            absences.note(moment.at_ms, step.persons, step.bodies, moment.bodies, moment.looks)
            for number, before in absences.returned(moment.at_ms, step.persons.tolist(), SIZE):
                found += 1
                wrong += _most(who.get(number, Counter())) != _most(who.get(before, Counter()))
            absences.expire(moment.at_ms)
    return found, wrong


def _whom(step: CrowdStep, moment: Moment) -> Iterator[tuple[int, int]]:
    """Yield who each number is, of those whose body is somebody's."""
    truth = moment.truth
    if not len(truth.numbers):
        return
    likeness = generalised_iou(step.body_boxes, truth.boxes)
    for row, number in enumerate(step.persons.tolist()):
        if np.isnan(step.body_boxes[row, 0]):
            continue
        best = int(np.argmax(likeness[row]))
        if likeness[row, best] > 0.1:
            yield number, int(truth.numbers[best])


@dataclass(slots=True)
class _Shown:
    """Plays what detectors find of the frame at hand."""

    moment: Moment | None = None

    def bodies(self) -> Bodies:
        """Bodies in the frame."""
        if self.moment is None or self.moment.bodies is None:
            return Bodies.none()
        return self.moment.bodies

    def faces(self) -> Detections:
        """Faces in the frame."""
        if self.moment is None:
            return _no_faces()
        return self.moment.faces


@dataclass(frozen=True, slots=True)
class _BodiesShown:
    shown: _Shown

    def detect(self, image: Image) -> Bodies:
        """Return what the script says."""
        del image
        return self.shown.bodies()


@dataclass(frozen=True, slots=True)
class _FacesShown:
    shown: _Shown

    def detect(self, image: Image) -> Detections:
        """Return what the script says."""
        del image
        return self.shown.faces()

    def grid(self, image: Image) -> None:
        """It takes no parts of frames."""
        del image

    def detect_in(self, image: Image, areas: Floats, known: Detections) -> Detections:
        """Return nothing: a closer look finds no more."""
        del image, areas, known
        return _no_faces()

    def refine(self, image: Image, faces: Detections) -> Detections:
        """Return the faces as they are."""
        del image
        return faces


class _Box(CameraPipeline):
    """A box's pipeline that is shown a script, and remembers where it saw whom."""

    def __init__(self, models: VisionModels) -> None:
        self.shown = _Shown()
        config = VisionConfig(encounters=EncounterConfig(reach_m=REACH_M, ground=_ground()))
        bodies = [_BodiesShown(self.shown)]
        super().__init__(config, models, person_detectors=bodies)
        self._eyes = Eyes(
            config,
            models,
            self._clock,
            bodies,
            _FacesShown(self.shown),  # type: ignore[arg-type]
        )
        self._who: dict[bytes, Counter[int]] = {}

    def who(self, sighting_id: bytes) -> Counter[int]:
        """Return in how many looks a sighting was whom."""
        return self._who.get(sighting_id, Counter())

    def _note_people(
        self, step: CrowdStep, faces: Detections, bodies: Bodies | None, frame: object
    ) -> None:
        super()._note_people(step, faces, bodies, frame)  # type: ignore[arg-type]
        if self.shown.moment is None:
            return
        for number, truth in _whom(step, self.shown.moment):
            seen = self._who.setdefault(self._tracks[number].sighting_id, Counter())
            seen[truth] += 2  # bodies are looked for in every other frame


def _no_faces() -> Detections:
    points = np.zeros((0, 5, 2), np.float32)
    return Detections(np.zeros((0, 4), np.float32), points, np.zeros(0, np.float32))


def _ground() -> GroundConfig:
    """Four points of the ground, as an installer would measure them."""
    points = ((-2.0, 5.0), (2.0, 5.0), (3.0, 12.0), (-3.0, 12.0))
    pixels: Doubles = Camera().project(np.array([[*point, 0.0] for point in points]))
    return GroundConfig(
        image_points_px=tuple((float(x), float(y)) for x, y in pixels.tolist()),
        ground_points_m=points,
    )
