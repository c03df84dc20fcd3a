"""Hold what the aggregator lists against what custodians opened: row by row, by their receipts.

Metadata opens by the custodians' hand alone, and each signs for what it opened. An aggregator that
had more opened than it shows, or shows what nobody opened, is found out here: each receipt commits
to its rows, and each custodian counts the rows of a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from officers.desk.case import Case, CaseInvalid
from officers.desk.moments import local_text
from officers.desk.officer import Officer
from protocol.directory import CUSTODIAN, Directory, Principal
from protocol.encoding import decode
from protocol.errors import MalformedMessage, ProtocolError
from protocol.names import SightingName
from protocol.results import Opening
from protocol.signing import Signed
from protocol.v2.release import ROW_RELEASE_KIND, RowRelease, digest_of
from runtime.clock import system_ms
from runtime.errors import OperationError, explained
from runtime.http import raise_for_problem
from runtime.peers import at_once, client_of

_MAX_RECEIPTS_BYTES = 64 << 20
_ON_ITS_WAY_MS = 60_000
"""What was opened so short a time ago may not be listed yet."""
_OR_LATE = ", or has not taken in answers that came late, of rows that it does show"
_SPEAK_TO_AUDITORS = "do not go on, tell the auditors"


class _Endless(MalformedMessage):
    """A custodian's receipts do not end, or nobody reads so many."""


class ReceiptsContradict(OperationError):
    """What the aggregator shows is not what custodians say that they opened."""


@dataclass(frozen=True, slots=True)
class Given:
    """The receipts that a custodian gave for a query when asked; ``silence``: why there are none.

    Args:
        signed: `RowRelease`s as the custodian signed them.
        endless: it gave more of them than anybody reads.
    """

    custodian: str
    signed: tuple[bytes, ...] = ()
    silence: str = ""
    endless: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """How many distinct rows a custodian opened for a query, by its receipts.

    ``silence`` says why it gave none when it was asked; then ``rows`` is by those that the
    aggregator handed over.
    """

    custodian: str
    rows: int
    silence: str = ""


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
            "what is shown is not what was opened:\n" + "\n".join(receipts.problems)
        )


def ask_custodians(officer: Officer, case: Case) -> list[Given]:
    """Ask every custodian, past the aggregator, for its receipts of a query.

    Raises:
        OfficerError: the officer has no certificate.
    """
    tls, path = officer.tls, f"/v1/rows/{case.digest.hex()}"

    def ask(custodian: Principal) -> Given:
        try:
            with client_of(custodian, tls) as http:
                return Given(custodian.name, _read_receipts(http, path))
        except (OperationError, ProtocolError) as error:
            silence = explained(error) or type(error).__name__
            return Given(custodian.name, silence=silence, endless=isinstance(error, _Endless))

    return at_once(officer.custodians(), ask)


