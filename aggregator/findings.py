"""Keep what matching found: candidates sealed to the investigator, figures, a line in the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from aggregator.matching.scopes import Altered, MatchReport
from aggregator.matching.shares import fair_shares
from aggregator.queries import QueryDesk
from aggregator.records import Records
from aggregator.standing import Find, Run
from aggregator.store import Ledger
from aggregator.store.rows import QueryRecord
from protocol.authorization import AuthorizedQuery
from protocol.errors import NotAuthorized
from protocol.results import Candidate
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
        """Seal the candidates to the investigator; write down what was compared."""
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
        requester = self._trust.directory.principals[authorized.requester]
        if requester.seal_key is None:
            raise NotAuthorized(f"the directory gives '{requester.name}' no sealing key")
        found = {one.candidate_id(record.digest): Find.of(one) for one in candidates}
        before = {key: one for key, one in run.finds.items() if key not in found}
        kept, gone = fair_shares(
            [*before.items(), *found.items()],
            authorized.query.max_candidates,
            camera=lambda item: (item[1].camera, item[1].subject),
            score=lambda item: item[1].score,
        )
        new, within = 0, dict(kept)
        for key, _ in gone:
            ledger.drop_undecided_result(record.digest, key)
        for candidate in candidates:
            if candidate.candidate_id(record.digest) not in within:
                continue
            sealed = candidate.seal(requester.seal_key, query_digest=record.digest)
            key = candidate.candidate_id(record.digest)
            new += ledger.add_result(record.digest, key, sealed, found_ms=system_ms())
        return new, within, Counter(one.camera for _, one in gone)
