"""Where queries stand, in words for people: a state's kind, what it waits for, how far it has come.

By headquarters' word, all of it: what was signed is verified where a query is opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from officers.desk.api_client import ENDED, QuerySummary
from officers.desk.phrases import Phrase, nphrase, phrase

WAITING, RUNNING, BLOCKED, CONFIRMED, REJECTED, REFUSED = (
    "waiting",
    "running",
    "blocked",
    "confirmed",
    "rejected",
    "refused",
)
OPEN, MINE, ALL = "open", "mine", "all"
SHOWN = (OPEN, MINE, ALL)
"""Which queries a list shows: those that have not ended, those that wait for this officer, all."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One query in a list.

    Args:
        kind: of state: `WAITING`, `RUNNING`, ...; pages draw a shape for each.
        words: the state.
        waits: for what, or whom; empty for one that waits for nothing.
        passed: of a query that runs, the share of its window that is over, 0 to 1; else None.
        mine: whether it waits for the officer who looks.
    """

    summary: QuerySummary
    kind: str
    words: Phrase
    waits: str
    passed: float | None
    mine: bool


def standing_of(
    summary: QuerySummary, officer: str, duties: Iterable[str], now_ms: int
) -> Standing:
    """Say where a query stands.

    Args:
        officer: who looks.
        duties: theirs.
        now_ms: the time.
    """
    kind, words = _state(summary.state)
    return Standing(
        summary,
        kind,
        words,
        _waits(summary),
        _passed(summary, now_ms),
        _is_mine(summary, officer, frozenset(duties)),
    )


def chosen(rows: Iterable[Standing], shown: str, search: str) -> list[Standing]:
    """Return the rows that a filter shows.

    Args:
        shown: one of `SHOWN`.
        search: in the id, who asked, for whom and why; empty: all.
    """
    return [one for one in rows if _shown(one, shown) and _holds(one.summary, search)]


def _state(state: str) -> tuple[str, Phrase]:
    known = {
        "awaiting-templates": (WAITING, phrase("waits for its templates")),
        "awaiting-approvals": (WAITING, phrase("waits for approvals")),
        "refused": (REFUSED, phrase("refused by approvers")),
        "running": (RUNNING, phrase("runs")),
        "standing": (RUNNING, phrase("runs, stands by")),
        "blocked": (BLOCKED, phrase("blocked")),
        "interrupted": (BLOCKED, phrase("interrupted")),
        "complete": (CONFIRMED, phrase("complete")),
        "withdrawn": (REJECTED, phrase("withdrawn")),
        "expired": (REJECTED, phrase("expired")),
        "failed": (REFUSED, phrase("failed")),
    }
    return known.get(state, (BLOCKED, phrase("“{state}”", state=state)))


def _waits(summary: QuerySummary) -> str:
    missing = max(0, summary.approvals_needed - len(summary.approvals))
    match summary.state:
        case "awaiting-templates" | "interrupted":
            return phrase("for {name} to send the templates", name=summary.requester)
        case "awaiting-approvals":
            return nphrase("for 1 approval of {needed}", "for {n} approvals of {needed}", missing,
                           needed=summary.approvals_needed)  # fmt: skip
        case "refused":
            return phrase("for {name} to withdraw it", name=summary.requester)
        case "blocked":
            return phrase("for custodians; it is tried again by itself")
        case _:
            return ""


def _passed(summary: QuerySummary, now_ms: int) -> float | None:
    if summary.state not in {"running", "standing", "blocked"}:
        return None
    length = summary.query.window_to_ms - summary.query.window_from_ms
    if length <= 0:
        return None
    return min(1.0, max(0.0, (now_ms - summary.query.window_from_ms) / length))


def _is_mine(summary: QuerySummary, officer: str, duties: frozenset[str]) -> bool:
    if summary.state in {"awaiting-templates", "interrupted", "refused"}:
        return summary.requester == officer
    said = {one.approver for one in summary.approvals}
    said |= {one.approver for one in summary.refusals}
    return (
        summary.state == "awaiting-approvals"
        and "approver" in duties
        and summary.requester != officer
        and officer not in said
    )


def _shown(one: Standing, shown: str) -> bool:
    if shown == MINE:
        return one.mine
    return shown == ALL or one.summary.state not in ENDED


def _holds(summary: QuerySummary, search: str) -> bool:
    wanted = search.strip().casefold()
    texts = (summary.id, summary.requester, summary.query.purpose, *summary.query.pseudonyms)
    return any(wanted in text.casefold() for text in texts)
