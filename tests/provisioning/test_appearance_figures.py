"""The figures by which the appearance network is judged say what they claim to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.appearance import evaluate, train
from models.appearance.footage import Track, load_tracks
from models.appearance.synthesis import PeopleSet


def _plain(*tones: int) -> np.ndarray:
    return np.stack([np.full((128, 64, 3), tone, np.uint8) for tone in tones])


def _by_brightness(images: np.ndarray) -> np.ndarray:
    turn = images[:, 64, 32, 0].astype(np.float32) * (np.pi / 255)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    assert evaluate.auc(np.array([0.9, 0.5]), np.array([0.1, 0.6])) == 0.75
    assert evaluate.auc(np.array([0.5]), np.array([0.5])) == 0.5


def test_rivals_of_a_track_are_those_of_its_clip() -> None:
    first, last = _plain(0, 120, 250, 10), _plain(5, 125, 245, 240)
    tracks = [
        Track(clip, a, b) for clip, a, b in zip(("x", "x", "y", "y"), first, last, strict=True)
    ]
    told = evaluate.judge_tracks(tracks, _by_brightness, changed=0)
    assert told.pairs == (4, 4)
    assert told.rank_1 == 0.75
    everybody = evaluate.judge_tracks(tracks, _by_brightness, changed=0, within=False)
    assert everybody.pairs == (4, 12)


def test_people_are_looked_for_at_one_camera_or_at_the_others() -> None:
    cameras = np.array([[0, 0, 1], [0, 1, 1]])
    people = PeopleSet(np.zeros((2, 3, 1), np.uint8), np.zeros((2, 3), np.uint8), cameras)
    turns = np.array([[0.0, 0.1, 0.1], [3.0, 3.1, 0.05]])
    vectors = np.stack([np.cos(turns), np.sin(turns)], axis=2).astype(np.float32)
    same = evaluate.judge_people(people, vectors, one_camera=True)
    assert same.pairs == (1, 3) and same.auc == 1.0
    other = evaluate.judge_people(people, vectors, one_camera=False)
    assert other.pairs == (3, 3) and other.auc < 1.0


def test_the_peer_tells_colours_apart_and_gives_unit_rows() -> None:
    images = _plain(20, 200)
    images[0, :64, :, 2] = 250
    rows = evaluate.colour_stripes(images)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows[0] @ rows[1] < 0.9


def test_a_second_camera_shows_other_colours_and_fewer_lines() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (128, 64, 3), dtype=np.uint8)
    shown = evaluate.second_camera(noise, rng)
    assert shown.shape == noise.shape
    assert np.diff(shown.astype(int), axis=0).std() < np.diff(noise.astype(int), axis=0).std() / 2


def test_without_clips_there_are_no_tracks(tmp_path: Path) -> None:
    assert load_tracks(tmp_path) == []


def test_training_without_its_libraries_says_how_to_get_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train.main(["--work", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "python3 -m venv torchenv" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_rate_of_strangers_is_an_upper_bound_where_nobody_reaches_the_threshold() -> None:
    tracks = [
        Track("x", a, b) for a, b in zip(_plain(0, 120, 250), _plain(5, 125, 245), strict=True)
    ]
    measured = evaluate.calibrate_by_tracks(tracks, _by_brightness, (0.0, 0.99), changed=1)
    assert measured["pairs_of_strangers"] == 6
    assert measured["strangers"][1] == 0.5
    assert measured["strangers"][0] >= measured["strangers"][1]
