"""Following people: how often a person keeps one number, and how exact distances are.

On a computed street (`benchmarks.people_scene`), where the truth is known, beside a plain ByteTrack
(`benchmarks.people_score`); on real footage, people found against people counted by eye; and what a
camera costs. Run `python -m benchmarks people` after `make setup`.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks.bench_edge import STATE, load
from benchmarks.figures import Figure
from benchmarks.people_scene import SIZE, Camera, Moment, Street
from benchmarks.people_score import PlainByteTrack, Score
from edge_agent.capture import Frame
from edge_agent.encounters import DistanceModel, EncounterBook
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import EncounterConfig, GroundConfig, VisionConfig
from edge_agent.vision.crowd import Crowd, CrowdStep
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline

FOOTAGE = Path("tests/data/footage")
COUNTED = {
    "face-walking": 2,
    "walking-and-pause": 3,
    "head-pose-two-people": 2,
    "classroom": 4,
    "store-aisle": 3,
    "one-by-one": 2,
}
"""People by eye, tests/data/footage/README.md."""
STREETS = ((8, 1), (16, 2), (16, 3), (28, 4), (28, 5))
"""How many people walk by in a minute, and the seed."""
SECONDS = 60.0
_SEEN = 0.3  # share of a body from which it should be followed
_NEAR_M = 3.0
_REACH_M = 2.0
_FPS = 25


def run(state: Path = STATE, *, quick: bool = False) -> list[Figure]:
    """Measure and return the figures; uses one core.

    Raises:
        BenchError: `make setup` has not been run.
    """
    streets = STREETS[:2] if quick else STREETS
    figures = _followed(streets)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        models = load(state)
        return [*figures, *_footage(models), *_budget(models, 8.0 if quick else 24.0)]
    finally:
        cv2.setNumThreads(threads)


@dataclass(slots=True)
class _Distances:
    """Distances of pairs within 3 m, as measured and as they are; and who was near whom."""

    model: DistanceModel
    book: EncounterBook = field(default_factory=lambda: EncounterBook(reach_m=_REACH_M))
    missed_m: list[float] = field(default_factory=list)

    def note(self, step: CrowdStep, who: dict[int, int], moment: Moment) -> None:
        """Take in a frame; `who` is the row of the truth of each row of the step."""
        apart = self.model.distances(step.face_boxes, step.body_boxes)
        self.book.observe(moment.at_ms, step.persons, apart)
        places = moment.truth.places
        for first, one in who.items():
            for second, other in who.items():
                truly = float(np.linalg.norm(places[one] - places[other]))
                if first < second and truly <= _NEAR_M:
                    self.missed_m.append(abs(float(apart[first, second]) - truly))


def _followed(streets: Sequence[tuple[int, int]]) -> list[Figure]:
    ours, theirs = Score(), Score()
    with_ground = EncounterConfig(ground=_ground(Camera()))
    measured = {
        "feet": _Distances(DistanceModel(with_ground, SIZE)),
        "heights": _Distances(DistanceModel(EncounterConfig(), SIZE)),
    }
    passages, numbers, begin = 0, 0, time.process_time()
    for people, seed in streets:
        crowd, peer = Crowd(VisionConfig()), PlainByteTrack()
        ours.last.clear()
        theirs.last.clear()
        confirmed: set[int] = set()
        hits: dict[int, int] = {}
        seen: set[int] = set()
        for moment in Street(people, SECONDS, seed).moments():
            step = crowd.update(moment.at_ms, moment.faces, moment.bodies, moment.looks)
            if moment.bodies is None or moment.looks is None:
                continue
            counts = (moment.truth.shown >= _SEEN).tolist()
            truth = [1000 * seed + number for number in moment.truth.numbers.tolist()]
            there = ~np.isnan(step.body_boxes[:, 0])
            ids = [1000 * seed + number for number in step.persons[there].tolist()]
            who = ours.frame(moment.truth.boxes, truth, step.body_boxes[there], ids, counts)
            rows = np.flatnonzero(there)
            for distances in measured.values():
                distances.note(step, {int(rows[c]): r for r, c in who.items()}, moment)
            their_ids, boxes = peer.update(
                moment.bodies.boxes.astype(np.float64), moment.bodies.scores, moment.at_ms
            )
            theirs.frame(
                moment.truth.boxes, truth, boxes, [1000 * seed + n for n in their_ids], counts
            )
            seen |= {n for n, shows in zip(truth, counts, strict=True) if shows}
            for number, body in zip(step.persons.tolist(), step.bodies.tolist(), strict=True):
                hits[number] = hits.get(number, 0) + 1
                if body >= 0 and moment.bodies.scores[body] >= VisionConfig().person_confirm_score:
                    confirmed.add(number)
        passages += len(seen)
        numbers += len({n for n in confirmed if hits[n] >= 2})
    per_moment = 1000 * (time.process_time() - begin) / (len(streets) * SECONDS * 5)
    figures = [
        Figure("street: IDF1", ours.idf1, "", "plain ByteTrack", ours.idf1 / theirs.idf1),
        Figure("street: MOTA", ours.mota, "", "plain ByteTrack", ours.mota / theirs.mota),
        Figure(
            "street: changes of number",
            ours.switches,
            f"in {passages} passages",
            "plain ByteTrack",
            ours.switches / max(theirs.switches, 1),
        ),
        Figure("street: sightings a passage", numbers / passages, ""),
        Figure("street: simulating, both trackers and distances, a frame", per_moment, "ms"),
    ]
    for name, distances in measured.items():
        missed = np.array(distances.missed_m)
        figures += [
            Figure(f"distance by {name}: median error to 3 m", float(np.median(missed)), "m"),
            Figure(
                f"the same, 90th percentile of {len(missed)}", float(np.quantile(missed, 0.9)), "m"
            ),
        ]
    return figures


def _ground(camera: Camera) -> GroundConfig:
    """Four points of the ground, as an installer would measure them."""
    points = ((-2.0, 5.0), (2.0, 5.0), (3.0, 12.0), (-3.0, 12.0))
    pixels = camera.project(np.array([[*point, 0.0] for point in points]))
    return GroundConfig(
        image_points_px=tuple((float(x), float(y)) for x, y in pixels.tolist()),
        ground_points_m=points,
    )


def _images(clip: str) -> list[tuple[int, Image]]:
    """The frames of a clip that is kept for tests, each with its time in it (ms)."""
    with np.load(FOOTAGE / f"{clip}.npz") as stored:
        jpeg, offset, at_ms = stored["jpeg"], stored["offset"], stored["at_ms"].tolist()
    return [
        (at, np.asarray(cv2.imdecode(jpeg[a:b], cv2.IMREAD_COLOR), np.uint8))
        for at, a, b in zip(at_ms, offset[:-1].tolist(), offset[1:].tolist(), strict=True)
    ]


def _footage(models: VisionModels) -> list[Figure]:
    figures = []
    for clip, counted in COUNTED.items():
        pipeline, found = CameraPipeline(VisionConfig(), models), 0
        for index, (at_ms, image) in enumerate(_images(clip)):
            found += len(pipeline.process(Frame(image, at_ms, index)))
        found += len(pipeline.flush())
        figures.append(
            Figure(f"footage {clip}: sightings", found, "", "counted by eye", found / counted)
        )
    return figures


def _budget(models: VisionModels, seconds: float) -> list[Figure]:
    """What a camera of 720p costs while two people are in view, decoding aside."""
    images = [cv2.resize(image, SIZE[::-1]) for _, image in _images("face-walking")]
    there_and_back = [*range(len(images)), *range(len(images) - 2, 0, -1)]
    pipeline = CameraPipeline(VisionConfig(), models)
    begin, sightings = time.process_time(), 0
    for index in range(round(seconds * _FPS)):
        image = images[there_and_back[index // 5 % len(there_and_back)]]
        frame = Frame(np.asarray(image, np.uint8), 40 * index, index)
        sightings += len(pipeline.process(frame))
    sightings += len(pipeline.flush())
    share = (time.process_time() - begin) / seconds
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = [
        Figure("720p, 5 face and 2.5 person looks a second, 2 people", share, "of a core"),
        Figure("cameras on two cores at that", 2 / share, "cameras"),
        Figure("memory of the process at its most", memory_mb, "MB"),
    ]
    stages = {name: stage for name, stage in pipeline.stats.stages.items() if stage.runs}
    whole_ms = sum(stage.total_ms for stage in stages.values())
    figures += [
        Figure(f"of that {name}", share * stage.total_ms / whole_ms, "of a core")
        for name, stage in stages.items()
    ]
    return figures
