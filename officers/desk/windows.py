"""From when to when a query asks, as an officer writes it: what stays closed of it is said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from officers.desk.moments import (
    MomentInvalid,
    is_now,
    names_no_zone,
    parse_moment,
    to_milliseconds,
)
from officers.desk.notices import Notice, Tell, unheard
from officers.desk.officer import Officer
from officers.desk.option_labels import FROM, LIVE, TO
from officers.desk.phrases import moment, phrase
from protocol.names import SLOT_MS
from runtime.zones import zone

_SEALING_MS = 2 * 60 * 1000
"""So long after a quarter hour its boxes have sealed it and headquarters has it, usually."""


@dataclass(frozen=True, slots=True)
class Window:
    """Two moments, aware, as they are meant."""

    starts: datetime
    ends: datetime


def window(
    officer: Officer, start: str, end: str, *, now: datetime, live: bool, tell: Tell = unheard
) -> Window:
    """Return the window that two texts mean (`moments.parse_moment`).

    A time without a zone is of the site's, which is told. Without ``live`` a quarter hour opens
    once it is over: so ``now`` as the end is the end of the last one that is over, and what else of
    the window is still closed is told.

    Args:
        officer: whose configuration names the site's time zone.
        start, end: as written behind --from and --to.
        now: the present, aware.
        live: whether the query opens the running quarter hour.
        tell: takes what to know.

    Raises:
        MomentInvalid: one is no moment, or nothing of the window is over.
        TimeInvalid: one is a local time that does not exist, or exists twice.
    """
    named = officer.config.time_zone
    site = None if named is None else zone(named)
    starts, ends = (
        parse_moment(text, now=now, zone=site, what=what)
        for text, what in ((start, FROM), (end, TO))
    )
    for text, at, what in ((start, starts, FROM), (end, ends, TO)):
        if names_no_zone(text):
            whose = (
                phrase("the site's time zone, {zone}", zone=named)
                if named
                else phrase("this machine's time zone")
            )
            tell(
                Notice(
                    phrase(
                        "{what} {text} is taken as {when}: {whose}",
                        what=what,
                        text=text,
                        when=moment(to_milliseconds(at)),
                        whose=whose,
                    )
                )
            )
    now_ms = to_milliseconds(now)
    over_ms = now_ms // SLOT_MS * SLOT_MS
    next_ms = over_ms + SLOT_MS
    closed = phrase(
        "the quarter hour from {begins} on stays closed until it is over, at {ends}",
        begins=moment(over_ms),
        ends=moment(next_ms),
    )
    if live:
        return Window(starts, ends)
    if is_now(end):
        ends = datetime.fromtimestamp(over_ms / 1000, UTC)
        if to_milliseconds(starts) >= over_ms:
            raise MomentInvalid(
                phrase(
                    "{closed}: give a {from_field} before it, give {live_field} to open it while "
                    "it runs, or ask again then",
                    closed=closed,
                    from_field=FROM,
                    live_field=LIVE,
                )
            )
        tell(
            Notice(
                phrase(
                    "{to_field} now is {when}: {closed} ({live_field} opens it at once)",
                    to_field=TO,
                    when=moment(over_ms),
                    closed=closed,
                    live_field=LIVE,
                )
            )
        )
    elif to_milliseconds(ends) > over_ms:
        words = phrase(
            "{closed}, and each after it likewise: the query waits for them ({live_field} does "
            "not)",
            closed=closed,
            live_field=LIVE,
        )
        tell(Notice(words))
    return Window(starts, ends)


class Asked(Protocol):
    """A query, as it was signed or as the aggregator tells it."""

    @property
    def window_from_ms(self) -> int:
        """When its first quarter hour begins."""

    @property
    def window_to_ms(self) -> int:
        """When its last one is over."""

    @property
    def live(self) -> bool:
        """Whether the running quarter hour opens, too."""


def closed_text(query: Asked, *, now_ms: int) -> str | None:
    """Return what of a query's window is closed as yet, so that nothing can be found in it.

    None where all of it is over, and for a live query.
    """
    if query.live:
        return None
    over_ms = now_ms // SLOT_MS * SLOT_MS
    if query.window_to_ms > over_ms:
        first_ms = max(over_ms, query.window_from_ms)
        return phrase(
            "what is after {first} is closed as yet: a quarter hour opens once it is over (the "
            "next at {next}, the last at {last}); the query waits for it",
            first=moment(first_ms),
            next=moment(first_ms + SLOT_MS),
            last=moment(query.window_to_ms),
        )
    if now_ms - query.window_to_ms < _SEALING_MS:
        return phrase(
            "its last quarter hour was over at {when}, and may still be on its way from the boxes; "
            "look again in two minutes",
            when=moment(query.window_to_ms),
        )
    return None
