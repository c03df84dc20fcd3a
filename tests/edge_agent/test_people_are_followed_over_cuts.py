"""A person who stays is one episode, however many sightings that makes, and contacts add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from edge_agent.capture import Frame
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.mask import MaskClassifier, MaskCourse, MaskVote
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import Bodies
from edge_agent.vision.pipeline import CameraPipeline
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan, Sighting

pytestmark = pytest.mark.models

BEGIN_MS = 1_700_000_000_000
CONFIG = VisionConfig(detect_width=64, detect_height=64, detect_fps=2)
HEAD_PX = 14.0
MASKED, UNMASKED = MaskStatus.MASKED, MaskStatus.UNMASKED


class Passers:
    """Sees persons stand where it was told, each from when until when (s since the beginning)."""

    def __init__(self, *people: tuple[float, float, float], score: float = 0.9) -> None:
        self._people = people
        self._score = score
        self.now_s = 0.0

    def detect(self, image: Image) -> Bodies:
        boxes = [
            (x, 5.0, 2 * HEAD_PX, 7.5 * HEAD_PX)
            for x, from_s, until_s in self._people
            if from_s <= self.now_s < until_s
        ]
        found = np.array(boxes, np.float32).reshape(-1, 4)
        return Bodies(found, np.full(len(found), self._score, np.float32))


def watch(models: VisionModels, passers: Passers, seconds: float) -> list[Sighting]:
    pipeline = CameraPipeline(CONFIG, models, person_detectors=[passers])
    seen: list[Sighting] = []
    for frame in frames(seconds):
        passers.now_s = (frame.captured_at_ms - BEGIN_MS) / 1000
        seen += pipeline.process(frame)
    return seen + pipeline.flush()


def frames(seconds: float) -> Iterator[Frame]:
    for number in range(round(seconds * 2)):
        yield Frame(np.full((128, 192, 3), 90, np.uint8), BEGIN_MS + 500 * number, number)


def episodes(seen: Sequence[Sighting]) -> dict[bytes, list[Sighting]]:
    found: dict[bytes, list[Sighting]] = {}
    for one in sorted(seen, key=lambda one: one.row.first_ms):
        found.setdefault(one.episode, []).append(one)
    return found


def test_who_stays_for_130_seconds_is_one_episode_of_sightings_that_continue_each_other(
    models: VisionModels,
) -> None:
    ((episode, parts),) = episodes(watch(models, Passers((20, 0, 130)), 134)).items()
    assert len(episode) == 8
    assert [one.row.continues for one in parts] == [
        None,
        *(one.sighting_id for one in parts[:-1]),
    ]
    assert len(parts) == 3
    assert len({one.sighting_id for one in parts}) == 3
    assert all(one.row.last_ms - one.row.first_ms <= 60_000 for one in parts)
    assert parts[-1].row.last_ms - parts[0].row.first_ms == 129_500


def test_who_comes_back_is_another_episode(models: VisionModels) -> None:
    found = episodes(watch(models, Passers((20, 0, 10), (20, 20, 30)), 34))
    assert [[one.row.continues for one in parts] for parts in found.values()] == [[None], [None]]


def test_who_turns_away_after_the_cut_is_still_a_person(models: VisionModels) -> None:
    """The detector was sure once of somebody whom the tracker has not lost since."""

    class Doubtful(Passers):
        def detect(self, image: Image) -> Bodies:
            self._score = 0.9 if self.now_s < 55 else 0.45
            return super().detect(image)

    ((_, parts),) = episodes(watch(models, Doubtful((20, 0, 100)), 104)).items()
    assert len(parts) == 2


def test_a_contact_is_the_union_of_what_the_sightings_of_two_episodes_tell(
    models: VisionModels,
) -> None:
    passers = Passers((20, 0, 130), (50, 40, 150))
    first, second = episodes(watch(models, passers, 154)).items()
    for (episode, parts), (other, others) in ((first, second), (second, first)):
        met = [encounter for one in parts for encounter in one.row.encounters]
        assert {encounter.other_episode for encounter in met} == {other}
        assert {encounter.other_id for encounter in met} == {one.sighting_id for one in others}
        assert min(encounter.first_ms for encounter in met) == BEGIN_MS + 40_000
        assert max(encounter.last_ms for encounter in met) == BEGIN_MS + 129_500
        assert sum(encounter.within_s for encounter in met) == pytest.approx(89.5, abs=3)
        for one in parts:
            for encounter in one.row.encounters:
                assert one.row.first_ms <= encounter.first_ms
                assert encounter.last_ms <= one.row.last_ms
                assert encounter.nearest_m is not None
                assert encounter.median_m == pytest.approx(encounter.nearest_m, abs=0.1)
        assert episode != other


# -- the mask as it goes on -----------------------------------------------------------------------


@pytest.fixture
def classifier(models: VisionModels) -> MaskClassifier:
    return models.mask


class Fixed(MaskClassifier):
    """Gives the probabilities that it was told, by the first pixel of a crop."""

    def __init__(self, like: MaskClassifier) -> None:
        self.threshold_masked = like.threshold_masked
        self.threshold_unmasked = like.threshold_unmasked

    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        return np.asarray(crops[:, 0, 0, 0] / 255, np.float32)


def course(classifier: MaskClassifier, *seen: tuple[int, float]) -> MaskCourse:
    """What is made of crops of so many ms after the beginning, and how likely each is masked."""
    crops = np.zeros((len(seen), 112, 112, 3), np.uint8)
    crops[:, 0, 0, 0] = [round(255 * probability) for _, probability in seen]
    times = np.array([BEGIN_MS + after_ms for after_ms, _ in seen], np.int64)
    return Fixed(classifier).course(crops, np.ones(len(seen)), times)


def statuses(spans: Sequence[MaskSpan]) -> list[tuple[int, int, MaskStatus]]:
    return [(s.from_ms - BEGIN_MS, s.until_ms - BEGIN_MS, s.status) for s in spans]


def test_a_mask_that_is_taken_off_is_two_spans(classifier: MaskClassifier) -> None:
    made = course(classifier, (9000, 0.01), (1000, 0.99), (3000, 0.99), (6000, 0.01))
    assert statuses(made.spans(BEGIN_MS, BEGIN_MS + 10_000)) == [
        (0, 6000, MASKED),
        (6000, 10_000, UNMASKED),
    ]
    assert statuses(made.spans(BEGIN_MS + 7000, BEGIN_MS + 8000)) == [(7000, 8000, UNMASKED)]
    assert statuses(made.spans(BEGIN_MS + 100, BEGIN_MS + 200)) == [(100, 200, MASKED)]
    assert statuses(made.spans(BEGIN_MS + 6000, BEGIN_MS + 6000)) == [(6000, 6000, UNMASKED)]


def test_one_crop_that_says_otherwise_for_a_moment_takes_no_mask_off(
    classifier: MaskClassifier,
) -> None:
    made = course(classifier, (0, 0.99), (600, 0.99), (1000, 0.1), (1600, 0.99), (2000, 0.99))
    assert statuses(made.spans(BEGIN_MS, BEGIN_MS + 3000)) == [(0, 3000, MASKED)]
    for seen in (
        ((0, 0.99), (3000, 0.01), (6000, 0.99)),  # long enough to drink
        ((0, 0.99), (500, 0.01), (1000, 0.01), (1500, 0.99)),  # seen twice
    ):
        made = course(classifier, *seen)
        assert [one.status for _, one in made.changes] == [MASKED, UNMASKED, MASKED]


def test_crops_that_say_nothing_end_no_span(classifier: MaskClassifier) -> None:
    between = (classifier.threshold_masked + classifier.threshold_unmasked) / 2
    made = course(classifier, (1000, 0.99), (2000, between), (3000, 0.99))
    assert [s.status for s in made.spans(BEGIN_MS, BEGIN_MS + 5000)] == [MASKED]
    assert made.vote == made.changes[0][1]


def test_a_person_of_whom_nothing_is_known_has_no_spans(classifier: MaskClassifier) -> None:
    between = (classifier.threshold_masked + classifier.threshold_unmasked) / 2
    assert course(classifier, (1000, between)).spans(BEGIN_MS, BEGIN_MS + 5000) == ()
    assert course(classifier).spans(BEGIN_MS, BEGIN_MS + 5000) == ()


def test_spans_are_no_more_than_a_row_has_room_for() -> None:
    changes = tuple(
        (BEGIN_MS + 10 * number, MaskVote((MASKED, UNMASKED)[number % 2], 0.9))
        for number in range(200)
    )
    made = replace(MaskCourse(changes[0][1]), changes=changes)
    spans = made.spans(BEGIN_MS, BEGIN_MS + 5000)
    assert len(spans) == 64
