"""Keep what was found: candidates sealed to the officers whom it concerns, figures, the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import structlog

from aggregator.matching.scopes import Altered, MatchReport
from aggregator.matching.shares import fair_shares
from aggregator.queries import QueryDesk
from aggregator.records import Records
from aggregator.standing import Find, Run
from aggregator.store import Ledger
from aggregator.store.rows import QueryRecord
from aggregator.wanted_rows import WantedRows, mark_of
from protocol import hpke
from protocol.authorization import AuthorizedQuery
from protocol.directory import INVESTIGATOR
from protocol.errors import NotAuthorized
from protocol.links import Links
from protocol.names import SightingName
from protocol.results import Candidate, Opening
from protocol.watching import Watching
from runtime.clock import system_ms
from runtime.trust import Trust

_log = structlog.get_logger()


class Findings:
    """Keeps the finds of queries.

    Args:
        desk: adds up each query's figures.
        trust: the site's directory, which has the investigators' sealing keys.
        records: the store and the log.
    """

    def __init__(self, desk: QueryDesk, trust: Trust, records: Records) -> None:
        self._desk = desk
        self._trust = trust
        self._records = records

    def keep(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        report: MatchReport,
        altered: Sequence[Altered],
    ) -> None:
        """Seal the candidates of version 1; write down what was compared.

        What was found in version 2 is opened and kept afterwards (:meth:`keep_opened`).
        """
        if not report.segments and not report.live_envelopes and not altered:
            return
        with self._records.writing() as unit:
            new, finds, beyond = self._store_candidates(
                unit.ledger, record, authorized, run, report.candidates
            )
            body = {
                "query_digest": record.digest,
                "grant_ids": sorted(run.grant_ids),
                "segments": report.segments + report.live_envelopes,
                "sightings": report.sightings,
                "candidates": new,
                "found": len(report.found),
            }
            self._records.note("match", record.query_id, body)
        run.finds = finds
        if new:
            _log.info("candidates_found", query=record.query_id.hex(), count=new)
        self._desk.add_progress(
            record.digest,
            {
                "segments": report.segments,
                "live_envelopes": report.live_envelopes,
                "sightings": report.sightings,
                "candidates": new,
                "altered": len(altered),
                "other_models": sum(report.skipped_models.values()),
                "dropped": sum(report.left_out.values()) + beyond.total(),
                **{
                    f"left_out.{camera}": n
                    for camera, n in (beyond + Counter(report.left_out)).items()
                },
                **{f"lying.{camera}": n for camera, n in report.lying.items()},
            },
        )
        for one in altered:
            _log.error("envelope_altered", camera=one.camera, reason=one.reason)
        for camera, count in report.lying.items():
            _log.error(
                "box_lies",
                camera=camera,
                sightings=count,
                reason="candidates whose times are not those of the slot that they were sealed in",
            )

    def keep_opened(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery | None,
        run: Run,
        left_out: Counter[str] | None = None,
    ) -> None:
        """Seal what was opened row by row, with the custodians' word for which rows those are.

        All of it is shown to the officers, what cannot be true as well: they hold it against what
        custodians say that they have opened.

        Args:
            record: the query.
            authorized: its authorization; None: it may have ended, and who of its officers is still
                in force gets what came late.
            run: what was opened.
            left_out: how many finds there was no room for, by camera.

        Raises:
            StorageError: nothing was kept; it is still in ``run.rows``.
        """
        rows, left_out = run.rows, left_out or Counter()
        figures: Counter[str] = Counter({"dropped": left_out.total()})
        figures.update({f"left_out.{camera}": count for camera, count in left_out.items()})
        if rows.openings or rows.ready:
            officers = self._officers(authorized) if authorized else self._still_there(record)
            with self._records.writing() as unit:
                listed = _store_openings(unit.ledger, record.digest, rows, officers)
                finds = _store_opened(unit.ledger, record.digest, run, officers)
                new = len(finds.keys() - run.finds.keys() - rows.known)
                body = {
                    "query_digest": record.digest,
                    "release_ids": rows.untold,
                    "rows": len(listed) - len(rows.listed),
                    "candidates": new,
                }
                self._records.note("opened-rows", record.query_id, body)
            figures["rows"] = len(listed) - len(rows.listed)
            figures["candidates"] = new
            figures.update({f"lying.{camera}": count for camera, count in rows.lying.items()})
            if new:
                _log.info("candidates_found", query=record.query_id.hex(), count=new)
            run.finds |= finds
            if record.query.asks.about_company:
                run.company.note(record.digest, rows.ready)
            rows.told(listed)
        if +figures:
            self._desk.add_progress(record.digest, +figures)

    def keep_watching(
        self, record: QueryRecord, authorized: AuthorizedQuery, watching: Watching
    ) -> None:
        """Seal what the query's cameras watched and counted, in the place of what was kept before.

        Raises:
            StorageError: it was not kept.
        """
        officers = self._officers(authorized)
        with self._records.writing() as unit:
            unit.ledger.put_watching(record.digest, _sealed(watching, officers, record.digest))

    def keep_links(
        self, record: QueryRecord, authorized: AuthorizedQuery, links: Links, *, pairs: int
    ) -> None:
        """Seal which companions are one person, in the place of what was kept before.

        Args:
            record: the query.
            authorized: who reads it.
            links: the numbers.
            pairs: of companions that were compared, for the log.

        Raises:
            StorageError: it was not kept.
        """
        officers = self._officers(authorized)
        with self._records.writing() as unit:
            unit.ledger.put_links(record.digest, _sealed(links, officers, record.digest))
            body = {
                "query_digest": record.digest,
                "companions": len(links.numbers),
                "pairs": pairs,
            }
            self._records.note("linked-contacts", record.query_id, body)

    def _store_candidates(
        self,
        ledger: Ledger,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        candidates: Sequence[Candidate],
    ) -> tuple[int, dict[bytes, Find], Counter[str]]:
        """Store what gets in; what a camera brought beyond its share before makes room for it.

        An early flood would else keep out whoever is found later. What an investigator has decided
        on stays. Return how many are new, which are stored now, and how many of each camera went.
        """
        if not candidates:
            return 0, run.finds, Counter()
        found = {one.candidate_id(record.digest): Find.of(one) for one in candidates}
        stay = {key: one for key, one in run.finds.items() if one.stays}
        before = {k: one for k, one in run.finds.items() if k not in found and not one.stays}
        kept, gone = fair_shares(
            [*before.items(), *found.items()],
            authorized.query.max_candidates - len(stay),
            camera=lambda item: (item[1].box, item[1].camera, item[1].subject),
            score=lambda item: item[1].score,
        )
        new, within = 0, dict(kept)
        officers = self._officers(authorized)
        for key, _ in gone:
            ledger.drop_undecided_result(record.digest, key)
        for candidate in candidates:
            key = candidate.candidate_id(record.digest)
            if key in within:
                sealed = _sealed(candidate, officers, record.digest)
                new += ledger.add_result(record.digest, key, sealed, found_ms=system_ms())
        return new, within | stay, Counter(one.camera for _, one in gone)

    def _officers(self, authorized: AuthorizedQuery) -> dict[str, hpke.PublicKey]:
        """Return the sealing keys of who asked and of who confirms.

        Raises:
            NotAuthorized: the directory gives one of them none.
        """
        found: dict[str, hpke.PublicKey] = {}
        for name in authorized.readers:
            officer = self._trust.directory.principals[name]
            if officer.seal_key is None:
                raise NotAuthorized(f"the directory gives '{name}' no sealing key")
            found[name] = officer.seal_key
        return found

    def _still_there(self, record: QueryRecord) -> dict[str, hpke.PublicKey]:
        """Return the sealing keys of those officers of a query who are in force now."""
        return {
            one.name: one.seal_key
            for one in self._trust.directory.with_duty(INVESTIGATOR)
            if one.name in record.readers and one.seal_key is not None
        }


def _sealed(
    what: Candidate | Opening | Watching | Links,
    officers: Mapping[str, hpke.PublicKey],
    digest: bytes,
) -> dict[str, bytes]:
    return {name: what.seal(key, query_digest=digest) for name, key in officers.items()}


def _store_openings(
    ledger: Ledger, digest: bytes, rows: WantedRows, officers: Mapping[str, hpke.PublicKey]
) -> set[SightingName]:
    """Store what custodians released; return the rows that are listed by now."""
    listed = set(rows.listed)
    for opening in rows.openings:
        marks = {mark_of(digest, name) for name in opening.rows}
        sealed = _sealed(opening, officers, digest)
        ledger.add_opening(digest, sealed, marks=marks, opened_ms=system_ms())
        listed.update(opening.rows)
    return listed


def _store_opened(
    ledger: Ledger, digest: bytes, run: Run, officers: Mapping[str, hpke.PublicKey]
) -> dict[bytes, Find]:
    """Store what was opened; a better score takes the place of a worse. Return what is stored."""
    finds: dict[bytes, Find] = {}
    for candidate in run.rows.ready:
        key = candidate.candidate_id(digest)
        known, find = finds.get(key) or run.finds.get(key), Find.of(candidate)
        if not find.tells_more_than(known):
            continue
        sealed = _sealed(candidate, officers, digest)
        if known is None:
            ledger.add_result(digest, key, sealed, found_ms=system_ms())
        else:
            ledger.reseal_result(digest, key, sealed)
        finds[key] = find
    return finds
