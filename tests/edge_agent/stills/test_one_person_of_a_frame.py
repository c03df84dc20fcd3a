"""A still shows one person; of everything else a few flat cells are left, or there is no still."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_agent.stills import finishing
from edge_agent.stills.finishing import finish, strange_faces
from edge_agent.stills.mosaic import Part, cover
from edge_agent.stills.portrait import HEIGHT, WIDTH, NoStill, Others, Portrait, head_of, portray
from edge_agent.vision.arrays import Detections, Doubles, Image
from edge_agent.vision.errors import ModelError
from protocol.v2.stills import REASONS

BODY = np.array([200.0, 60.0, 100.0, 300.0])
FACE = np.array([232.0, 74.0, 32.0, 40.0])


def noise(seed: int = 1, size: tuple[int, int] = (480, 640)) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def boxes(*rows: tuple[float, float, float, float]) -> Doubles:
    return np.array(rows, np.float64).reshape(-1, 4)


def others(faces: Doubles | None = None, bodies: Doubles | None = None) -> Others:
    return Others(
        boxes() if faces is None else faces, boxes() if bodies is None else bodies, boxes()
    )


def colours(picture: Image) -> int:
    return len(np.unique(picture.reshape(-1, 3), axis=0))


class Finder:
    """Finds what it is told to, in the picture's own pixels, whatever the picture."""

    def __init__(self, *found: Doubles, error: ModelError | None = None) -> None:
        self.found = list(found)
        self.error = error
        self.looks = 0

    def detect(self, image: Image) -> Detections:
        if self.error is not None:
            raise self.error
        there = self.found[min(self.looks // len(finishing.ENLARGED), len(self.found) - 1)]
        self.looks += 1
        return Detections(
            (there * image.shape[0] / HEIGHT).astype(np.float32),
            np.zeros((len(there), 5, 2), np.float32),
            np.ones(len(there), np.float32),
        )


def test_a_covered_box_is_flat_cells_of_the_mean_at_sixteen_levels() -> None:
    ramp = np.add.outer(2 * (np.arange(480) // 5), np.arange(640) % 256).astype(np.uint8)
    picture = np.dstack([ramp, ramp, ramp])
    before = picture.copy()
    cover(picture, np.array([10.5, 20.5, 60.0, 40.0]), 20)
    inside = picture[20:61, 10:71]
    assert colours(inside[:20]) == colours(inside[21:]) == 3, "three cells a row"
    assert colours(inside[:, :19]) == 2, "in two rows"
    assert set(np.unique(inside % 16).tolist()) == {8}
    mean = before[20:40, 10:30].reshape(-1, 3).mean(axis=0)
    assert np.abs(inside[0, 0] - mean).max() <= 12
    picture[20:61, 10:71] = before[20:61, 10:71]
    assert (picture == before).all(), "nothing else is touched"


def test_a_box_smaller_than_a_cell_is_one_colour_and_one_outside_is_nothing() -> None:
    picture = noise()
    cover(picture, np.array([600.0, 470.0, 100.0, 100.0]), 500)
    assert colours(picture[470:, 600:]) == 1
    before = picture.copy()
    cover(picture, np.array([700.0, 0.0, 10.0, 10.0]), 5)
    cover(picture, np.array([-50.0, -50.0, 20.0, 20.0]), 5)
    assert (picture == before).all()


def test_what_is_spared_stays_as_it_is() -> None:
    picture = noise()
    before = picture.copy()
    spared = np.zeros(picture.shape[:2], np.bool_)
    spared[30:40, 30:40] = True
    cover(picture, np.array([20.0, 20.0, 40.0, 40.0]), 100, spared)
    assert (picture[30:40, 30:40] == before[30:40, 30:40]).all()
    assert (picture[20:30, 20:60] == picture[20, 20]).all()


def test_only_the_person_is_clear_and_what_surrounds_them_has_no_detail() -> None:
    image = noise()
    portrait = portray(image, BODY, FACE, others())
    picture = portrait.picture
    assert picture.shape[0] <= HEIGHT
    assert picture.shape[1] <= WIDTH
    assert portrait.face_box is not None
    scale = picture.shape[0] / (300 + 2 * 18)
    left, top = 200 - 18, 60 - 18
    assert portrait.face_box == pytest.approx((FACE - [left, top, 0, 0]) * scale, abs=1.5)
    edge = round(18 * scale) - 1
    for strip in (picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:]):
        assert colours(strip) <= 24, "the margin is a few cells"
    beside = Part.around((np.array([200, 60, 14, 50]) - [left, top, 0, 0]) * scale, picture)
    assert colours(picture[beside.slices]) <= 9, "so is what lies beside the head"
    face = Part.around(portrait.face_box, picture)
    assert colours(picture[face.slices]) > 300, "the face is clear"
    assert (image == noise()).all(), "the frame is left as it is"


@pytest.mark.parametrize("height", [20, 40, 60])
def test_another_face_in_the_body_leaves_one_colour_whatever_it_looks_like(height: int) -> None:
    """The frame is not shrunk here, so that the same pixels in another order have the same mean."""
    body = np.array([200.0, 60.0, 100.0, 280.0])
    stranger = boxes((206, 180, 0.8 * height, height))
    image, scrambled = noise(), noise()
    part = Part.around(head_of(stranger)[0], image)
    inside = scrambled[part.slices].reshape(-1, 3)
    scrambled[part.slices] = (
        np.random.default_rng(5).permutation(inside).reshape(scrambled[part.slices].shape)
    )
    assert (image != scrambled).any()
    one, other = (portray(frame, body, FACE, others(stranger)) for frame in (image, scrambled))
    assert one.picture.shape[0] == round(280 + 2 * 0.06 * 280), "not shrunk"
    off = np.array([one.picture.shape[1], one.picture.shape[0]]) - [100, 280]
    there = stranger - [200 - off[0] / 2, 60 - off[1] / 2, 0, 0]
    head = Part.around(head_of(there)[0], one.picture)
    assert np.abs(one.picture[head.slices].astype(int) - other.picture[head.slices]).max() <= 16
    cells = one.picture[head.top + 2 : head.bottom - 2, head.left + 2 : head.right - 2]
    assert colours(cells) <= 4


def test_cells_grow_with_the_largest_face_that_may_be_there() -> None:
    small = portray(noise(), BODY, FACE, others()).cell_px
    large = portray(noise(), BODY, FACE, others(boxes((260, 250, 64, 80)))).cell_px
    assert large == pytest.approx(2 * small, rel=0.01)
    far_away = portray(noise(), BODY, FACE, others(boxes((500, 250, 64, 80)))).cell_px
    assert far_away == small


def test_another_body_before_the_person_is_covered_and_one_behind_is_beside_the_trunk() -> None:
    image = noise()
    behind = portray(image, BODY, FACE, others(bodies=boxes((250, 70, 90, 280)))).picture
    before = portray(image, BODY, FACE, others(bodies=boxes((250, 100, 90, 330)))).picture
    trunk = Part.around(np.array([60.0, 200.0, 8.0, 30.0]), behind)
    assert colours(behind[trunk.slices]) > 100, "the person's own trunk stands before"
    right = slice(210, 240), slice(100, 110)
    assert colours(behind[right]) <= 9
    assert colours(before[right]) <= 9


def test_whoever_may_be_on_the_face_is_too_near() -> None:
    for near in (
        others(boxes((240, 80, 32, 40))),
        others(bodies=boxes((215, 62, 90, 290))),
        Others(boxes(), boxes(), boxes((236, 78, 30, 38))),
    ):
        with pytest.raises(NoStill, match="others-near"):
            portray(noise(), BODY, FACE, near)


@pytest.mark.parametrize(
    "body", [None, np.array([10.0, 10.0, 8.0, 20.0]), np.array([10.0, np.nan, 50.0, 100.0])]
)
def test_without_a_body_that_is_certain_there_is_no_still(body: Doubles | None) -> None:
    with pytest.raises(NoStill, match="no-body"):
        portray(noise(), body, None, others())


def test_a_face_without_a_body_is_a_bust() -> None:
    picture = portray(noise(), None, FACE, others()).picture
    assert picture.shape[0] < 4 * FACE[3]


def test_every_reason_is_one_that_officers_can_be_told() -> None:
    assert {"others-near", "no-body", "failed"} <= REASONS.keys()


def portrait() -> Portrait:
    return Portrait(noise(2, (HEIGHT, 120)), np.array([40.0, 30.0, 30.0, 40.0]), 20.0)


def test_the_last_look_covers_what_is_no_face_of_this_person() -> None:
    made = portrait()
    assert made.face_box is not None
    before = made.picture.copy()
    strange = boxes((70, 200, 20, 26))
    data = finish(made, Finder(np.concatenate([made.face_box[None], strange]), made.face_box[None]))
    there = Part.around(strange[0], made.picture)
    assert colours(made.picture[there.slices]) == 1
    assert (made.picture[30:70, 40:70] == before[30:70, 40:70]).all()
    decoded = cv2.imdecode(np.frombuffer(bytes(data), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == made.picture.shape


def test_of_whom_no_face_was_seen_every_face_is_covered() -> None:
    made = Portrait(portrait().picture, None, 20.0)
    assert len(strange_faces(made, Finder(boxes((40, 30, 30, 40))))) == 3
    with pytest.raises(NoStill, match="others-near"):
        finish(made, Finder(boxes((40, 30, 30, 40)), boxes((20, 20, 30, 40)), boxes((0, 0, 9, 9))))


def test_a_detector_that_fails_gives_no_still() -> None:
    with pytest.raises(ModelError):
        finish(portrait(), Finder(boxes(), error=ModelError("out of memory")))


def test_the_jpeg_has_no_thumbnail_and_no_metadata() -> None:
    data = bytes(finish(portrait(), Finder(boxes())))
    markers, at = [], 2
    while data[at + 1] != 0xDA:
        markers.append(data[at + 1])
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    assert set(markers) <= {0xE0, 0xDB, 0xC0, 0xC4}, "JFIF, tables and the frame alone"
    assert data[6:11] == b"JFIF\0"
    assert data[18:20] == b"\0\0", "of a thumbnail of no size"
