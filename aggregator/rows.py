"""Make candidates of what was found in version 2: have its rows opened by the custodians' hand.

A grant opens templates; what a row says of time, mask and company opens afterwards, for what was
found alone, once m custodians have released its values (docs/protocol.md, "Version 2"). With fewer
than m of them finds wait in memory, and those that were silent are asked again. One that lies keeps
nothing closed that enough others opened, and is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

import structlog

from aggregator.circle import Refusal
from aggregator.doubts import listed
from aggregator.findings import Findings
from aggregator.late_rows import LateAnswer, LateAnswers
from aggregator.matching.found import Found
from aggregator.matching.plausible import why_row_impossible
from aggregator.owed_rows import Announced, groups, owing
from aggregator.queries import QueryDesk
from aggregator.row_requests import Asked, Case, Released, RowRequests, generation_of
from aggregator.standing import Run
from aggregator.store import LedgerReading
from aggregator.store.rows import EpochName, QueryRecord
from aggregator.wanted_rows import Values, WantedRow, WantedRows
from protocol.authorization import AuthorizedQuery
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.errors import KeyCommitmentMismatch, ProtocolError
from protocol.keytree import FOLLOWED
from protocol.names import CameraAddress, SightingName, slot_start_ms
from protocol.query import Query
from protocol.results import Candidate, Opening, candidate_id_of
from protocol.sightings import MaskStatus
from protocol.signing import Signed
from protocol.v2.header import Header
from protocol.v2.release import open_row_key
from protocol.v2.sightings import Row
from runtime.calibration import Calibration

_log = structlog.get_logger()
RETRY_S = 10.0
Accuse = Callable[[QueryRecord, Sequence[Refusal]], None]


class RowOpening:
    """Opens the rows of queries; of each query in one thread at a time.

    Args:
        ledger: the announcements, and what was stored before.
        desk: what is known of each query.
        requests: asks custodians.
        findings: keeps what was opened.
        accuse: told of answers that are false.
        wake: called when an answer came late, so that :meth:`take_in_late` is called soon.
    """

    def __init__(
        self,
        ledger: LedgerReading,
        desk: QueryDesk,
        requests: RowRequests,
        findings: Findings,
        accuse: Accuse,
        *,
        wake: Callable[[], object],
    ) -> None:
        self._ledger = ledger
        self._desk = desk
        self._requests = requests
        self._findings = findings
        self._accuse = accuse
        self._late = LateAnswers(wake)

    def begin(self, record: QueryRecord, run: Run) -> None:
        """Note, before anything is found, what an earlier process has opened of this query."""
        rows = run.rows
        if rows.earlier is None:
            rows.earlier = self._ledger.opened_rows(record.digest)
            rows.known = self._ledger.result_ids(record.digest)

    def open(
        self, record: QueryRecord, authorized: AuthorizedQuery, run: Run, *, more_may_come: bool
    ) -> None:
        """Take in what was found, ask for what is to be opened, keep what opens.

        Raises:
            StorageError: it could not be kept, and is kept the next time.
        """
        rows, query = run.rows, authorized.query
        founds = [
            found
            for found in rows.fresh
            if query.asks.about_company  # what a row tells of company is in memory alone
            or candidate_id_of(record.digest, found.subject, found.name) not in rows.known
        ]
        before = set(rows.waiting)
        left_out = rows.take(
            founds,
            digest=record.digest,
            cap=query.max_candidates,
            one_camera=len(query.cameras) == 1 and len({name[:2] for name in run.keys}) <= 1,
            more_may_come=more_may_come,
        )
        rows.fresh, rows.moved = [], False
        again = [found for found in founds if found.name in rows.opened]
        now_s = monotonic()
        if rows.waiting.keys() - before or rows.is_due(now_s) or again:
            announced = self._announced(query, [*rows.waiting, *(found.name for found in again)])
            self._ask(record, run, announced)
            self._open_again(query, rows, announced, again)
            self._open_waiting(record, query, rows, announced)
            rows.retry_at_s = now_s + RETRY_S if rows.waiting else math.inf
        self._findings.keep_opened(record, authorized, run, left_out)

    def answered_late(self) -> list[bytes]:
        """Return the digests of the queries to which custodians answered late."""
        return self._late.concerned()

    def take_in_late(self, digest: bytes | None = None) -> None:
        """Take in what custodians answered late, and keep it, also of queries that have ended.

        Officers count what each custodian signed for. What cannot be kept now is kept the next
        time.

        Args:
            digest: to this query, which nobody steps meanwhile; None: to all.
        """
        for one in self._late.concerned() if digest is None else [digest]:
            self._late.take(one, self._note_late, self._keep_late)

    def _note_late(self, late: LateAnswer) -> None:
        """Note what a custodian released late; and whether it is true, of rows that are open."""
        record, rows, answers = late.record, late.run.rows, {late.custodian: late.answer}
        if isinstance(late.answer, Released):
            rows.moved = True
        self._take_in(record, rows, late.asked, answers)
        liars: dict[str, set[str]] = {}
        for name in late.asked.rows:
            row = rows.opened.get(name)
            if row is None or late.custodian not in row.values:
                continue
            _, announcement = late.asked.announcements[generation_of(name)]
            for found in row.founds:
                with suppress(ProtocolError):  # it did not open before, and the officers know
                    opening = open_row_key(announcement, name, row.values, found.commitment)
                    for liar in opening.liars:
                        liars.setdefault(liar, set()).add(name.camera)
        self._accuse_of_lies(record, liars)

    def _keep_late(self, record: QueryRecord, run: Run) -> None:
        """Open what now can be opened, and keep it with what was released of it."""
        query, rows = record.query, run.rows
        self._open_waiting(record, query, rows, self._announced(query, [*rows.waiting]))
        self._findings.keep_opened(record, None, run)

    # ------------------------------------------------------------------ asking

    def _announced(
        self, query: Query, names: Sequence[SightingName]
    ) -> dict[EpochName, tuple[bytes, Announcement]]:
        """Return the announcements of rows, as far as they are there and can be read."""
        concerned = {generation_of(name) for name in names}
        found: dict[EpochName, tuple[bytes, Announcement]] = {}
        for stored in self._ledger.announcements(
            sorted({camera for _, camera, _, _ in concerned}),
            from_ms=query.window_from_ms,
            to_ms=query.window_to_ms,
        ):
            if stored.name not in concerned:
                continue
            try:
                signed = Signed.parse(stored.signed, kind=EPOCH_KIND)
                announcement = Announcement.parse(signed.payload, box=signed.signer)
            except ProtocolError as error:
                _log.error("announcement_altered", camera=stored.name[1], reason=str(error))
                continue
            found[stored.name] = (stored.signed, announcement)
        return found

    def _ask(self, record: QueryRecord, run: Run, announced: Announced) -> None:
        """Ask whoever has not answered yet for the rows that wait."""
        rows = run.rows
        matcher = self._desk.matcher(record.digest)
        if matcher is None:
            return
        case = Case(
            record,
            self._desk.approvals(record.digest),
            self._desk.withdrawals(record.digest),
            matcher,
        )
        in_force = self._requests.custodians()
        for custodians, names in groups(rows, announced, in_force):
            asked = Asked({g: announced[g] for g in map(generation_of, names)}, tuple(names))
            needed = max(
                announced[generation_of(name)][1].threshold - len(rows.waiting[name].values)
                for name in names
            )
            answers = self._requests.ask(
                case,
                asked,
                of=custodians,
                needed=max(1, needed),
                late=partial(self._late.put, record, run, asked),
            )
            self._take_in(record, rows, asked, answers)

    def _take_in(
        self,
        record: QueryRecord,
        rows: WantedRows,
        asked: Asked,
        answers: Mapping[str, Released | Refusal],
    ) -> None:
        """Note what each custodian released of each row, or why it did not."""
        opened: dict[tuple[SightingName, ...], dict[str, tuple[bytes, bytes]]] = {}
        refusals: list[Refusal] = []
        for custodian, answer in answers.items():
            if isinstance(answer, Refusal):
                refusals.append(answer)
                _note_refusal(rows, asked, answer)
                continue
            release_id = answer.release.release_id
            if release_id in rows.release_ids:
                again = Refusal(custodian, "it is a release that came before", false=True)
                refusals.append(again)
                _note_refusal(rows, asked, again)
                continue
            rows.release_ids.add(release_id)
            rows.untold.append(release_id)
            which = tuple(name for name in asked.rows if name in answer.values)
            opened.setdefault(which, {})[custodian] = (answer.receipt, answer.salt)
            for name in asked.rows:
                row = rows.waiting.get(name) or rows.opened.get(name)
                if row is None:
                    continue
                if name in answer.values:
                    row.note_values(custodian, answer.values[name])
                else:
                    left_out = "it cannot open the row (its log says why)"
                    row.note_no(custodian, left_out, for_good=False)
        rows.openings += [Opening(which, receipts) for which, receipts in opened.items()]
        self._accuse(record, refusals)

    # ------------------------------------------------------------------ opening

    def _open_waiting(
        self, record: QueryRecord, query: Query, rows: WantedRows, announced: Announced
    ) -> None:
        """Open what enough custodians released; give up what cannot be opened any more."""
        liars: dict[str, set[str]] = {}
        in_force = self._requests.custodians()
        for name, row in list(rows.waiting.items()):
            known = announced.get(generation_of(name))
            if known is None:
                rows.give_up(name, f"the announcement of '{name.camera}' is gone or spoilt")
                continue
            announcement = known[1]
            may_still = set(owing(row, announcement, in_force))
            if len(row.values) < announcement.threshold:
                if len(row.values) + len(may_still) < announcement.threshold:
                    rows.give_up(name, _reasons(row, announcement))
                continue
            opened = [self._open(one, row.values, announcement, query) for one in row.founds]
            for one in opened:
                if one.lies:
                    rows.lying[name.camera] += 1
                for liar in one.liars:
                    liars.setdefault(liar, set()).add(name.camera)
            disputed = bool(may_still) and all(one.keyless for one in opened)
            if not disputed:
                rows.open(name)
            if not (disputed and row.disputed):
                rows.ready += [one.candidate for one in opened]
            row.disputed = disputed  # who has not answered yet may tell who lied
        self._accuse_of_lies(record, liars)

    def _accuse_of_lies(self, record: QueryRecord, liars: Mapping[str, Collection[str]]) -> None:
        """Name who released false values, and of rows of which cameras."""
        self._accuse(
            record,
            [
                Refusal(
                    custodian,
                    f"it released rows of {listed(sorted(cameras))} that do not open what was "
                    "sealed there; what others released does",
                    false=True,
                )
                for custodian, cameras in liars.items()
            ],
        )

    def _open_again(
        self, query: Query, rows: WantedRows, announced: Announced, founds: Sequence[Found]
    ) -> None:
        """Open, of rows that are open already, what else was found in them."""
        for found in founds:
            known = announced.get(generation_of(found.name))
            if known is not None:
                one = self._open(found, rows.opened[found.name].values, known[1], query)
                rows.ready.append(one.candidate)

    def _open(
        self,
        found: Found,
        values: Mapping[str, Values],
        announcement: Announcement,
        query: Query,
    ) -> _Opened:
        """Open a find's row; of one that does not open the candidate says so: it was released."""
        address, name = announcement.address, found.name
        try:
            opening = open_row_key(announcement, name, values, found.commitment)
            row = found.open(opening.key)
        except ProtocolError as error:
            begin_ms = slot_start_ms(name.epoch, name.slot)
            nothing = Row(begin_ms, begin_ms, MaskStatus.UNKNOWN, 0.0, 0.0)
            why = f"what is known of it does not open: {error}"
            keyless = isinstance(error, KeyCommitmentMismatch)
            return _Opened(_candidate(found, address, nothing, why, None), keyless)
        why = why_row_impossible(row, epoch=name.epoch, slot=name.slot)
        if why:
            _log.error("box_lies", camera=name.camera, reason=why)
        if not query.contacts:
            row = replace(row, encounters=())
        itself = any(name in subject.examples for subject in query.subjects)
        calibration = None if itself else self._desk.calibration(found.space)
        candidate = _candidate(found, address, row, why, calibration)
        return _Opened(candidate, liars=opening.liars, lies=bool(why))