def _read_receipts(http: httpx.Client, path: str) -> tuple[bytes, ...]:
    """Read all receipts of a query, page by page.

    Raises:
        PeerUnreachable, ProblemError: the custodian does not give them.
        MalformedMessage: it gives something else, or the same again and again.
    """
    receipts: list[bytes] = []
    room, from_entry = _MAX_RECEIPTS_BYTES, 0
    while True:
        answer = raise_for_problem(http.get(path, params={"from_entry": from_entry})).content
        page = decode(answer, what="receipts")
        if not isinstance(page, list) or not all(isinstance(one, bytes) for one in page):
            raise MalformedMessage("its answer is not a list of receipts")
        if not page:
            return tuple(receipts)
        receipts += page
        last = RowRelease.parse(Signed.parse(page[-1], kind=ROW_RELEASE_KIND).payload).entry_index
        room -= len(answer)
        if last < from_entry or room < 0:
            raise _Endless("its list of receipts does not end")
        from_entry = last + 1


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
        custodians=tuple(
            Counted(name, ledger.totals.get(name, 0), silent.get(name, "")) for name in names
        ),
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
                    f"the receipt of {custodian} that the aggregator shows for opening {number} "
                    f"does not hold: {error}. The aggregator may have had other rows opened than "
                    f"it lists: {_SPEAK_TO_AUDITORS}"
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
                f"{given.custodian} gives more receipts than anybody reads, which hides what it "
                "opened: it misleads you, or the aggregator had the same rows opened again and "
                f"again to that end. {_SPEAK_TO_AUDITORS.capitalize()}"
            )
        if given.silence:
            return
        account, told = self._account(given.custodian), set[bytes]()
        for signed in given.signed:
            try:
                release = self._read(signed, given.custodian)
            except (ProtocolError, CaseInvalid) as error:
                self.problems.append(
                    f"{given.custodian} hands out a receipt that does not hold: {error}. "
                    f"{_SPEAK_TO_AUDITORS.capitalize()}"
                )
                continue
            told.add(release.release_id)
            if release.release_id not in account.shown:
                account.hidden[release.release_id] = release
            elif account.shown[release.release_id][0] != release:
                self.problems.append(
                    f"{given.custodian} has signed two receipts under one id "
                    f"({release.release_id.hex()[:12]}): {_SPEAK_TO_AUDITORS}"
                )
        for release_id, (release, _) in account.shown.items():
            if release_id not in told and not self._young(release):
                self.problems.append(
                    f"{given.custodian} does not know of the {_rows(release.rows)} that it signed "
                    f"for at {local_text(release.released_at_ms)}: it hides them, or its disk was "
                    "put back to an earlier day; tell the auditors"
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
                self.waiting.append(f"{name} opens rows just now: look again in a minute")
            elif more > 0:
                excess[name] = more
        if not excess:
            return
        counts = ", ".join(f"{name}: {_rows(more)}" for name, more in excess.items())
        if len(excess) >= self._directory.threshold:
            late = all(more <= self._not_by(name) for name, more in excess.items())
            self.problems.append(
                f"custodians opened rows that the aggregator lists nowhere ({counts}): it may have "
                "read when and where somebody was whom it does not show you"
                f"{_OR_LATE if late else ''}. {_SPEAK_TO_AUDITORS.capitalize()}"
            )
            return
        silent = [one.custodian for one in given if one.silence]
        unknown = f"; whether {' or '.join(silent)} did too is not known" if silent else ""
        self.waiting.append(
            f"rows are released that are not listed ({counts}): fewer custodians than must agree, "
            f"so by them alone nothing has been opened{unknown}. Look again when all answer"
        )

    def check_listed(self, listed: Mapping[SightingName, str], settled: int | None) -> None:
        """Check that what was opened is among the results, and every result was opened."""
        self.opened = set(self._due)
        due = {row for row, number in self._due.items() if settled is None or number <= settled}
        missing = sorted(due - set(listed))
        if missing:
            self.problems.append(
                f"of what was opened, {_rows(len(missing))} of {_cameras(missing)} cannot be found "
                "among the results: the aggregator may have read them and keeps them from you. "
                f"{_SPEAK_TO_AUDITORS.capitalize()}"
            )
        unbacked = [what for name, what in listed.items() if name not in self.opened]
        if unbacked:
            self.problems.append(
                f"no {self._directory.threshold} custodians sign for {', '.join(unbacked)}: the "
                "aggregator has made it up, or does not say how it was opened. "
                f"{_SPEAK_TO_AUDITORS.capitalize()}"
            )

    def _excess(self, name: str, account: _Account) -> int:
        """Return how many more rows a custodian has opened than it is shown to have opened."""
        seen: set[SightingName] = set()
        shown = sorted(account.shown.values(), key=lambda one: one[0].entry_index)
        for release, rows in shown:
            seen |= rows
            if release.total < len(seen):
                self.problems.append(
                    f"{name} had opened {_rows(release.total)} for this query at "
                    f"{local_text(release.released_at_ms)}, and the aggregator lists {len(seen)}: "
                    f"one of them counts falsely. {_SPEAK_TO_AUDITORS.capitalize()}"
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
            raise CaseInvalid(f"it is signed by '{signed.signer}'")
        if release.query_digest != self._case.digest:
            raise CaseInvalid("it was given for another query")
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
        raise CaseInvalid("it was given for other rows than those listed")


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def _cameras(rows: Iterable[SightingName]) -> str:
    return ", ".join(sorted({row.camera for row in rows}))
