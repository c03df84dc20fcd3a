"""The simulated city of the benchmarks is sealed as a real one, and says where it is not linear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aggregator.store import open_store
from benchmarks.city import plan_of
from benchmarks.city_figures import CITY, Line
from benchmarks.city_site import CUSTODIANS, FACE_SPACE, make_site
from benchmarks.city_traffic import (
    SHARES,
    SIZES,
    Traffic,
    camera_days,
    make_subjects,
    with_face,
)
from protocol import hpke
from protocol.grant import Scope
from protocol.keytree import COVER, FACE
from protocol.v2.blocks import Space, true_rows

EPOCH = 20_000


def test_what_grows_linearly_is_projected_without_a_residual() -> None:
    line = Line.through([100, 200, 400], [2.0, 3.0, 5.0])
    assert line.residual < 1e-9
    assert line.at(CITY) == pytest.approx(1 + CITY / 100)


def test_what_grows_faster_than_linearly_shows_a_residual() -> None:
    assert Line.through([100, 200, 400], [1.0, 4.0, 16.0]).residual > 0.5


def test_a_size_of_more_cameras_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="from 1 to 10"):
        plan_of(cameras=10, sizes=[5, 11])


def test_segments_are_of_21_people_on_average() -> None:
    assert np.dot(SIZES, SHARES) == pytest.approx(21, abs=0.2)


@pytest.mark.slow
def test_each_slot_of_each_camera_is_a_segment_under_its_own_announced_keys(tmp_path: Path) -> None:
    site = make_site(tmp_path, 2, days=1)
    keys = {name: {EPOCH: hpke.PrivateKey.generate().public.raw} for name in CUSTODIANS}
    cameras = camera_days(site, range(2), EPOCH, keys)
    subjects = make_subjects(np.random.default_rng(1), 1, 2, 1)
    store = open_store(tmp_path / "city.db")
    slots = list(Traffic(1, subjects).fill(store, 0, cameras))
    assert [(slot.segments, slot.sightings >= 2 * min(SIZES)) for slot in slots] == [(2, True)] * 96
    for day in cameras:
        scope = Scope(day.address, EPOCH, 1, 0, 95)
        assert store.segments.count(scope) == 96
    day, slot = cameras[0], 17
    row = next(
        row
        for row in store.segments.scan(Scope(day.address, EPOCH, 1, slot, slot), modalities=(FACE,))
    )
    envelope = store.segments.envelope(row.number)
    envelope.verify(lambda box: site.key(box).verify_key)
    opened = envelope.open(FACE, day.key(slot, FACE))  # type: ignore[union-attr]
    people = len(envelope.rows(day.key(slot, COVER)))  # type: ignore[union-attr]
    assert true_rows(memoryview(opened), Space(FACE_SPACE)) in {people, with_face(people)}
    store.close()
