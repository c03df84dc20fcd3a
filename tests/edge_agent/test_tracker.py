"""One person, one track: walkers seen at 5 Hz, crossings, weak detections, gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.arrays import Detections
from edge_agent.vision.boxes import generalised_iou
from edge_agent.vision.tracker import Tracker, TrackSpan

STEP_MS = 200
Box = tuple[float, float, float, float]


def seen(boxes: Sequence[Box], scores: Sequence[float] | None = None) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros((count, 5, 2), np.float32),
        np.array(scores if scores is not None else [0.9] * count, np.float32),
    )


def follow(
    tracker: Tracker, frames: Iterable[Detections], start_ms: int = 0
) -> tuple[list[dict[int, int]], list[TrackSpan]]:
    """Run frames 200 ms apart: for each the track by detection row, and the tracks that ended."""
    rows: list[dict[int, int]] = []
    ended: list[TrackSpan] = []
    for index, detections in enumerate(frames):
        step = tracker.update(detections, start_ms + index * STEP_MS)
        rows.append(dict(zip(step.detections.tolist(), step.track_ids.tolist(), strict=True)))
        ended += step.ended
    return rows, ended


def test_a_fast_walker_whose_boxes_never_overlap_is_one_track() -> None:
    frames = [seen([(50 + 36 * i, 200 + i, 24, 30)]) for i in range(20)]
    rows, ended = follow(Tracker(), frames)
    assert {track for row in rows for track in row.values()} == {1}
    assert not ended


def test_two_people_who_cross_keep_their_tracks() -> None:
    frames = [seen([(50 + 20 * i, 200, 30, 38), (450 - 20 * i, 208, 30, 38)]) for i in range(21)]
    rows, _ = follow(Tracker(), frames)
    assert len({track for row in rows for track in row.values()}) == 2
    assert all(row == rows[1] for row in rows[1:])


def test_many_people_at_once_keep_their_tracks() -> None:
    rng = np.random.default_rng(5)
    place = np.array([[x, y] for x in range(60, 1200, 120) for y in (100, 300, 500)], np.float64)
    speed = rng.uniform(-60, 60, place.shape)
    frames = []
    for index in range(15):
        at = place + speed * index * STEP_MS / 1000 + rng.normal(0, 0.5, place.shape)
        frames.append(seen([(x, y, 32, 40) for x, y in at.tolist()]))
    tracker = Tracker()
    rows, _ = follow(tracker, frames)
    assert tracker.started == len(place)
    assert all(row == rows[0] for row in rows)


def test_a_weak_detection_goes_on_with_a_track_but_never_begins_one() -> None:
    frames = [seen([(100, 100, 30, 40)], [0.9 if i < 4 else 0.35]) for i in range(10)]
    rows, ended = follow(Tracker(), frames)
    assert all(row == {0: 1} for row in rows)
    assert not ended
    alone, _ = follow(Tracker(), [seen([(100, 100, 30, 40)], [0.35])] * 5)
    assert not any(alone)


def test_a_short_gap_is_bridged_and_a_long_one_ends_the_track() -> None:
    there, gone = seen([(100, 100, 30, 40)]), seen([])
    short, _ = follow(Tracker(), [there] * 4 + [gone] * 4 + [there] * 2)
    assert short[-1] == {0: 1}
    longer, ended = follow(Tracker(), [there] * 4 + [gone] * 8 + [there] * 2)
    assert longer[-1] == {0: 2}
    assert ended == [TrackSpan(1, 0, 3 * STEP_MS, 4)]


def test_a_jump_across_the_picture_or_in_size_is_another_person() -> None:
    near = [seen([(100, 100, 30, 40)])] * 4
    for other in [(600, 300, 30, 40), (90, 90, 90, 120)]:
        rows, _ = follow(Tracker(), [*near, seen([other])])
        assert rows[-1] == {0: 2}


def test_flush_and_expire_close_what_is_open() -> None:
    tracker = Tracker()
    follow(tracker, [seen([(100, 100, 30, 40), (300, 100, 30, 40)])] * 3)
    assert tracker.expire(3 * STEP_MS) == ()
    assert [span.hits for span in tracker.expire(60_000)] == [3, 3]
    follow(tracker, [seen([(100, 100, 30, 40)])] * 3, start_ms=70_000)
    assert [span.track_id for span in tracker.flush()] == [3]
    assert len(tracker) == 0


def test_a_clock_that_steps_back_does_no_harm() -> None:
    tracker = Tracker()
    tracker.update(seen([(100, 100, 30, 40)]), 10_000)
    step = tracker.update(seen([(101, 100, 30, 40)]), 4_000)
    assert step.track_ids.tolist() == [1]
    span = tracker.flush()[0]
    assert span.first_seen_ms <= span.last_seen_ms


def test_boxes_are_filtered_towards_the_truth() -> None:
    rng = np.random.default_rng(2)
    tracker = Tracker()
    raw, filtered = [], []
    for index in range(60):
        true = np.array([100 + 4 * index, 200, 40, 50], np.float64)
        measured = true + rng.normal(0, [3, 3, 4, 5])
        step = tracker.update(seen([tuple(measured.tolist())]), index * STEP_MS)
        if index >= 10:
            raw.append(abs(measured[3] - true[3]))
            filtered.append(abs(step.boxes[0, 3] - true[3]))
    assert tracker.started == 1
    assert np.mean(filtered) < 0.8 * np.mean(raw)


def test_generalised_iou_of_known_boxes() -> None:
    first = np.array([[0, 0, 10, 10]], np.float64)
    second = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [20, 0, 10, 10]], np.float64)
    np.testing.assert_allclose(generalised_iou(first, second), [[1, 50 / 150, 0 - 10 / 30]])


boxes = st.tuples(st.floats(-50, 1300), st.floats(-50, 800), st.floats(1, 400), st.floats(1, 400))
frame = st.lists(st.tuples(boxes, st.floats(0.0, 1.0)), max_size=6)


@given(frames=st.lists(st.tuples(frame, st.integers(0, 3000)), max_size=12))
def test_whatever_is_detected_the_bookkeeping_holds(
    frames: list[tuple[list[tuple[Box, float]], int]],
) -> None:
    tracker, at_ms = Tracker(), 0
    ended: list[TrackSpan] = []
    hits: dict[int, int] = {}
    for faces, wait_ms in frames:
        at_ms += wait_ms
        step = tracker.update(seen([box for box, _ in faces], [score for _, score in faces]), at_ms)
        ended += step.ended
        assert len(set(step.detections.tolist())) == len(step.detections)
        assert len(set(step.track_ids.tolist())) == len(step.track_ids)
        assert np.isfinite(step.boxes).all()
        assert (step.boxes[:, 2:] > 0).all()
        high = {row for row, (_, score) in enumerate(faces) if np.float32(score) >= 0.6}
        assert high <= set(step.detections.tolist())
        for track in step.track_ids.tolist():
            hits[track] = hits.get(track, 0) + 1
            assert track not in {span.track_id for span in ended}
    ended += tracker.flush()
    assert {span.track_id: span.hits for span in ended} == hits
    assert len(ended) == tracker.started
    assert all(s.last_seen_ms >= s.first_seen_ms for s in ended)
