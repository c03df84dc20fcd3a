"""What officers have decided of a query's candidates, for what is done once a hit is confirmed.

Following by clothes, linking companions, counting who came afterwards: each begins with a confirmed
hit and never before, so a query that asks for one of them waits for its officers.
"""

from __future__ import annotations

from contextlib import suppress

from aggregator.company import IsHit
from aggregator.queries import QueryDesk
from aggregator.standing import Run
from aggregator.store.rows import QueryRecord
from protocol.authorization import AuthorizedQuery
from protocol.confirming import Word, last_words, read_word, verdict_of
from protocol.errors import ProtocolError
from protocol.policy import Policy
from protocol.query import Asked
from protocol.results import CONFIRMED, DECISION_KIND
from protocol.signing import Signed
from runtime.trust import Trust

WAIT_MS = 24 * 3_600_000
"""So long after its window a query waits, its keys in memory, for officers to confirm."""


class Deciding:
    """Reads decisions into the runs of queries that act on them.

    Args:
        desk: has what officers sent.
        trust: the site's directory.
        policy: how many officers confirm a hit.
    """

    def __init__(self, desk: QueryDesk, trust: Trust, policy: Policy) -> None:
        self._desk = desk
        self._trust = trust
        self._policy = policy

    def read(self, record: QueryRecord, authorized: AuthorizedQuery, run: Run) -> None:
        """Read what officers decided into ``run.trail``, if anything changed since."""
        directory, trail = self._trust.directory, run.trail
        at = (self._desk.revision(record.digest), directory.version)
        if not authorized.query.asks.wait_for_decisions or at == trail.read_at:
            return
        words: dict[bytes, list[Word]] = {}
        for data in self._desk.decisions(record):
            with suppress(ProtocolError):  # it counts for nothing, and officers' programs say so
                word = read_word(
                    Signed.parse(data, kind=DECISION_KIND),
                    query_digest=record.digest,
                    officers=authorized.readers,
                    directory=directory,
                )
                words.setdefault(word.candidate_id, []).append(word)
        trail.said = {key: last_words(said) for key, said in words.items()}
        trail.decided_ms = {key: max(one.at_ms for one in said) for key, said in words.items()}
        verdicts = {key: self.verdict(run, key) for key in words}
        trail.verdicts = {key: verdict for key, verdict in verdicts.items() if verdict}
        trail.read_at = at

    def verdict(self, run: Run, key: bytes, hit: bytes | None = None) -> str | None:
        """Return what the officers' words on a candidate come to; None while it is open.

        Args:
            run: whose decisions have been read.
            key: the candidate's id.
            hit: the candidate that it was opened with, whose words count where it has none.
        """
        said = run.trail.said
        words = {**(said.get(hit, {}) if hit else {}), **said.get(key, {})}
        return verdict_of(words, self._policy.confirmations, self._trust.directory)

    def is_hit(self, run: Run) -> IsHit:
        """Return what tells of a candidate whether it is confirmed."""
        return lambda key, match: self.verdict(run, key, match) == CONFIRMED

    def spans(self, run: Run) -> frozenset[tuple[int, int]]:
        """Return from when to when (ms) confirmed candidates were seen, of a query about that."""
        hits = run.company.confirmed(self.is_hit(run))
        return frozenset(one.span for _, _, one in hits)

    def words_of_waiting(self, authorized: AuthorizedQuery, run: Run, *, now_ms: int) -> str:
        """Say for which decisions a query waits whose window is over; empty if for none.

        The query is looked at again when one comes, or when it has waited long enough.
        """
        query, trail = authorized.query, run.trail
        until_ms = query.window_to_ms + WAIT_MS
        if not query.asks.wait_for_decisions or now_ms >= until_ms:
            return ""
        stored = run.finds.keys() | run.rows.known
        open_ones = [key for key in trail.hits if key in stored and key not in trail.verdicts]
        if not open_ones:
            return ""
        run.due_ms = until_ms
        return (
            f"{len(open_ones)} candidate{'s wait' if len(open_ones) > 1 else ' waits'} to be "
            f"confirmed or rejected: {_what_follows(query.asks)}"
        )


def _what_follows(asks: Asked) -> str:
    """Say what is done of hits that are confirmed."""
    done = {
        "those that are confirmed are followed by their clothes": asks.continuation,
        "of those near who is confirmed it is told who is one person": asks.linked_contacts,
        "who came after those that are confirmed is counted": asks.afterwards_min > 0,
    }
    return "; ".join(words for words, wanted in done.items() if wanted)
