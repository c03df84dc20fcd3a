"""Counts of a slot: how many people, how many masked, how crowded; of one size whoever came."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import encode
from protocol.errors import KeyCommitmentMismatch, MalformedMessage
from protocol.keytree import COUNTS, COVER
from protocol.names import SLOT_MS
from protocol.sealing import LIVE_ENVELOPE
from protocol.sightings import MaskStatus
from protocol.v2.counts import COUNTS_BYTES, MOST, PART_MS, PARTS, Counts
from protocol.v2.padding import pad
from protocol.v2.sightings import MaskSpan, Row, Sighting

BEGIN = s.NOW_MS // SLOT_MS * SLOT_MS
BARE, MASKED, UNKNOWN = MaskStatus.UNMASKED, MaskStatus.MASKED, MaskStatus.UNKNOWN


def seen(
    episode: int, from_s: float, to_s: float, *masks: MaskStatus, spans: Sequence[MaskStatus] = ()
) -> Sighting:
    """A sighting of person ``episode`` from and until so many seconds after the slot's begin."""
    first, last = (BEGIN + round(at * 1000) for at in (from_s, to_s))
    told = tuple(MaskSpan(first, last, status, 1.0) for status in spans)
    row = Row(first, last, masks[0] if masks else UNKNOWN, 1.0, 1.0, told)
    return Sighting(os.urandom(8), episode.to_bytes(8, "big"), row)


def counted(*sightings: Sighting) -> Counts:
    return Counts.of(sightings, from_ms=BEGIN)


def test_each_person_counts_once_under_what_they_wore() -> None:
    counts = counted(
        seen(1, 0, 60, MASKED),
        seen(1, 60, 70, UNKNOWN),
        seen(2, 0, 5, BARE),
        seen(3, 0, 5, MASKED, spans=[MASKED, BARE]),
        seen(4, 0, 5, MASKED),
        seen(4, 9, 15, BARE),
        seen(5, 0, 5),
    )
    assert (counts.sightings, counts.people) == (7, 5)
    assert (counts.masked, counts.unmasked, counts.changed, counts.unknown) == (1, 1, 2, 1)


def test_the_most_at_once_are_those_of_one_moment_in_each_five_minutes() -> None:
    third = PART_MS / 1000
    counts = counted(
        seen(1, -20, 10),  # came before the slot
        seen(2, 5, 40),
        seen(2, 40, 100),  # was cut into two sightings, and is one person
        seen(3, 11, 30),
        seen(4, third - 1, third + 1),
        seen(5, third + 2, third + 3),
    )
    assert counts.at_once == (2, 1, 0)
    assert counted().at_once == (0,) * PARTS
    assert counted(seen(1, 0, 900), seen(2, 310, 320)).at_once == (1, 2, 1)


def test_nobody_and_a_crowd_are_of_one_size_when_sealed() -> None:
    crowd = Counts(MOST, MOST, at_once=(MOST,) * PARTS)
    assert len(counted().to_bytes()) == len(crowd.to_bytes()) == COUNTS_BYTES
    assert Counts.parse(crowd.to_bytes()) == crowd


def test_counts_open_with_their_own_key_alone() -> None:
    came = v2.envelope()
    assert came.counts(v2.key(COUNTS)) == v2.COUNTS
    with pytest.raises(KeyCommitmentMismatch):
        came.counts(v2.key(COVER))
    assert not v2.envelope(LIVE_ENVELOPE).inner(v2.key("live")).has(COUNTS)


def test_what_segments_of_one_slot_count_adds_up_and_the_most_at_once_does_not() -> None:
    one, other = Counts(4, 1, 2, at_once=(2, 0, 3)), Counts(2, 0, 1, 1, at_once=(1, 2, 0))
    assert Counts.together([one, other]) == Counts(6, 1, 3, 1, at_once=(2, 2, 3))
    assert Counts.together([]) == Counts()
    with pytest.raises(MalformedMessage):
        Counts.together([Counts(MOST), Counts(1)])


@pytest.mark.parametrize(
    "change",
    [
        {"masked": 9},  # more people than sightings
        {"sightings": MOST + 1},
        {"at_once": [0, 0, 5]},  # more at once than people
        {"at_once": [0, 0]},
        {"at_once": [0, 0, 0, 0]},
        {"at_once": [0, 0, True]},
        {"at_once": [0, 0, -1]},
        {"unknown": -1},
        {"ids": []},
    ],
)
def test_counts_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    body = encode({**v2.COUNTS.to_value(), **change})
    with pytest.raises(MalformedMessage):
        Counts.parse(pad(body, smallest=COUNTS_BYTES))
    with pytest.raises(MalformedMessage):
        replace(v2.COUNTS, unknown=-1)


def test_a_block_of_another_size_is_refused() -> None:
    body = encode(v2.COUNTS.to_value())
    for block in (pad(body, padded=False), pad(body, smallest=2 * COUNTS_BYTES)):
        with pytest.raises(MalformedMessage, match="128 bytes"):
            Counts.parse(block)


people = st.builds(
    lambda episode, first, lasted, mask: seen(episode, first, first + lasted, mask),
    st.integers(1, 6),
    st.floats(-60, 899),
    st.floats(0, 60),
    st.sampled_from([BARE, MASKED, UNKNOWN]),
)


@pytest.mark.slow
@given(st.lists(people, max_size=12))
def test_counts_agree_with_looking_second_by_second_and_come_back(crowd: list[Sighting]) -> None:
    counts = counted(*crowd)
    assert Counts.parse(counts.to_bytes()) == counts
    assert counts.people == len({one.episode for one in crowd})
    moments = sorted({at for one in crowd for at in (one.row.first_ms, BEGIN)})
    moments += [BEGIN + at * PART_MS for at in range(PARTS)]
    most = [0] * PARTS
    for moment in moments:
        there = {one.episode for one in crowd if one.row.first_ms <= moment <= one.row.last_ms}
        at = (moment - BEGIN) // PART_MS
        if 0 <= at < PARTS:
            most[at] = max(most[at], len(there))
    assert counts.at_once == tuple(most)
