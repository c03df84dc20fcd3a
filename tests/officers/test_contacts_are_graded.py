"""A contact's grade is an account of weighted minutes, a line each, that anybody can add up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import protocol_samples as s
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from officers.desk.contacts import Contact
from officers.desk.grading import LEVELS, Clinical, Grade, grade
from officers.desk.grading_rules import PresetInvalid, Rules, preset_names, rules_of
from officers.desk.persons import Exposure, Person
from officers.desk.traces import Stay
from protocol.keytree import FACE
from protocol.names import CameraAddress
from protocol.results import CONFIRMED
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan

BARE, WORN, UNSEEN = MaskStatus.UNMASKED, MaskStatus.MASKED, MaskStatus.UNKNOWN
MINUTE = 60_000
DAY = 86_400_000
COVID = rules_of("covid-19")


def met(
    minutes: float,
    *,
    after: float = 0,
    metres: float | None = 1.5,
    own: MaskStatus = BARE,
    other: MaskStatus = BARE,
    sure: float = 0.95,
    camera: str = "cam-1",
    spans: tuple[MaskSpan, ...] = (),
) -> Exposure:
    """One exposure of so many minutes, so many minutes after the first."""
    begins = s.NOW_MS + round(after * MINUTE)
    ends = begins + round(minutes * MINUTE)
    contact = Contact(
        b"episode1", begins, ends, minutes * 60, metres, metres, other, sure, other_masks=spans
    )
    stay = Stay(
        "P-17", CameraAddress(s.SITE, "box-1", camera), begins, ends, own, sure, False, 0.8, 3.0,
        "m", CONFIRMED, (1,), (bytes(8),), (contact,), modality=FACE,
    )  # fmt: skip
    return Exposure(stay, contact)


def graded(
    *exposures: Exposure,
    rules: Rules = COVID,
    indoor: bool | None = True,
    window: tuple[int, int] | None = (s.NOW_MS - DAY, s.NOW_MS + 30 * DAY),
) -> Grade:
    person = Person(1, None, False, exposures)
    return grade(person, rules, indoor=lambda _camera: indoor, window=window)


def test_sixteen_minutes_bare_and_near_are_a_high_risk() -> None:
    found = graded(met(16))
    assert (found.level, round(found.points, 3)) == ("high", 16.0)
    assert [round(line.points, 3) for line in found.lines] == [16.0, 16.0]
    assert "1.5 m; indoors; patient without mask, contact without mask" in found.lines[0].words
    assert "16.0 weighted minutes: high (from 15)" in found.lines[-1].words


def test_three_times_five_minutes_within_a_day_add_up() -> None:
    apart = [met(5, after=hours * 60) for hours in (0, 10, 20)]
    assert graded(*apart).level == "high"


def test_minutes_that_lie_more_than_a_day_apart_do_not_add_up() -> None:
    found = graded(met(8), met(8, after=25 * 60))
    assert (found.level, round(found.points, 3)) == ("medium", 8.0)
    assert [round(line.points) for line in found.lines] == [8, 8, 8]


def test_masks_distance_and_the_open_air_make_less_of_a_minute() -> None:
    assert graded(met(16, own=WORN)).points == pytest.approx(8)
    assert graded(met(16, other=WORN)).points == pytest.approx(8)
    assert graded(met(16, own=WORN, other=WORN)).points == pytest.approx(4)
    assert graded(met(10, metres=0.8)).points == pytest.approx(15)
    assert graded(met(10, metres=3.0)).points == pytest.approx(4)
    assert graded(met(10, metres=9.0)).level == "none"
    found = graded(met(16), indoor=False)
    assert found.points == pytest.approx(3.2)
    assert "outdoors (x 0.2)" in found.lines[0].words


def test_what_is_not_known_counts_as_the_worst_and_is_said() -> None:
    found = graded(met(10, metres=None, own=UNSEEN, other=UNSEEN), indoor=None)
    assert found.points == pytest.approx(15)
    for words in (
        "distance not known, taken as the nearest (x 1.5)",
        "in or outdoors not known, taken as indoors",
        "patient's mask not known, taken as none",
        "contact's mask not known, taken as none",
    ):
        assert words in found.lines[0].words


def test_a_mask_that_is_not_sure_is_no_mask() -> None:
    found = graded(met(10, other=WORN, sure=0.6))
    assert found.points == pytest.approx(10)
    assert "contact's mask not sure (60%), taken as none" in found.lines[0].words


def test_a_mask_that_is_put_on_half_way_counts_half() -> None:
    half = s.NOW_MS + 5 * MINUTE
    spans = (
        MaskSpan(s.NOW_MS, half, BARE, 0.9),
        MaskSpan(half, s.NOW_MS + 10 * MINUTE, WORN, 0.9),
    )
    found = graded(met(10, other=WORN, spans=spans))
    assert found.points == pytest.approx(7.5)
    assert "contact without mask and then patient without mask" in found.lines[0].words


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ((s.NOW_MS - 2 * DAY, s.NOW_MS - DAY), "after the infectious window, not counted"),
        ((s.NOW_MS + DAY, s.NOW_MS + 2 * DAY), "before the infectious window, not counted"),
    ],
)
def test_a_contact_outside_of_the_infectious_window_is_graded_none_with_that_reason(
    window: tuple[int, int], words: str
) -> None:
    found = graded(met(60), window=window)
    assert (found.level, found.points) == ("none", 0.0)
    assert words in found.lines[0].words
    assert "nothing that counts within the infectious window" in found.lines[-1].words


def test_of_a_contact_at_the_edge_of_the_window_the_part_inside_counts() -> None:
    found = graded(met(10), window=(s.NOW_MS + 4 * MINUTE, s.NOW_MS + DAY))
    assert found.points == pytest.approx(6)
    assert "the part within the infectious window alone" in found.lines[0].words


def test_without_a_window_everything_counts_and_that_is_said() -> None:
    found = graded(met(16), window=None)
    assert found.level == "high"
    assert "no infectious window is known, so all is counted" in found.lines[-1].words


def test_two_cameras_that_saw_the_same_minutes_count_them_once() -> None:
    assert graded(met(10), met(10, camera="cam-2")).points == pytest.approx(10)


def test_seconds_of_shared_air_are_enough_for_measles() -> None:
    found = graded(met(0.1, metres=9, own=WORN, other=WORN), rules=rules_of("measles"))
    assert found.level == "high"


def test_tuberculosis_adds_hours_up_over_the_whole_window() -> None:
    found = graded(*[met(60, after=d * 1440) for d in range(8)], rules=rules_of("tuberculosis"))
    assert (found.level, round(found.points)) == ("high", 480)


@settings(max_examples=examples(50), deadline=None)
@given(
    st.lists(
        st.builds(
            met,
            st.floats(0.05, 90),
            after=st.floats(0, 8000),
            metres=st.none() | st.floats(0, 12),
            own=st.sampled_from(MaskStatus),
            other=st.sampled_from(MaskStatus),
            sure=st.floats(0, 1),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(preset_names()),
    st.sampled_from([True, False, None]),
)
def test_no_account_exceeds_its_lines_and_no_lack_of_knowledge_lowers_it(
    exposures: list[Exposure], preset: str, indoor: bool | None
) -> None:
    found = graded(*exposures, rules=rules_of(preset), indoor=indoor)
    assert len(found.lines) == len(exposures) + 1
    assert found.points <= sum(line.points for line in found.lines[:-1]) + 1e-6
    assert found.lines[-1].points == found.points
    blind = [
        replace(
            one,
            stay=replace(one.stay, mask=UNSEEN),
            contact=replace(one.contact, mask=UNSEEN, nearest_m=None, median_m=None),
        )
        for one in exposures
    ]
    worse = graded(*blind, rules=rules_of(preset), indoor=None)
    assert worse.points >= found.points - 1e-6
    assert LEVELS.index(worse.level) <= LEVELS.index(found.level)


def test_each_preset_says_where_each_figure_comes_from() -> None:
    assert preset_names() == ("covid-19", "measles", "mers", "tuberculosis")
    for name in preset_names():
        rules = rules_of(name)
        assert rules.name == name
        assert not rules.own
        assert len(rules.digest) == 64
        assert all(len(source) > 20 for source in rules.sources.values())


def test_the_infectious_window_counts_whole_days_from_the_onset() -> None:
    onset = 20 * DAY
    assert Clinical("covid-19", onset).infectious_window() == (18 * DAY, 31 * DAY)
    assert Clinical("measles", onset).infectious_window() == (16 * DAY, 25 * DAY)
    assert Clinical("mers", onset).infectious_window() == (20 * DAY, 35 * DAY)


def test_without_symptoms_it_counts_from_the_test_where_guidance_does() -> None:
    assert Clinical("covid-19", None, 20 * DAY).infectious_window() == (18 * DAY, 31 * DAY)
    assert Clinical("covid-19", 10 * DAY, 20 * DAY).infectious_window() == (8 * DAY, 21 * DAY)
    assert Clinical("measles", None, 20 * DAY).infectious_window() is None
    assert Clinical("covid-19").infectious_window() is None


def test_isolation_ends_it() -> None:
    isolated = Clinical("covid-19", 20 * DAY, isolated_ms=23 * DAY)
    assert isolated.infectious_window() == (18 * DAY, 24 * DAY)
    assert Clinical("covid-19", 20 * DAY, isolated_ms=3 * DAY).infectious_window() is None


def test_a_day_is_a_day_of_the_zone_when_clocks_change() -> None:
    paris = ZoneInfo("Europe/Paris")
    onset = round(datetime(2031, 3, 29, tzinfo=paris).timestamp() * 1000)
    window = Clinical("measles", onset, zone=paris).infectious_window()
    assert window is not None
    ends = datetime.fromtimestamp(window[1] / 1000, UTC).astimezone(paris)
    assert (ends.day, ends.hour) == (3, 0)


OWN = """\
schema = 1
name = "ours"
title = "Ours"
[infectious]
onset_of = "symptoms"
before_onset_days = 1
after_onset_days = 1
source = "our office, 2031"
[score]
high = 10
source = "our office, 2031"
[distance]
beyond = 1
source = "our office, 2031"
[masks]
source = "our office, 2031"
[places]
source = "our office, 2031"
"""


def test_a_site_brings_rules_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    file.write_text(OWN)
    rules = rules_of(str(file))
    assert rules.own
    assert graded(met(10), rules=rules).level == "high"
    assert graded(met(9), rules=rules).level == "none"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema = 1", "schema = 2", "schema"),
        ("high = 10", "high = 10\nmedium = 11", "medium"),
        ("high = 10", "high = nan", "high"),
        ("high = 10", "high = -1", "high"),
        ("high = 10", "", "high"),
        ("beyond = 1", "beyond = 1\nbands = [{up_to_m = 2, weight = 1}, {up_to_m = 1, weight = 1}]",
         "up_to_m"),
        ("[masks]", "[masks]\npatient = 2", "patient"),
        ("[places]", "[places]\nindors = 1", "indors"),
        ("before_onset_days = 1", "before_onset_days = 1\nbefore_test_days = 1", "after_test_days"),
        ('title = "Ours"', 'title = "Ours\\u001b[2J"', "title"),
        ('source = "our office, 2031"\n[score]', "[score]", "source"),
        ("[score]", "[score", "TOML"),
    ],
)  # fmt: skip
def test_rules_that_are_none_are_refused_by_key(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    file = tmp_path / "ours.toml"
    file.write_text(OWN.replace(old, new, 1))
    with pytest.raises(PresetInvalid, match=said) as raised:
        rules_of(str(file))
    assert "--print-config" not in str(raised.value)


def test_a_preset_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(PresetInvalid, match="covid-19, measles, mers, tuberculosis"):
        rules_of("covid")
    with pytest.raises(PresetInvalid, match="cannot be used"):
        rules_of("./nowhere.toml")
