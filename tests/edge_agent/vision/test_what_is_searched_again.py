"""Parts of a picture in which nobody was found and nothing has changed are not searched again."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from footage import footage

from edge_agent.vision.arrays import Detections, Floats, Image
from edge_agent.vision.changes import CELLS, Changes, Grid, Part, cells_of
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import Bodies
from edge_agent.vision.searching import SparingSearch

SIZE = (1280, 720)
GRID = Grid.of(SIZE, (960, 540), 32)
NOBODY = np.zeros((0, 4), np.float32)


def empty_room(seed: int = 3, noise: float = 2.0) -> Image:
    """A room with furniture, as a camera with noise sees it."""
    furniture = np.random.default_rng(1).uniform(40, 200, (9, 16))
    room = cv2.resize(furniture, SIZE, interpolation=cv2.INTER_NEAREST)[..., None]
    grain = np.random.default_rng(seed).normal(0, noise, (SIZE[1], SIZE[0], 3))
    return np.clip(room + grain, 0, 255).astype(np.uint8)


def someone(image: Image, left: int, top: int, side: int = 24, by: int = 40) -> Image:
    """The picture with a patch that is lighter or darker."""
    changed = image.astype(np.int16)
    changed[top : top + side, left : left + side] += by
    return np.clip(changed, 0, 255).astype(np.uint8)


def parts_of(before: Image, now: Image, known: Floats = NOBODY) -> tuple[Part, ...] | None:
    changes = Changes()
    changes.searched(cells_of(before), GRID, None)
    return changes.parts(cells_of(now), GRID, known)


def holds(part: Part, left: float, top: float, right: float, bottom: float) -> bool:
    return (
        part.left * GRID.width <= left
        and part.top * GRID.height <= top
        and part.right * GRID.width >= right
        and part.bottom * GRID.height >= bottom
    )


def test_noise_is_no_change() -> None:
    assert parts_of(empty_room(3), empty_room(4)) == ()


@pytest.mark.parametrize("at", [(0, 0), (600, 300), (1256, 696), (431, 255)])
@pytest.mark.parametrize("by", [-20, 20])
def test_the_smallest_face_that_is_found_is_a_change(at: tuple[int, int], by: int) -> None:
    """Of 16 px in 720p, with its surroundings, wherever it is."""
    parts = parts_of(empty_room(3), someone(empty_room(4), *at, side=16, by=by))
    assert parts is not None
    assert len(parts) == 1
    assert holds(parts[0], *at, min(at[0] + 16, 1280), min(at[1] + 16, 720))
    assert parts[0].area <= 16


def test_two_far_from_one_another_are_two_parts_and_two_side_by_side_are_one() -> None:
    far = someone(someone(empty_room(4), 100, 100), 1000, 500)
    near = someone(someone(empty_room(4), 400, 300), 440, 300)
    assert len(parts_of(empty_room(3), far) or ()) == 2
    assert len(parts_of(empty_room(3), near) or ()) == 1


def test_what_changes_slowly_adds_up_where_nothing_was_searched() -> None:
    changes = Changes()
    changes.searched(cells_of(empty_room(0)), GRID, None)
    looks = []
    for step in range(12):
        cells = cells_of(someone(empty_room(step + 1), 400, 300, side=64, by=step))
        parts = changes.parts(cells, GRID, NOBODY)
        assert parts is not None
        changes.searched(cells, GRID, parts)
        looks.append(len(parts))
    assert looks[:2] == [0, 0]
    assert 1 <= sum(looks) <= 5, "searched when enough has changed, and anew from there"


def test_light_that_changes_everywhere_has_all_searched() -> None:
    lighter = np.clip(empty_room(4).astype(np.int16) + 25, 0, 255).astype(np.uint8)
    brighter = np.clip(empty_room(4) * 1.4, 0, 255).astype(np.uint8)
    assert parts_of(empty_room(3), lighter) is None
    assert parts_of(empty_room(3), brighter) is None


def test_a_picture_as_noisy_as_at_night_is_searched_whole() -> None:
    assert parts_of(empty_room(3, noise=45.0), empty_room(4, noise=45.0)) is None


def test_a_cloud_is_no_change_and_somebody_beneath_it_is() -> None:
    """Light that grows from one side to the other is smooth; people are not."""
    light = np.linspace(0, 8, SIZE[0])[None, :, None]
    clouded = np.clip(empty_room(4) + light, 0, 255).astype(np.uint8)
    assert parts_of(empty_room(3), clouded) == ()
    assert len(parts_of(empty_room(3), someone(clouded, 600, 300)) or ()) == 1


def test_where_somebody_was_found_is_searched_whole_whatever_moves() -> None:
    known = np.array([[300, 200, 150, 400]], np.float32)
    for now in (empty_room(4), someone(empty_room(4), 430, 560)):
        parts = parts_of(empty_room(3), now, known)
        assert parts is not None
        assert len(parts) == 1
        assert holds(parts[0], 300, 200, 450, 600)


def test_more_than_most_of_a_picture_is_all_of_it() -> None:
    crowd = np.array([[x, 40, 90, 640] for x in range(10, 1200, 100)], np.float32)
    assert parts_of(empty_room(3), empty_room(4), crowd) is None


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (1920, 1080), (352, 288), (720, 1280)])
def test_frames_of_any_shape_have_a_grid_that_covers_them(size: tuple[int, int]) -> None:
    scale = min(960 / size[0], 540 / size[1], 1.0)
    working = round(size[0] * scale), round(size[1] * scale)
    grid = Grid.of(size, working, 32)
    assert (grid.columns - 1) * 32 < working[0] <= grid.columns * 32
    assert (grid.rows - 1) * 32 < working[1] <= grid.rows * 32
    before = np.full((size[1], size[0], 3), 90, np.uint8)
    now = before.copy()
    now[-20:, -20:] = 160
    changes = Changes()
    changes.searched(cells_of(before), grid, None)
    parts = changes.parts(cells_of(now), grid, NOBODY)
    assert parts is not None
    assert [(part.right, part.bottom) for part in parts] == [(grid.columns, grid.rows)]
    assert cells_of(now).shape == CELLS[::-1]


class Asked:
    """A detector that finds what it is told to, and notes where it was to search."""

    def __init__(self) -> None:
        self.boxes: list[tuple[float, float, float, float]] = []
        self.scores: list[float] = []
        self.searches: list[Sequence[Part] | None] = []

    def grid(self, image: Image) -> Grid:
        return Grid.of((image.shape[1], image.shape[0]), (960, 540), 32)

    def detect(self, image: Image, parts: Sequence[Part] | None = None) -> Bodies:
        self.searches.append(parts)
        boxes = np.array(self.boxes, np.float32).reshape(-1, 4)
        return Bodies(boxes, np.array(self.scores, np.float32))


def sparing(asked: Asked, whole_every_s: float = 2.0) -> SparingSearch[Bodies]:
    return SparingSearch(asked, whole_every_s=whole_every_s, begin_score=0.5)


def look(search: SparingSearch[Bodies], image: Image, at_ms: int) -> Bodies:
    return search.detect(image, cells_of(image), at_ms)


def test_the_whole_is_searched_first_and_every_two_seconds() -> None:
    asked = Asked()
    search = sparing(asked)
    for index in range(21):
        look(search, empty_room(index % 2), 1000 + 200 * index)
    whole = [index for index, parts in enumerate(asked.searches) if parts is None]
    assert whole == [0, 10, 20]
    assert all(parts == () for parts in asked.searches if parts is not None)


def test_no_time_means_the_whole_always() -> None:
    asked = Asked()
    search = sparing(asked, whole_every_s=0)
    for at_ms in (1000, 1200):
        look(search, empty_room(), at_ms)
    assert asked.searches == [None, None]


@pytest.mark.parametrize("whole_every_s", [0.1, 2.0])
def test_what_was_found_long_ago_is_not_kept(whole_every_s: float) -> None:
    """A box runs for months, with whatever its settings are."""
    search = sparing(Asked(), whole_every_s)
    room = empty_room()
    for at_ms in range(1000, 20_000, 200):
        look(search, room, at_ms)
    assert len(search._found) <= 7


def test_another_size_a_time_before_and_another_place_are_searched_whole() -> None:
    asked = Asked()
    search = sparing(asked)
    room = empty_room()
    look(search, room, 5000)
    look(search, np.asarray(cv2.resize(room, (640, 360)), np.uint8), 5200)
    look(search, room, 5400)
    look(search, room, 4000)
    search.forget()
    look(search, room, 4200)
    assert asked.searches == [None] * 5
    look(search, room, 4400)
    assert asked.searches[-1] == ()


def test_who_was_missed_once_is_sought_again_where_they_were() -> None:
    asked = Asked()
    asked.boxes, asked.scores = [(300, 200, 150, 400)], [0.4]
    search = sparing(asked)
    look(search, empty_room(), 1000)
    asked.boxes, asked.scores = [], []
    for at_ms in (1200, 1400, 2000):
        assert len(look(search, empty_room(), at_ms)) == 0
        assert len(asked.searches[-1] or ()) == 1
    look(search, empty_room(), 2200)
    assert asked.searches[-1] == ()


def test_of_somebody_who_shows_in_a_part_by_half_the_whole_is_sought() -> None:
    asked = Asked()
    search = sparing(asked)
    look(search, empty_room(0), 1000)
    asked.boxes, asked.scores = [(380, 300, 200, 300)], [0.8]
    found = look(search, someone(empty_room(1), 400, 300), 1200)
    assert asked.searches[1] is not None
    assert asked.searches[2] is None
    assert found.boxes.tolist() == [[380, 300, 200, 300]]


def test_a_weak_piece_of_what_stands_still_is_nothing() -> None:
    asked = Asked()
    search = sparing(asked)
    look(search, empty_room(0), 1000)
    asked.boxes, asked.scores = [(380, 300, 200, 300), (405, 305, 20, 20)], [0.4, 0.35]
    found = look(search, someone(empty_room(1), 400, 300), 1200)
    assert len(asked.searches) == 2
    assert found.boxes.tolist() == [[405, 305, 20, 20]]


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("clip", ["walking-and-pause", "store-aisle", "face-walking"])
def test_on_real_footage_parts_show_whom_the_whole_shows(models: VisionModels, clip: str) -> None:
    """Everybody who is sure enough to begin a track is found in both, in the same place."""
    config = VisionConfig()
    eyes = models.person_detector(config.person_width, config.person_height)
    assert eyes is not None
    _agree(eyes, clip, config.person_begin_score)
    _agree(models.detector(config.detect_width, config.detect_height), clip, config.begin_score)


def _agree(detector: object, clip: str, begin_score: float) -> None:
    search: SparingSearch[Bodies] = SparingSearch(
        detector,  # type: ignore[arg-type]
        whole_every_s=2.0,
        begin_score=begin_score,
    )
    seen = missed = invented = 0
    for frame in footage(clip):
        image = np.asarray(cv2.resize(frame.image, SIZE), np.uint8)
        found = look(search, image, frame.captured_at_ms)
        whole = detector.detect(image)  # type: ignore[attr-defined]
        seen += int((whole.scores >= begin_score).sum())
        missed += _without(whole, found, begin_score)
        invented += _without(found, whole, begin_score)
    assert seen > 10
    assert missed <= max(1, 0.02 * seen)
    assert invented <= max(1, 0.02 * seen)


def _without(these: Bodies | Detections, those: Bodies | Detections, score: float) -> int:
    """How many of these that may begin a track are, even weakly, none of those."""
    count = 0
    for box in these.boxes[these.scores >= score]:
        corner = np.maximum(box[:2], those.boxes[:, :2])
        far = np.minimum(box[:2] + box[2:], those.boxes[:, :2] + those.boxes[:, 2:])
        common = np.clip(far - corner, 0, None).prod(axis=1)
        union = box[2:].prod() + those.boxes[:, 2:].prod(axis=1) - common
        count += not (common / union > 0.5).any()
    return count
