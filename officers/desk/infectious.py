"""Propose the days of a query from a case file: those on which the person was infectious."""

from __future__ import annotations

from datetime import datetime, timedelta

from officers.desk.case_files import read_case, window_words, zone_of
from officers.desk.notices import Notice, Tell, unheard
from officers.desk.officer import Officer
from officers.desk.option_labels import FROM, TO
from officers.desk.phrases import phrase
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
        lack = (
            phrase("there is no case file of '{subject}'", subject=pseudonym)
            if case is None
            else phrase("no infectious window is known of '{subject}'", subject=pseudonym)
        )
        raise DraftInvalid(
            phrase(
                "{lack}: write it with `sealtrace subject case {pseudonym} --preset NAME --onset "
                "DAY`, or give {from_field} and {to_field}",
                lack=lack,
                pseudonym=pseudonym,
                from_field=FROM,
                to_field=TO,
            )
        )
    starts, ends = (datetime.fromtimestamp(at / 1000, zone) for at in window)
    tell(
        Notice(
            phrase(
                "'{pseudonym}' was infectious {window_words}",
                pseudonym=pseudonym,
                window_words=window_words(window, zone),
            )
        )
    )
    present = datetime.fromtimestamp(now.timestamp() // SLOT.total_seconds() * 900, zone)
    if starts >= present:
        raise DraftInvalid(
            phrase(
                "'{pseudonym}' becomes infectious only on {day}; ask then",
                pseudonym=pseudonym,
                day=starts.date(),
            )
        )
    if ends > present:
        ends = present
        tell(
            Notice(
                phrase(
                    "what lies ahead is left out: asked for until {ends}",
                    ends=_to_the_minute(ends),
                )
            )
        )
    kept = present - timedelta(days=officer.policy.retention_days)
    longest = ends - timedelta(hours=officer.policy.max_window_hours)
    for earliest, why in (
        (
            kept,
            phrase(
                "older than the {days} days that the site keeps", days=officer.policy.retention_days
            ),
        ),
        (
            longest,
            phrase(
                "more than the {hours} hours of one query", hours=officer.policy.max_window_hours
            ),
        ),
    ):
        if starts < earliest:
            starts = earliest
            words = phrase(
                "what is {why} is left out: asked for from {starts}",
                why=why,
                starts=_to_the_minute(starts),
            )
            tell(Notice(words, warning=True))
    if starts >= ends:
        raise DraftInvalid(
            phrase(
                "all days on which '{pseudonym}' was infectious are older than the "
                "{retention_days} days that the site keeps: nothing is left to open",
                pseudonym=pseudonym,
                retention_days=officer.policy.retention_days,
            )
        )
    return starts, ends


def _to_the_minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
