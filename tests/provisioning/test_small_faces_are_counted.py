"""What small faces take off a likelihood ratio is counted; no more is claimed than counts say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edge_agent.vision.quality import FaceSigns, upper_bounds
from models.build import _of_sizes
from models.calibration.sizes import lower_bound, quality_at, shrunk, table_of
from models.sources import sources_of


@pytest.mark.parametrize("eyes_px", [5.0, 6.0, 9.0, 20.0, 32.0, 60.0])
def test_no_face_of_that_size_has_a_higher_quality_on_a_board(eyes_px: float) -> None:
    one = np.ones(1)
    perfect = FaceSigns(eyes_px * one, 0 * one, 0 * one, one, one)
    assert upper_bounds(perfect, np.ones(1, np.float32))[0] == pytest.approx(quality_at(eyes_px))


def test_the_table_rises_to_what_large_faces_lose() -> None:
    table = table_of({5: 11, 6: 41, 9: 40, 26: 96}, 96)
    qualities, taken = table["calibration.llr.quality"], table["calibration.llr.quality_taken"]
    assert len(qualities) == len(taken)
    assert all(low <= high for low, high in pairwise(qualities))
    assert all(low <= high <= 0 for low, high in pairwise(taken))
    assert taken[0] <= np.log10(11 / 96), "no more than was found"


def test_a_share_is_taken_at_the_lower_end_of_what_the_count_allows() -> None:
    assert lower_bound(0, 96) == 0
    assert 0.95 < lower_bound(96, 96) < 1
    assert lower_bound(48, 96) < 0.5


def test_a_shrunk_face_has_lost_its_detail() -> None:
    rng = np.random.default_rng(1)
    crops = rng.integers(0, 255, (2, 112, 112, 3), np.uint8)
    assert shrunk(crops, 8).shape == crops.shape
    assert shrunk(crops, 8).std() < 0.5 * crops.std()


def test_the_manifest_holds_it_of_the_network_that_was_counted_alone() -> None:
    by_name = {source.name: _of_sizes(source) for source in sources_of("sface")}
    assert by_name["sface"].keys() == {"calibration.llr.quality", "calibration.llr.quality_taken"}
    assert not by_name["sface-masked"]
    (other,) = (one for one in sources_of("mobilefacenet") if one.role == "face_embedder")
    assert not _of_sizes(other)
