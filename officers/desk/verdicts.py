"""What officers said of a candidate, each by signature, and what their words come to."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from officers.desk.case import Case, CaseInvalid
from officers.desk.traces import UNDECIDED
from protocol.directory import INVESTIGATOR, Directory
from protocol.errors import ProtocolError
from protocol.policy import Policy
from protocol.results import CONFIRMED, DECISION_KIND, REJECTED, Decision
from protocol.signing import Signed


def needed_confirmations(case: Case, policy: Policy) -> int:
    """Return how many officers must confirm a candidate of a query before it is a hit.

    Under another policy than the query was signed under nobody here knows how many: then all whom
    the query names must.
    """
    if hmac.compare_digest(case.query.policy_digest, policy.digest):
        return policy.confirmations
    return len(case.officers)


@dataclass(frozen=True, slots=True)
class Word:
    """What an officer said of a candidate, and when (ms UTC)."""

    officer: str
    candidate_id: bytes
    verdict: str
    at_ms: int


def read_word(data: bytes, case: Case, directory: Directory) -> Word:
    """Read a signed decision.

    Raises:
        SignatureInvalid, MalformedMessage: it is not genuine.
        CaseInvalid: it is somebody's whom the query does not name, or on another query.
    """
    signed = Signed.parse(data, kind=DECISION_KIND)
    decision = Decision.parse(signed.verify(directory.historic_resolver(INVESTIGATOR)))
    if signed.signer not in case.officers:
        raise CaseInvalid(f"the decision on it is by '{signed.signer}', whom the query names not")
    if not hmac.compare_digest(decision.query_digest, case.digest):
        raise CaseInvalid("the decision on it is on another query's")
    return Word(signed.signer, decision.candidate_id, decision.verdict, decision.decided_at_ms)


def read_words(
    decisions: Iterable[bytes], case: Case, directory: Directory
) -> tuple[tuple[Word, ...], tuple[str, ...]]:
    """Read all officers' decisions; return those that count, and what is wrong with others."""
    words, problems = [], []
    for number, data in enumerate(decisions, start=1):
        try:
            words.append(read_word(data, case, directory))
        except (ProtocolError, CaseInvalid) as error:
            problems.append(f"decision {number} counts for nothing: {error}")
    return tuple(words), tuple(problems)


def last_words(words: Iterable[Word]) -> dict[str, str]:
    """Return each officer's last word on one candidate: name to confirmed or rejected."""
    last: dict[str, tuple[int, bool, str]] = {}
    for word in words:
        # Of two words of one moment the one that rejects counts.
        said = (word.at_ms, word.verdict == REJECTED, word.verdict)
        last[word.officer] = max(said, last.get(word.officer, said))
    return {name: verdict for name, (_, _, verdict) in last.items()}


def verdict_of(said: Mapping[str, str], needed: int, directory: Directory) -> str:
    """Return what words come to: one rejection rejects, ``needed`` different officers confirm.

    Who signs under two names is one officer.
    """
    if REJECTED in said.values():
        return REJECTED
    keys = {directory.principals[name].verify_key.raw for name in said}
    return CONFIRMED if len(keys) >= max(1, needed) else UNDECIDED
