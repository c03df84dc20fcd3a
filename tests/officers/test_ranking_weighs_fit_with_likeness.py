"""Sightings rank by likelihood ratio and by how they fit the others in time and way."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bench_ranking import TOWN, one_subject
from officers.desk.ground import CLOCK_S, FASTEST_M_S, VIEW_M
from officers.desk.ranking import AGAINST, Scope, Sightings, weigh

DAY_S = 86_400.0
STREET = np.array([[300.0 * n, 0.0, 0.0] for n in range(40)])
"""40 cameras in a row, 300 m from each to the next."""
SCOPE = Scope(STREET, len(STREET), 14 * DAY_S, 1_000_000)
NOWHERE = replace(SCOPE, placed=np.empty((0, 3)))
FIVE_MINUTES = 300.0

Seen = tuple[int, float, float]
"""Camera, when it begins (s; it lasts ten), log10 of the ratio."""


def sightings(*seen: Seen, decided: dict[int, int] | None = None, placed: bool = True) -> Sightings:
    camera, begins, ratios = (np.array(column) for column in zip(*seen, strict=True))
    words = np.zeros(len(seen), np.int64)
    for number, word in (decided or {}).items():
        words[number] = word
    return Sightings(
        camera.astype(np.int64),
        begins.astype(float),
        begins + 10.0,
        ratios.astype(float),
        words,
        STREET if placed else np.full_like(STREET, np.nan),
        np.full(len(STREET), -1),
    )


def apart(count: int) -> list[Seen]:
    """Sightings that are a day apart from one another."""
    return [(n, n * DAY_S, 3.0 + n / 10) for n in range(count)]


seen_anywhere = st.tuples(
    st.integers(0, 6), st.integers(0, 4_000).map(float), st.floats(-2, 6).map(lambda r: round(r, 3))
)
many = st.lists(seen_anywhere, min_size=1, max_size=12)


def test_a_route_stands_above_a_look_alike_of_a_higher_ratio() -> None:
    route = [(n, n * FIVE_MINUTES, 4.0) for n in range(4)]
    weighed = weigh(sightings((30, 5 * DAY_S, 4.8), *route), SCOPE)
    assert weighed.log10_odds[1:].min() > weighed.log10_odds[0]
    assert weighed.fitting.tolist() == [0, 3, 3, 3, 3]
    assert weighed.log10_support[0] == 0


def test_what_nothing_speaks_for_or_against_keeps_its_ratio() -> None:
    weighed = weigh(sightings(*apart(5)), SCOPE)
    assert np.abs(weighed.log10_support).max() == 0
    assert np.allclose(weighed.log10_odds, [3.0 + n / 10 + SCOPE.log10_prior for n in range(5)])


def test_nearer_in_time_says_more() -> None:
    support = [
        weigh(sightings((0, 0.0, 3.0), (1, after, 3.0)), SCOPE).log10_support[1]
        for after in (250.0, 1_000.0, 8_000.0)
    ]
    assert support[0] > support[1] > support[2] == 0


def test_of_two_places_at_once_the_weaker_loses() -> None:
    strong, weak = 5.0, 2.0
    weighed = weigh(sightings((0, 0.0, strong), (10, 0.0, weak)), replace(SCOPE, compared=0))
    assert (weighed.against.tolist(), weighed.rival.tolist()) == ([1, 1], [1, 0])
    assert weighed.log10_support[1] < weighed.log10_support[0] <= 0


def test_faster_than_running_is_a_contradiction_and_slower_is_none() -> None:
    needed = (600.0 - VIEW_M) / FASTEST_M_S - CLOCK_S
    for spare, against in ((-1.0, 1), (1.0, 0)):
        weighed = weigh(sightings((0, 0.0, 3.0), (2, 10.0 + needed + spare, 3.0)), SCOPE)
        assert weighed.against.tolist() == [against, against]


def test_one_camera_contradicts_itself_never_and_neither_do_cameras_of_one_place() -> None:
    assert weigh(sightings((0, 0.0, 3.0), (0, 2.0, 3.0)), SCOPE).against.tolist() == [0, 0]
    nowhere = sightings((0, 0.0, 3.0), (1, 2.0, 3.0), placed=False)
    assert weigh(nowhere, NOWHERE).against.tolist() == [1, 1]
    one_hall = replace(nowhere, places=np.zeros(len(STREET), np.int64))
    assert weigh(one_hall, NOWHERE).against.tolist() == [0, 0]


def test_without_positions_time_on_the_same_camera_alone_counts() -> None:
    weighed = weigh(
        sightings((0, 0.0, 3.0), (0, 60.0, 3.0), (1, 120.0, 3.0), placed=False), NOWHERE
    )
    assert weighed.fitting.tolist() == [1, 1, 0]
    assert weighed.log10_support[2] == 0 < weighed.log10_support[0]


def test_without_positions_two_cameras_at_once_weaken_the_weaker() -> None:
    weighed = weigh(sightings((0, 0.0, 4.0), (1, 0.0, 3.0), decided={0: 1}, placed=False), NOWHERE)
    assert np.isclose(weighed.log10_support[1], np.log10(AGAINST), atol=0.05)
    assert weighed.log10_support[0] > -0.1


def test_what_is_confirmed_counts_as_certain_and_what_is_rejected_for_nothing() -> None:
    pair = ((0, 0.0, 3.0), (1, FIVE_MINUTES, 3.0))
    open_, confirmed, rejected = (
        weigh(sightings(*pair, decided={0: word}), SCOPE) for word in (0, 1, -1)
    )
    assert confirmed.log10_support[1] > open_.log10_support[1] > rejected.log10_support[1] == 0
    assert (confirmed.fitting[1], rejected.fitting[1]) == (1, 0)
    at_once = weigh(sightings((0, 0.0, 3.0), (9, 0.0, 3.0), decided={0: -1}), SCOPE)
    assert at_once.against.tolist() == [1, 0]


def test_what_has_no_ratio_supports_nobody_and_is_kept() -> None:
    weighed = weigh(sightings((0, 0.0, float("nan")), (1, FIVE_MINUTES, 3.0)), SCOPE)
    assert np.isnan(weighed.log10_odds[0])
    assert (weighed.fitting.tolist(), weighed.log10_support[1]) == ([1, 0], 0)


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(many, st.data())
def test_a_higher_ratio_never_ranks_lower(seen: list[Seen], data: st.DataObject) -> None:
    chosen = data.draw(st.integers(0, len(seen) - 1))
    more = data.draw(st.floats(0.05, 3))
    camera, begins, ratio = seen[chosen]
    raised = [*seen[:chosen], (camera, begins, ratio + more), *seen[chosen + 1 :]]
    before, after = (weigh(sightings(*one), SCOPE).log10_odds for one in (seen, raised))
    assert after[chosen] - before[chosen] > more - 0.02
    others = np.arange(len(seen)) != chosen
    stood_above = (before[chosen] > before) & others
    gained = after - before
    assert (gained[stood_above] <= gained[chosen] + 0.02).all()


@settings(max_examples=examples(60), deadline=None)
@given(many, st.randoms(use_true_random=False), st.booleans())
def test_the_order_in_which_they_come_changes_nothing(
    seen: list[Seen], random: object, placed: bool
) -> None:
    order = list(range(len(seen)))
    random.shuffle(order)  # type: ignore[attr-defined]
    scope = SCOPE if placed else NOWHERE
    one = weigh(sightings(*seen, placed=placed), scope)
    other = weigh(sightings(*(seen[n] for n in order), placed=placed), scope)
    assert np.allclose(one.log10_odds[order], other.log10_odds, atol=0.011)
    assert one.fitting[order].tolist() == other.fitting.tolist()
    assert one.against[order].tolist() == other.against.tolist()


@settings(max_examples=examples(30), deadline=None)
@given(many)
def test_odds_are_those_of_all_chains_summed_one_by_one(seen: list[Seen]) -> None:
    seen = sorted(seen[:7], key=lambda one: (one[1], one[0], one[2]))
    pairs = {
        (i, j): _ratio(seen[i], seen[j]) for i in range(len(seen)) for j in range(i + 1, len(seen))
    }
    total, having = 0.0, np.zeros(len(seen))
    for chain in range(1 << len(seen)):
        members = [n for n in range(len(seen)) if chain >> n & 1]
        weight = float(np.prod([10 ** (seen[n][2] + SCOPE.log10_prior) for n in members]))
        for first, second in pairwise(members):
            weight *= pairs[first, second]
        total += weight
        having[members] += weight
    assert np.allclose(
        weigh(sightings(*seen), SCOPE).log10_odds, np.log10(having / (total - having)), atol=0.02
    )


def _ratio(first: Seen, second: Seen) -> float:
    """What a pair says, read from what two sure sightings do to one another."""
    both = sightings((*first[:2], -9.0), (*second[:2], 0.0), decided={0: 1})
    sure, support = 1e3, 10.0 ** weigh(both, SCOPE).log10_support[1]
    # the odds of the second, given the first with odds `sure`: (1 + sure x) / (1 + sure)
    return float((support * (1 + sure) - 1) / sure)


def test_in_a_simulated_city_far_fewer_strangers_stand_above_the_last_true_sighting() -> None:
    found = [above for seed in range(16) if (above := one_subject(seed, TOWN, 1.0)) is not None]
    assert sum(above.ranked for above in found) < sum(above.alone for above in found) / 3


def test_without_positions_the_simulated_city_is_ranked_no_worse_than_by_ratios() -> None:
    found = [
        above
        for seed in range(8)
        if (above := one_subject(seed, TOWN, 1.0, placed=False)) is not None
    ]
    assert sum(above.ranked for above in found) <= sum(above.alone for above in found)
