"""Decide whether a candidate is a hit: as many different officers confirm it as the policy says.

Officers' programs and audits decide by the same words: of each officer the last counts, one who
rejects rejects for all, and who signs under two names is one officer.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from protocol.directory import INVESTIGATOR, Directory
from protocol.errors import NotAuthorized
from protocol.results import CONFIRMED, DECISION_KIND, REJECTED, Decision
from protocol.signing import Signed


@dataclass(frozen=True, slots=True)
class Word:
    """What an officer said of a candidate, and when (ms UTC)."""

    officer: str
    candidate_id: bytes
    verdict: str
    at_ms: int


def read_word(
    signed: Signed, *, query_digest: bytes, officers: Collection[str], directory: Directory
) -> Word:
    """Verify a decision on a candidate of a query.

    Args:
        officers: whom the query names, the requester with them; also one who was revoked since.

    Raises:
        SignatureInvalid, MalformedMessage: it is not genuine.
        NotAuthorized: it is somebody's whom the query does not name, or on another query.
    """
    if signed.kind != DECISION_KIND:
        raise NotAuthorized("that is not a decision")
    decision = Decision.parse(signed.verify(directory.historic_resolver(INVESTIGATOR)))
    if not hmac.compare_digest(decision.query_digest, query_digest):
        raise NotAuthorized(f"the decision of '{signed.signer}' is on another query's candidate")
    if signed.signer not in officers:
        raise NotAuthorized(
            f"the decision is by '{signed.signer}', whom the query does not name to confirm hits"
        )
    return Word(signed.signer, decision.candidate_id, decision.verdict, decision.decided_at_ms)


def last_words(words: Iterable[Word]) -> dict[str, str]:
    """Return each officer's last word on one candidate: name to confirmed or rejected."""
    last: dict[str, tuple[int, bool, str]] = {}
    for word in words:
        # Of two words of one moment the one that rejects counts.
        said = (word.at_ms, word.verdict == REJECTED, word.verdict)
        last[word.officer] = max(said, last.get(word.officer, said))
    return {name: verdict for name, (_, _, verdict) in last.items()}


def verdict_of(said: Mapping[str, str], needed: int, directory: Directory) -> str | None:
    """Return what last words come to: rejected, confirmed, or None while it is open.

    Args:
        said: officer to their word, all of whom the directory lists.
        needed: how many officers must confirm.
    """
    if REJECTED in said.values():
        return REJECTED
    keys = {directory.principals[name].verify_key.raw for name in said}
    return CONFIRMED if len(keys) >= max(1, needed) else None
