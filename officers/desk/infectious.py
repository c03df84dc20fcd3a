"""Propose the days of a query from a case file: those on which the person was infectious."""

from __future__ import annotations

from datetime import datetime, timedelta

from officers.desk.case_files import read_case, window_words, zone_of
from officers.desk.notices import Notice, Tell, unheard
from officers.desk.officer import Officer
from officers.desk.subjects import DraftInvalid
from protocol import hpke

SLOT = timedelta(minutes=15)


def infectious_days(
    officer: Officer,
    pseudonym: str,
    key: hpke.PrivateKey,
    *,
    now: datetime,
    tell: Tell = unheard,
) -> tuple[datetime, datetime]:
    """Return from when to when to ask: the infectious window, as far as it is past and kept.

    What lies ahead of the present is left out, and what is older than the site keeps, or more than
    the policy lets one query ask; each is told.

    Args:
        officer: an investigator.
        pseudonym: whose case file.
        key: the investigator's, that opens it.
        now: the present, aware.
        tell: takes which days are asked for, and what is left out.

    Raises:
        DraftInvalid: there is no case file, it gives no window, or nothing of that is left.
        CaseFileInvalid, PresetInvalid: it, or its preset, cannot be used.
    """
    case = read_case(officer, pseudonym, key)
    zone = zone_of(officer)
    clinical = None if case is None else case.clinical(zone)
    window = None if clinical is None else clinical.infectious_window()
    if window is None:
        lack = "there is no case file of" if case is None else "no infectious window is known of"
        raise DraftInvalid(
            f"{lack} '{pseudonym}': write it with `sealtrace subject case {pseudonym} --preset "
            "NAME --onset DAY`, or give --from and --to"
        )
    starts, ends = (datetime.fromtimestamp(at / 1000, zone) for at in window)
    tell(Notice(f"'{pseudonym}' was infectious {window_words(window, zone)}"))
    present = datetime.fromtimestamp(now.timestamp() // SLOT.total_seconds() * 900, zone)
    if starts >= present:
        raise DraftInvalid(f"'{pseudonym}' becomes infectious only on {starts:%Y-%m-%d}; ask then")
    if ends > present:
        ends = present
        tell(Notice(f"what lies ahead is left out: asked for until {ends:%Y-%m-%d %H:%M}"))
    kept = present - timedelta(days=officer.policy.retention_days)
    longest = ends - timedelta(hours=officer.policy.max_window_hours)
    for earliest, why in (
        (kept, f"older than the {officer.policy.retention_days} days that the site keeps"),
        (longest, f"more than the {officer.policy.max_window_hours} hours of one query"),
    ):
        if starts < earliest:
            starts = earliest
            words = f"what is {why} is left out: asked for from {starts:%Y-%m-%d %H:%M}"
            tell(Notice(words, warning=True))
    if starts >= ends:
        raise DraftInvalid(
            f"all days on which '{pseudonym}' was infectious are older than the "
            f"{officer.policy.retention_days} days that the site keeps: nothing is left to open"
        )
    return starts, ends