@dataclass(frozen=True, slots=True)
class _Opened:
    """A find with what its row says.

    Args:
        candidate: as it is shown to officers.
        keyless: no m custodians released the row's key.
        liars: those that released something else than what opened it.
        lies: what the box says cannot be true.
    """

    candidate: Candidate
    keyless: bool = False
    liars: frozenset[str] = frozenset()
    lies: bool = False


def _candidate(
    found: Found, address: CameraAddress, row: Row, why: str, calibration: Calibration | None
) -> Candidate:
    header = Header.parse(found.header)
    return Candidate(
        subject=found.subject,
        address=address,
        sighting_id=found.name.sighting_id,
        row=row,
        modality=found.modality,
        model=found.space,
        score=found.score,
        log10_lr=None
        if calibration is None or found.score is None or found.modality == FOLLOWED
        else calibration.log10_lr(found.score, row.mask, row.quality),
        name=found.name,
        episode=found.episode,
        through=found.through,
        impossible=why or None,
        origin=header.origin,
        time_source=header.time_source,
        follows=found.follows,
    )


def _note_refusal(rows: WantedRows, asked: Asked, refusal: Refusal) -> None:
    for name in asked.rows:
        row = rows.waiting.get(name)
        if row is None or refusal.custodian in row.values:
            continue
        if refusal.final or refusal.false:
            row.note_no(refusal.custodian, refusal.reason, for_good=refusal.false)
        else:
            row.silent[refusal.custodian] = refusal.reason


def _reasons(row: WantedRow, announcement: Announcement) -> str:
    if row.refused:
        return "; ".join(f"{name}: {why}" for name, why in sorted(row.refused.items()))
    return (
        f"fewer than {announcement.threshold} of the custodians in force have a share of the keys "
        f"of '{announcement.address.camera}'"
    )
