"""A query's window as it is written: in the site's zone, and only what is over or waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import protocol_samples as s
import pytest

from officers.desk.moments import MomentInvalid, local_text, show_in, to_milliseconds
from officers.desk.notices import Notice
from officers.desk.officer import Officer
from officers.desk.windows import closed_text, window
from runtime.officer import OfficerConfig
from runtime.zones import TimeInvalid

NOW = datetime(2031, 5, 4, 1, 7, 30, tzinfo=UTC)  # 10:07:30 in Seoul
AT_ONE, AT_QUARTER_PAST = (datetime(2031, 5, 4, 1, minute, tzinfo=UTC) for minute in (0, 15))


def officer(folder: Path, zone: str | None = "Asia/Seoul") -> Officer:
    """Ana, whose configuration names the site's time zone."""
    folder.mkdir(exist_ok=True)
    (folder / "directory.cbor").write_bytes(s.directory().sign(s.authority()).to_bytes())
    named = "" if zone is None else f'time_zone = "{zone}"\n'
    authority = s.authority().verify_key.raw.hex()
    path = folder / "officer.toml"
    path.write_text(f'site = "{s.SITE}"\nname = "ana"\nauthority = "{authority}"\n{named}')
    return Officer.load(path)


@pytest.fixture
def ana(tmp_path: Path) -> Iterator[Officer]:
    yield officer(tmp_path)
    show_in(None)


@pytest.fixture
def said() -> list[Notice]:
    return []


def test_a_time_without_a_zone_is_the_sites_and_said_back(ana: Officer, said: list[Notice]) -> None:
    asked = window(
        ana, "2031-05-04 08:00", "2031-05-04T09:00", now=NOW, live=False, tell=said.append
    )
    assert asked.starts == datetime(2031, 5, 3, 23, tzinfo=UTC)
    assert asked.ends == datetime(2031, 5, 4, 0, tzinfo=UTC)
    assert [one.text for one in said] == [
        "--from 2031-05-04 08:00 is taken as Sun 2031-05-04 08:00:00 KST: the site's time zone, "
        "Asia/Seoul",
        "--to 2031-05-04T09:00 is taken as Sun 2031-05-04 09:00:00 KST: the site's time zone, "
        "Asia/Seoul",
    ]


def test_days_are_those_of_the_sites_zone(ana: Officer) -> None:
    asked = window(ana, "yesterday 23:30", "today 00:30", now=NOW, live=False)
    assert asked.starts == datetime(2031, 5, 3, 14, 30, tzinfo=UTC)
    assert asked.ends == datetime(2031, 5, 3, 15, 30, tzinfo=UTC)


def test_without_a_zone_in_the_configuration_it_is_this_machines(
    tmp_path: Path, said: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        bea = officer(tmp_path, None)
        asked = window(bea, "2031-05-03 08:00", "-2h", now=NOW, live=False, tell=said.append)
        assert asked.starts == datetime(2031, 5, 3, 6, tzinfo=UTC)
        assert said[0].text.endswith("08:00:00 CEST: this machine's time zone")
        with pytest.raises(TimeInvalid, match="was twice in this machine's time zone"):
            window(bea, "2031-10-26 02:30", "-2h", now=NOW, live=False)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_of_summer_time_that_are_no_moment_are_refused(tmp_path: Path) -> None:
    paris = officer(tmp_path, "Europe/Paris")
    try:
        with pytest.raises(TimeInvalid, match=r"--to: 2031-10-26 02:30:00 was twice .*\(CET\)"):
            window(paris, "-2h", "2031-10-26 02:30", now=NOW, live=False)
        with pytest.raises(TimeInvalid, match="--from: 2031-03-30 02:30:00 was never"):
            window(paris, "2031-03-30 02:30", "now", now=NOW, live=False)
    finally:
        show_in(None)


def test_now_is_the_end_of_the_last_quarter_hour_that_is_over(
    ana: Officer, said: list[Notice]
) -> None:
    asked = window(ana, "-2h", "now", now=NOW, live=False, tell=said.append)
    assert asked.ends == AT_ONE
    assert [one.text for one in said] == [
        "--to now is Sun 2031-05-04 10:00:00 KST: the quarter hour from Sun 2031-05-04 10:00:00 "
        "KST on stays closed until it is over, at Sun 2031-05-04 10:15:00 KST (--live opens it at "
        "once)"
    ]


def test_a_live_query_goes_on_to_now(ana: Officer, said: list[Notice]) -> None:
    assert window(ana, "-2h", "now", now=NOW, live=True, tell=said.append).ends == NOW
    assert said == []


def test_nothing_but_the_running_quarter_hour_is_refused_and_says_until_when(ana: Officer) -> None:
    with pytest.raises(MomentInvalid, match=r"stays closed .* 10:15:00 KST: give a --from"):
        window(ana, "-5m", "now", now=NOW, live=False)


def test_what_lies_ahead_is_said_to_be_waited_for(ana: Officer, said: list[Notice]) -> None:
    asked = window(ana, "-2h", "+1h", now=NOW, live=False, tell=said.append)
    assert asked.ends == datetime(2031, 5, 4, 2, 7, 30, tzinfo=UTC)
    assert "10:15:00 KST, and each after it likewise: the query waits" in said[0].text
    said.clear()
    window(ana, "-2h", "-30m", now=NOW, live=False, tell=said.append)
    assert said == []


@pytest.mark.parametrize("text", ["2031-05-04", "noon", "10:00"])
def test_what_is_no_moment_is_refused_with_the_forms_that_work(ana: Officer, text: str) -> None:
    with pytest.raises(MomentInvalid, match="write it as '2031-05-04 10:00'"):
        window(ana, text, "now", now=NOW, live=False)


def test_a_query_that_found_nothing_says_what_is_closed_as_yet(ana: Officer) -> None:
    assert ana.config.time_zone
    query = replace(
        s.query(),
        live=False,
        window_from_ms=to_milliseconds(AT_ONE),
        window_to_ms=to_milliseconds(AT_QUARTER_PAST),
    )
    closed = closed_text(query, now_ms=to_milliseconds(NOW))
    assert closed is not None
    assert "after Sun 2031-05-04 10:00:00 KST is closed as yet" in closed
    assert "the last at Sun 2031-05-04 10:15:00 KST); the query waits for it" in closed
    assert closed_text(replace(query, live=True), now_ms=to_milliseconds(NOW)) is None
    just_over = to_milliseconds(AT_QUARTER_PAST) + 30_000
    assert "may still be on its way" in (closed_text(query, now_ms=just_over) or "")
    assert closed_text(query, now_ms=just_over + 120_000) is None


def test_a_configuration_with_a_zone_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="did you mean 'Asia/Seoul'"):
        officer(tmp_path, "Asia/Seoull")


def test_the_zone_of_one_officer_is_not_the_next_ones(ana: Officer, tmp_path: Path) -> None:
    assert local_text(0).endswith("KST")
    officer(tmp_path / "bea", "UTC")
    assert local_text(0) == "Thu 1970-01-01 00:00:00 UTC"
    assert OfficerConfig.model_fields["time_zone"].default is None
    assert ana.name == "ana"
