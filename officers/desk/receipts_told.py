"""What each custodian says that it opened for a query, and whether that is what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from officers.desk.case import Case
from officers.desk.officer import Officer
from officers.desk.phrases import Phrase, nphrase, phrase
from officers.desk.receipts import Counted, Receipts, compare
from officers.desk.receipts_asked import ask_custodians
from officers.desk.standings import BLOCKED, CONFIRMED, REFUSED, WAITING


@dataclass(frozen=True, slots=True)
class Told:
    """One custodian's line.

    Args:
        kind: of `officers.desk.standings`: pages draw a shape for each.
        words: whether its receipts are what is shown.
    """

    custodian: str
    kind: str
    words: Phrase
    counted: Counted


def told_against(receipts: Receipts) -> tuple[Told, ...]:
    """Return each custodian's receipts, held against what headquarters list."""
    return tuple(Told(one.custodian, *_against(one), one) for one in receipts.custodians)


def told_alone(officer: Officer, case: Case) -> tuple[Told, ...]:
    """Ask each custodian for its receipts, where what was shown is sealed to others.

    Raises:
        OfficerError: the officer has no certificate.
    """
    given = ask_custodians(officer, case)
    counted = compare((), given, {}, case=case, directory=officer.directory).custodians
    return tuple(Told(one.custodian, *_among(one, counted), one) for one in counted)


def _against(one: Counted) -> tuple[str, Phrase]:
    if one.silence:
        return BLOCKED, phrase("does not answer: by what headquarters list of it")
    if one.rows > one.listed:
        more = one.rows - one.listed
        return REFUSED, nphrase(
            "it opened {n} row that is not shown under its name",
            "it opened {n} rows that are not shown under its name",
            more,
        )
    if one.rows < one.listed:
        return REFUSED, phrase("more is shown under its name than it opened")
    if not one.rows:
        return WAITING, phrase("opened nothing")
    return CONFIRMED, phrase("agrees with what is shown")


def _among(one: Counted, all_of_them: Sequence[Counted]) -> tuple[str, Phrase]:
    if one.silence:
        return BLOCKED, phrase("does not answer")
    if not one.rows:
        return WAITING, phrase("opened nothing")
    most = max(other.rows for other in all_of_them)
    if one.rows == most:
        return CONFIRMED, phrase("as many as any custodian")
    return WAITING, phrase("fewer than another: it was not asked for all, or gave not all")
