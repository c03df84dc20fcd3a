"""Who drafts a query is told that its threshold was raised for its size, and how sure that is."""

from __future__ import annotations

import protocol_samples as s

from officers.desk.api_client import Estimate
from officers.desk.drafting import raised_notices


def test_a_raised_threshold_is_told_with_its_reason_and_whether_it_was_counted() -> None:
    raised = Estimate(sightings=9, expected_false=1.0, raised=("m",), default_thresholds={"m": 0.5})
    thresholds = {"m": 0.5, "n": 0.7}
    (notice,) = raised_notices(raised, thresholds, s.POLICY)
    assert "raised to 0.5" in notice.text
    assert "more than 10 strangers a subject" in notice.text
    assert "upper bound" not in notice.text
    beyond = raised.model_copy(update={"beyond_counts": ("m",)})
    (notice,) = raised_notices(beyond, thresholds, s.POLICY)
    assert "an upper bound" in notice.text


def test_nothing_is_told_where_the_floor_does() -> None:
    assert not raised_notices(Estimate(sightings=9, expected_false=1.0), {"m": 0.5}, s.POLICY)
