"""Rows of metadata: what a writer lays out is what a reader takes, and nothing else is sealed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import protocol_samples_v2 as v2
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.encoding import encode
from protocol.errors import MalformedMessage
from protocol.sightings import MaskStatus
from protocol.v2.sightings import Encounter, MaskSpan, Row

TIMES = st.sampled_from([-1, 0, 1, 4000, 2**61, 2**62 - 1, 2**62]) | st.integers(0, 10_000)
PARTS = st.floats(0, 1) | st.sampled_from([-1.0, 2.0])
AMOUNTS = st.floats(0, 1e6) | st.sampled_from([-1.0, 2.0**62])
IDS = st.binary(min_size=8, max_size=8) | st.just(b"short")
SPANS = st.lists(
    st.builds(MaskSpan, TIMES, TIMES, st.sampled_from(MaskStatus), PARTS), max_size=2
).map(tuple)
DISTANCES = st.none() | st.floats(0, 1e6) | st.just(-1.0)
ENCOUNTERS = st.builds(
    Encounter, IDS, IDS, TIMES, TIMES, AMOUNTS, DISTANCES, DISTANCES, SPANS, SPANS
)
ROWS = st.builds(
    Row,
    TIMES,
    TIMES,
    st.sampled_from(MaskStatus),
    PARTS,
    PARTS,
    SPANS,
    st.dictionaries(
        st.sampled_from(["face", "appearance", "gait"]),
        st.sampled_from(["net-8@00000000", "", "two\nlines", "x" * 257]),
        max_size=2,
    ),
    st.none() | IDS,
    st.lists(ENCOUNTERS, max_size=2).map(tuple),
)


def spelt(row: Row) -> bytes:
    """Lay a row out as docs/protocol.md says, checking nothing."""

    def of(spans: tuple[MaskSpan, ...]) -> list[list[int]]:
        return [
            [
                one.from_ms - row.first_ms,
                one.until_ms - one.from_ms,
                int(one.status),
                round(one.confidence * 255),
            ]
            for one in spans
        ]

    def centimetres(distance_m: float | None) -> int | None:
        return None if distance_m is None else min(65_535, round(distance_m * 100))

    return encode(
        [
            row.first_ms,
            row.last_ms - row.first_ms,
            int(row.mask),
            round(row.mask_confidence * 255),
            round(row.quality * 255),
            of(row.masks),
            dict(row.networks),
            row.continues,
            [
                [
                    met.other_id,
                    met.other_episode,
                    met.first_ms - row.first_ms,
                    met.last_ms - row.first_ms,
                    round(met.within_s * 10),
                    centimetres(met.nearest_m),
                    centimetres(met.median_m),
                    of(met.masks),
                    of(met.other_masks),
                ]
                for met in row.encounters
            ],
        ]
    )


def agree(row: Row) -> bool:
    """Hold writer against reader; tell whether both take the row."""
    try:
        data = row.to_bytes()
    except MalformedMessage:
        with pytest.raises(MalformedMessage):
            Row.parse(spelt(row))
        return False
    assert data == spelt(row)
    again = Row.parse(data)
    assert spelt(again) == data  # the same within what an encoding can hold
    assert (again.first_ms, again.last_ms) == (row.first_ms, row.last_ms)
    assert abs(again.quality - row.quality) <= 1 / 255
    return True


@settings(max_examples=examples(400))
@given(ROWS)
def test_what_a_reader_refuses_is_never_laid_out_and_the_rest_comes_back(row: Row) -> None:
    agree(row)


@pytest.mark.parametrize("field", ["first_ms", "last_ms", "within_s", "nearest_m", "median_m"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 2.5, 2**62])
def test_an_encounter_with_a_value_out_of_range_is_refused(field: str, value: float) -> None:
    row = v2.sighting("one").row
    changed: dict[str, Any] = {field: value}
    met = replace(row.encounters[0], **changed)
    fits = field in ("within_s", "nearest_m", "median_m") and value == 2.5
    fits = fits or (field in ("nearest_m", "median_m") and value > 0)  # as far as can be said
    wrong = replace(row, encounters=(met,))
    if fits:
        assert Row.parse(wrong.to_bytes())
        return
    with pytest.raises(MalformedMessage):
        wrong.to_bytes()


@pytest.mark.slow
def test_a_row_of_more_items_than_its_reader_takes_is_refused() -> None:
    row = v2.sighting("one").row
    span = MaskSpan(row.first_ms, row.first_ms, MaskStatus.UNMASKED, 0)
    met = replace(row.encounters[0], masks=(span,) * 64, other_masks=(span,) * 64)
    taken = [agree(replace(row, encounters=(met,) * count)) for count in range(1, 14)]
    assert taken[0]
    assert not taken[-1]
    assert agree(replace(row, encounters=row.encounters * 200))
    assert not agree(replace(row, encounters=row.encounters * 4097))
    assert not agree(replace(row, masks=(span,) * 65))


@pytest.mark.slow
def test_a_row_of_more_bytes_than_its_reader_takes_is_refused() -> None:
    row = v2.sighting("one").row
    far = MaskSpan(row.first_ms + 2**40, row.first_ms + 2**41, MaskStatus.MASKED, 1)
    met = replace(row.encounters[0], masks=(far,) * 16, other_masks=(far,) * 16)
    assert not agree(replace(row, encounters=(met,) * 2500))
