"""Hold what the aggregator lists against what custodians opened: row by row, by their receipts.

Metadata opens by the custodians' hand alone, and each signs for what it opened. An aggregator that
had more opened than it shows, or shows what nobody opened, is found out here: each receipt commits
to its rows, and each custodian counts the rows of a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from officers.desk.case import Case, CaseInvalid
from officers.desk.phrases import Phrase, either, listed, moment, nphrase, phrase, together
from officers.desk.receipts_asked import Given
from protocol.directory import CUSTODIAN, Directory
from protocol.errors import ProtocolError
from protocol.names import SightingName
from protocol.results import Opening
from protocol.signing import Signed
from protocol.v2.release import ROW_RELEASE_KIND, RowRelease, digest_of
from runtime.clock import system_ms
from runtime.errors import OperationError

_ON_ITS_WAY_MS = 60_000
"""What was opened so short a time ago may not be listed yet."""
_OR_LATE = phrase(", or has not taken in answers that came late, of rows that it does show")
_SPEAK_NOW = phrase("do not go on, tell the auditors")
_SPEAK = phrase("Do not go on, tell the auditors")


class ReceiptsContradict(OperationError):
    """What the aggregator shows is not what custodians say that they opened."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many distinct rows a custodian opened for a query, by its receipts.

    ``silence`` says why it gave none when it was asked; then all else is by those that the
    aggregator handed over.

    Args:
        listed: how many of the rows that the aggregator lists this custodian has signed for.
        answers: its releases; ``first_ms`` and ``last_ms``: when the first and the last of them
            left, 0 where there is none.
    """

    custodian: str
    rows: int
    silence: str = ""
    listed: int = 0
    answers: int = 0
    first_ms: int = 0
    last_ms: int = 0


@dataclass(frozen=True, slots=True)
class Receipts:
    """What came of comparing.

    Args:
        rows: distinct rows whose opening the aggregator lists.
        custodians: each custodian's count.
        waiting: what cannot be told yet, in words: not wrong.
        problems: what does not fit, in words: somebody did what they should not have.
    """

    rows: int
    custodians: tuple[Counted, ...]
    waiting: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def check_receipts(receipts: Receipts) -> None:
    """Check that what is shown and what was opened are one.

    Raises:
        ReceiptsContradict: they are not; it says how, and what the aggregator may have done.
    """
    if receipts.problems:
        raise ReceiptsContradict(
            together([phrase("what is shown is not what was opened:"), *receipts.problems])
        )


def compare(
    openings: Iterable[Opening],
    given: Sequence[Given],
    listed: Mapping[SightingName, str],
    *,
    case: Case,
    directory: Directory,
    settled: int | None = None,
    now_ms: int | None = None,
) -> Receipts:
    """Compare what the aggregator says was opened, what custodians sign for, and the results.

    Args:
        settled: how many of the openings were there before the results were asked for, so that
            their rows must be among these; all by default.
        openings: as the aggregator sealed them to the officer.
        given: each custodian's own answer.
        listed: rows of the results that the officer was shown, with what to call each.
        now_ms: of the comparison; the system's by default.
    """
    ledger = _Ledger(case, directory, system_ms() if now_ms is None else now_ms)
    for number, opening in enumerate(openings, start=1):
        ledger.enter(number, opening)
    for one in given:
        ledger.hold_against(one)
    ledger.count(given)
    ledger.check_listed(listed, settled)
    silent = {one.custodian: one.silence for one in given}
    names = sorted({*silent, *ledger.totals})
    return Receipts(
        rows=len(ledger.opened),
        custodians=tuple(ledger.counted(name, silent.get(name, "")) for name in names),
        waiting=tuple(ledger.waiting),
        problems=tuple(ledger.problems),
    )


@dataclass(slots=True)
class _Account:
    """What is known of one custodian: receipts that the aggregator listed, and those it did not."""

    shown: dict[bytes, tuple[RowRelease, frozenset[SightingName]]] = field(default_factory=dict)
    hidden: dict[bytes, RowRelease] = field(default_factory=dict)


class _Ledger:
    """Takes in openings, then custodians' answers, then results; collects what does not fit."""

    def __init__(self, case: Case, directory: Directory, now_ms: int) -> None:
        self._case = case
        self._directory = directory
        self._now_ms = now_ms
        self._accounts: dict[str, _Account] = {}
        self._signers: dict[SightingName, set[str]] = {}
        self._due: dict[SightingName, int] = {}
        self.opened: set[SightingName] = set()
        self.totals: dict[str, int] = {}
        self.waiting: list[str] = []
        self.problems: list[str] = []

    def enter(self, number: int, opening: Opening) -> None:
        """Take in an opening, with each receipt that holds for exactly its rows."""
        rows = frozenset(opening.rows)
        for custodian, (signed, salt) in sorted(opening.receipts.items()):
            try:
                release = self._read(signed, custodian)
                _check_rows(release, salt, rows)
            except (ProtocolError, CaseInvalid) as error:
                self.problems.append(
                    phrase(
                        "the receipt of {custodian} that the aggregator shows for opening "
                        "{number} does not hold: {error}. The aggregator may have had other rows "
                        "opened than it lists: {speak}",
                        custodian=custodian,
                        number=number,
                        error=error,
                        speak=_SPEAK_NOW,
                    )
                )
                continue
            self._account(custodian).shown[release.release_id] = (release, rows)
            for row in rows:
                signers = self._signers.setdefault(row, set())
                signers.add(custodian)
                if len(signers) == self._directory.threshold:
                    self._due.setdefault(row, number)

    def hold_against(self, given: Given) -> None:
        """Take in what a custodian says itself: what the aggregator did not list, or only did."""
        if given.endless:
            self.problems.append(
                phrase(
                    "{custodian} gives more receipts than anybody reads, which hides what it "
                    "opened: it misleads you, or the aggregator had the same rows opened again "
                    "and again to that end. {speak}",
                    custodian=given.custodian,
                    speak=_SPEAK,
                )
            )
        if given.silence:
            return
        account, told = self._account(given.custodian), set[bytes]()
        for signed in given.signed:
            try:
                release = self._read(signed, given.custodian)
            except (ProtocolError, CaseInvalid) as error:
                self.problems.append(
                    phrase(
                        "{custodian} hands out a receipt that does not hold: {error}. {speak}",
                        custodian=given.custodian,
                        error=error,
                        speak=_SPEAK,
                    )
                )
                continue
            told.add(release.release_id)
            if release.release_id not in account.shown:
                account.hidden[release.release_id] = release
            elif account.shown[release.release_id][0] != release:
                self.problems.append(
                    phrase(
                        "{custodian} has signed two receipts under one id ({release_id}): {speak}",
                        custodian=given.custodian,
                        release_id=release.release_id.hex()[:12],
                        speak=_SPEAK_NOW,
                    )
                )
        for release_id, (release, _) in account.shown.items():
            if release_id not in told and not self._young(release):
                self.problems.append(
                    phrase(
                        "{custodian} does not know of the {rows} that it signed for at {when}: it "
                        "hides them, or its disk was put back to an earlier day; tell the auditors",
                        custodian=given.custodian,
                        rows=_rows(release.rows),
                        when=moment(release.released_at_ms),
                    )
                )

    def count(self, given: Sequence[Given]) -> None:
        """Hold each custodian's count of distinct rows against the rows that it is shown to open.

        A receipt that the aggregator does not list is no harm while the count stays the same: an
        answer was lost and asked for again.
        """
        excess = {}
        for name, account in sorted(self._accounts.items()):
            more = self._excess(name, account)
            if 0 < more <= self._on_their_way(account):
                self.waiting.append(
                    phrase(
                        "{name} opens rows just now: look again in a minute",
                        name=name,
                    )
                )
            elif more > 0:
                excess[name] = more
        if not excess:
            return
        counts = listed(
            (
                phrase("{name}: {rows}", name=name, rows=_rows(more))
                for name, more in excess.items()
            ),
            "",
        )
        if len(excess) >= self._directory.threshold:
            late = all(more <= self._not_by(name) for name, more in excess.items())
            self.problems.append(
                phrase(
                    "custodians opened rows that the aggregator lists nowhere ({counts}): it may "
                    "have read when and where somebody was whom it does not show you{or_late}. "
                    "{speak}",
                    counts=counts,
                    or_late=_OR_LATE if late else "",
                    speak=_SPEAK,
                )
            )
            return
        silent = [one.custodian for one in given if one.silence]
        unknown = (
            phrase("; whether {silent} did too is not known", silent=either(silent))
            if silent
            else ""
        )
        self.waiting.append(
            phrase(
                "rows are released that are not listed ({counts}): fewer custodians than must "
                "agree, so by them alone nothing has been opened{unknown}. Look again when all "
                "answer",
                counts=counts,
                unknown=unknown,
            )
        )

    def counted(self, name: str, silence: str) -> Counted:
        """Return what is known of one custodian, once all was counted."""
        account = self._account(name)
        releases = [*(release for release, _ in account.shown.values()), *account.hidden.values()]
        times = [release.released_at_ms for release in releases]
        rows = set[SightingName]().union(*(rows for _, rows in account.shown.values()))
        return Counted(
            name,
            self.totals.get(name, 0),
            silence,
            listed=len(rows),
            answers=len(releases),
            first_ms=min(times, default=0),
            last_ms=max(times, default=0),
        )

    def check_listed(self, listed: Mapping[SightingName, str], settled: int | None) -> None:
        """Check that what was opened is among the results, and every result was opened."""
        self.opened = set(self._due)
        due = {row for row, number in self._due.items() if settled is None or number <= settled}
        missing = sorted(due - set(listed))
        if missing:
            self.problems.append(
                phrase(
                    "of what was opened, {rows} of {cameras} cannot be found among the results: "
                    "the aggregator may have read them and keeps them from you. {speak}",
                    rows=_rows(len(missing)),
                    cameras=_cameras(missing),
                    speak=_SPEAK,
                )
            )
        unbacked = [what for name, what in listed.items() if name not in self.opened]
        if unbacked:
            self.problems.append(
                phrase(
                    "no {threshold} custodians sign for {unbacked}: the aggregator has made it "
                    "up, or does not say how it was opened. {speak}",
                    threshold=self._directory.threshold,
                    unbacked=", ".join(unbacked),
                    speak=_SPEAK,
                )
            )

    def _excess(self, name: str, account: _Account) -> int:
        """Return how many more rows a custodian has opened than it is shown to have opened."""
        seen: set[SightingName] = set()
        shown = sorted(account.shown.values(), key=lambda one: one[0].entry_index)
        for release, rows in shown:
            seen |= rows
            if release.total < len(seen):
                self.problems.append(
                    phrase(
                        "{name} had opened {rows} for this query at {when}, and the aggregator "
                        "lists {count}: one of them counts falsely. {speak}",
                        name=name,
                        rows=_rows(release.total),
                        when=moment(release.released_at_ms),
                        count=len(seen),
                        speak=_SPEAK,
                    )
                )
                break
        releases = [*(release for release, _ in shown), *account.hidden.values()]
        self.totals[name] = max((release.total for release in releases), default=0)
        return self.totals[name] - len(seen)

    def _on_their_way(self, account: _Account) -> int:
        """Return how many rows were opened just now for the first time, and are not listed yet.

        The same rows opened again are none of them: an aggregator that has that done every minute,
        for nothing, would else be waited for without end.
        """
        releases = [*(release for release, _ in account.shown.values()), *account.hidden.values()]
        new = before = 0
        for release in sorted(releases, key=lambda one: one.entry_index):
            if release.release_id in account.hidden and self._young(release):
                new += max(0, release.total - before)
            before = max(before, release.total)
        return new

    def _not_by(self, name: str) -> int:
        """Return how many of the opened rows a custodian is not shown to have opened."""
        return sum(name not in self._signers[row] for row in self._due)

    def _read(self, data: bytes, custodian: str) -> RowRelease:
        """Return a receipt that the custodian signed for this query.

        Raises:
            SignatureInvalid, MalformedMessage: it is not genuine.
            CaseInvalid: it is another custodian's, or for another query.
        """
        signed = Signed.parse(data, kind=ROW_RELEASE_KIND)
        release = RowRelease.parse(signed.verify(self._directory.historic_resolver(CUSTODIAN)))
        if signed.signer != custodian:
            raise CaseInvalid(
                phrase(
                    "it is signed by '{signer}'",
                    signer=signed.signer,
                )
            )
        if release.query_digest != self._case.digest:
            raise CaseInvalid(phrase("it was given for another query"))
        return release

    def _account(self, custodian: str) -> _Account:
        return self._accounts.setdefault(custodian, _Account())

    def _young(self, release: RowRelease) -> bool:
        return self._now_ms - release.released_at_ms < _ON_ITS_WAY_MS


def _check_rows(release: RowRelease, salt: bytes, rows: frozenset[SightingName]) -> None:
    """Check that a receipt commits to exactly these rows.

    Raises:
        CaseInvalid: it does not.
    """
    if release.rows != len(rows) or digest_of(salt, rows) != release.digest:
        raise CaseInvalid(phrase("it was given for other rows than those listed"))


def _rows(count: int) -> Phrase:
    return nphrase("{n} row", "{n} rows", count)


def _cameras(rows: Iterable[SightingName]) -> str:
    return ", ".join(sorted({row.camera for row in rows}))
