"""The student for masked faces: its changes to SFace, who taught it, and that it finds more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.faces.sface import Affine, Convolution, Layer, Product, Slopes, to_onnx
from models.mask_classifier.crops import load_crops
from models.masked_faces.artefact import StudentFileError, apply_changes, pack_changes
from models.masked_faces.proxies import VARIANTS, Enrolled, Network, People, Scores, pictures, unit
from models.masked_faces.split import LARGEST_HELD_GROUP, people_of, split_people
from runtime.bundle import load_bundle

HOLDOUT = Path(__file__).parents[1] / "data" / "mask_holdout.npz"
RNG = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return RNG.standard_normal(shape).astype(np.float32)


def layers() -> tuple[Layer, ...]:
    return (
        Convolution(floats(8, 3, 3, 3), floats(8), stride=2, padding=1, groups=1),
        Slopes(floats(8)),
        Affine(floats(8), floats(8)),
        Product(floats(128, 8 * 56 * 56), floats(128)),
    )


def test_a_student_is_its_teacher_and_what_is_changed() -> None:
    teacher = layers()
    convolution, product = teacher[0], teacher[3]
    assert isinstance(convolution, Convolution)
    assert isinstance(product, Product)
    change = 0.01 * floats(8, 3, 3, 3)
    student = (
        replace(convolution, weights=convolution.weights + change),
        *teacher[1:3],
        replace(product, bias=product.bias + np.float32(0.5)),
    )
    packed = pack_changes(teacher, student)
    again = apply_changes(teacher, packed)
    first, last = again[0], again[3]
    assert isinstance(first, Convolution)
    assert isinstance(last, Product)
    np.testing.assert_allclose(first.weights - convolution.weights, change, atol=2e-4)
    np.testing.assert_allclose(last.bias, product.bias + 0.5, atol=1e-5)
    assert again[1] is teacher[1]
    assert last.weights is product.weights
    assert len(packed) < 4000
    assert to_onnx(again) == to_onnx(apply_changes(teacher, packed))


def test_changes_that_do_not_fit_are_an_error() -> None:
    teacher = layers()
    last = teacher[3]
    assert isinstance(last, Product)
    packed = pack_changes(teacher, (*teacher[:3], replace(last, bias=floats(128))))
    for other, content in ((teacher[:2], packed), (teacher, packed[:-40]), (teacher, b"no file")):
        with pytest.raises(StudentFileError, match="take both from one version"):
            apply_changes(other, content)


def test_nobody_teaches_and_is_held_out() -> None:
    people = np.concatenate([np.zeros(LARGEST_HELD_GROUP + 5, np.int64), RNG.integers(1, 40, 75)])
    bare = np.arange(len(people)) * 3
    wanted = np.zeros(len(people), np.bool_)
    wanted[[0, 30, 60]] = True
    split = split_people(bare, people, wanted, seed=1)
    assert sorted([*split.taught, *split.held]) == sorted(bare)
    held, taught = (set(people[np.isin(bare, part)]) for part in (split.held, split.taught))
    assert not held & taught
    assert 0 in taught, "who has very many crops teaches"
    assert {people[30], people[60]} <= held
    assert 0.15 < len(split.held) / len(bare) < 0.3


def test_crops_that_are_alike_in_either_way_are_one_persons() -> None:
    images = RNG.integers(0, 255, (4, 112, 112, 3)).astype(np.uint8)
    images[1] = images[0]
    templates = unit(floats(4, 128))
    templates[3] = unit(templates[2:3] + 0.05 * floats(1, 128))[0]
    assert people_of(templates, images).tolist() == [0, 0, 1, 1]


def test_figures_are_shares_of_counted_pairs() -> None:
    same = np.array([0.9, 0.1, 0.2, 0.3, 0.9, 0.2], np.float32)
    strangers = np.sort(np.linspace(-0.5, 0.5, 100_001).astype(np.float32))[::-1]
    found = Scores(same, strangers).figures()
    assert found["threshold@1e-04"] == pytest.approx(0.5, abs=1e-3)
    assert found["found@1e-05"] == pytest.approx(2 / 6, abs=1e-3)
    assert found["found_in_three@1e-05"] == 1.0


def test_a_person_with_two_templates_scores_as_the_better_one() -> None:
    kinds = unit(floats(3, 8)), unit(floats(3, 8))
    probes, person = unit(floats(2, 8)), np.array([0, 2])
    scores = People(kinds, np.arange(3)).compared(probes, person, tuple(k[person] for k in kinds))
    best = np.maximum(probes @ kinds[0].T, probes @ kinds[1].T)
    np.testing.assert_allclose(scores.same, best[[0, 1], person], atol=1e-6)
    assert len(scores.strangers) == 4
    assert scores.strangers[0] == pytest.approx(max(best[0, 1:].max(), best[1, :2].max()))


@pytest.mark.models
def test_the_student_brings_masked_faces_nearer_to_the_bare_ones(
    model_bundle_path: Path, model_bundle_key: bytes
) -> None:
    bundle = load_bundle(model_bundle_path, [model_bundle_key])
    teacher, student = (Network(bundle.read(entry)) for entry in bundle.entries("face_embedder"))
    held = load_crops(HOLDOUT)
    bare = held.images[held.labels == 0][:8]
    worn = pictures(bare, 5, masked=True)
    people = Enrolled.of(bare, teacher, student, seed=1)
    own = np.repeat(people.bare, VARIANTS, axis=0)
    before = (teacher.templates(worn) * own).sum(axis=1)
    taught = student.templates(worn)
    after = (taught * own).sum(axis=1)
    averaged = (taught * np.repeat(people.averaged(), VARIANTS, axis=0)).sum(axis=1)
    assert after.mean() > before.mean() + 0.02
    assert averaged.mean() > after.mean() + 0.02
