"""Seconds of a quarter hour as bits: joined, taken away, and turned into spans again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.footage import seconds as s
from protocol.names import SLOT_MS
from protocol.v2.rows import SLOT_S

BITS = st.integers(min_value=0, max_value=s.WHOLE)
SPANS = st.tuples(st.integers(0, 100), st.integers(1, 50)).map(lambda one: (one[0], sum(one)))


def test_a_span_touches_the_seconds_that_it_begins_and_ends_in() -> None:
    assert s.between(0, 0, 1000) == 0b1
    assert s.between(0, 999, 1001) == 0b11
    assert s.between(0, 1000, 1000) == 0
    assert s.between(2, 2 * SLOT_MS, 3 * SLOT_MS) == s.WHOLE
    assert s.between(3, 0, 3 * SLOT_MS) == 0
    assert s.between(3, 0, 9 * SLOT_MS) == s.WHOLE


@given(BITS)
def test_seconds_are_their_spans(bits: int) -> None:
    spans = list(s.spans_of(7, bits))
    again = 0
    for begin, end in spans:
        again |= s.between(7, begin, end)
    assert again == bits
    assert s.length_ms(spans) == bits.bit_count() * 1000
    assert all(one[1] < two[0] for one, two in pairwise(spans))
    assert s.from_bytes(s.to_bytes(bits)) == bits


@given(st.lists(SPANS, max_size=4), SPANS)
def test_taking_a_span_away_leaves_what_lies_outside(spans: list[s.Span], taken: s.Span) -> None:
    left = s.without(spans, taken)
    for span in spans:
        inside = {at for at in range(*span) if not taken[0] <= at < taken[1]}
        mine = {at for one in left if span[0] <= one[0] and one[1] <= span[1] for at in range(*one)}
        assert inside <= mine
    assert not any(taken[0] <= at < taken[1] for one in left for at in range(*one))


def test_told_seconds_are_those_with_a_view() -> None:
    views = bytearray(SLOT_S)
    views[3], views[899] = 6, 1
    assert s.told_in(views) == 1 << 3 | 1 << 899
    assert s.told_in(bytearray(SLOT_S)) == 0


def test_a_span_touches_its_slots() -> None:
    assert list(s.slots_of((0, SLOT_MS))) == [0]
    assert list(s.slots_of((SLOT_MS - 1, SLOT_MS + 1))) == [0, 1]
    assert list(s.slots_of((5, 5))) == []
