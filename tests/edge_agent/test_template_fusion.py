"""A track's template: better crops count more, strangers are left out, int8 changes little."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.vision.fusion import fuse
from protocol.sightings import dequantise_template, quantise_template

Rows = NDArray[np.float32]


def around(centre: Rows, spread: float, count: int, seed: int) -> Rows:
    rows = centre + np.random.default_rng(seed).normal(0, spread, (count, len(centre)))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def unit(seed: int, dimension: int = 192) -> Rows:
    vector = np.random.default_rng(seed).normal(size=dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_the_fused_template_is_nearer_to_the_person_than_a_single_crop() -> None:
    person = unit(1)
    crops = around(person, 0.05, 6, seed=2)
    fused = fuse(crops, np.ones(6))
    assert fused is not None
    assert fused.used.all()
    assert abs(float(np.linalg.norm(fused.vector)) - 1) < 1e-5
    assert fused.vector @ person > (crops @ person).max()


def test_better_crops_count_more() -> None:
    first, second = around(unit(1), 0.04, 2, seed=3)
    fused = fuse(np.stack([first, second]), np.array([0.9, 0.1]))
    assert fused is not None
    assert fused.vector @ first > fused.vector @ second


def test_a_strangers_crop_is_left_out() -> None:
    person = around(unit(1), 0.03, 4, seed=4)
    stranger = around(unit(9), 0.03, 1, seed=5)
    fused = fuse(np.concatenate([person, stranger]), np.array([0.5, 0.5, 0.5, 0.5, 0.95]))
    assert fused is not None
    assert fused.used.tolist() == [True] * 4 + [False]


def test_crops_that_do_not_agree_give_no_template() -> None:
    strangers = np.stack([unit(seed) for seed in range(6)])
    assert fuse(strangers, np.ones(6)) is None
    assert fuse(np.zeros((0, 192), np.float32), np.zeros(0)) is None


def test_one_crop_alone_is_its_own_template() -> None:
    fused = fuse(unit(1)[None], np.array([0.4]))
    assert fused is not None
    np.testing.assert_allclose(fused.vector, unit(1), atol=1e-6)


@given(seed=st.integers(0, 100_000), dimension=st.sampled_from([128, 192, 512, 704]))
def test_int8_turns_a_template_by_less_than_a_tenth_of_a_percent(seed: int, dimension: int) -> None:
    vector = unit(seed, dimension)
    row, scale = quantise_template(vector)
    back = dequantise_template(row, scale)
    assert abs(float(np.linalg.norm(back)) - 1) < 1e-5
    assert 1 - float(vector @ back) < 1e-3


@given(seeds=st.tuples(st.integers(0, 100_000), st.integers(0, 100_000)))
def test_int8_changes_a_score_by_less_than_a_hundredth(seeds: tuple[int, int]) -> None:
    first, second = unit(seeds[0]), unit(seeds[1])
    shared = (first + second) / np.linalg.norm(first + second)
    exact = float(first @ shared)
    scored = float(
        dequantise_template(*quantise_template(first))
        @ dequantise_template(*quantise_template(shared))
    )
    assert abs(exact - scored) < 0.01
