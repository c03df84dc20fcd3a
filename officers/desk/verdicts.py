"""Read what the officers whom a query names said of its candidates, each by signature."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from officers.desk.case import Case
from officers.desk.phrases import phrase
from protocol.confirming import Word, read_word
from protocol.directory import Directory
from protocol.errors import ProtocolError
from protocol.policy import Policy
from protocol.results import DECISION_KIND
from protocol.signing import Signed


def needed_confirmations(case: Case, policy: Policy) -> int:
    """Return how many officers must confirm a candidate of a query before it is a hit.

    Under another policy than the query was signed under nobody here knows how many: then all whom
    the query names must.
    """
    if hmac.compare_digest(case.query.policy_digest, policy.digest):
        return policy.confirmations
    return len(case.officers)


def word_in(data: bytes, case: Case, directory: Directory) -> Word:
    """Read a signed decision on a candidate of a query.

    Raises:
        SignatureInvalid, MalformedMessage: it is not genuine.
        NotAuthorized: it is by nobody whom the query names, or on another query.
    """
    signed = Signed.parse(data, kind=DECISION_KIND)
    return read_word(signed, query_digest=case.digest, officers=case.officers, directory=directory)


def read_words(
    decisions: Iterable[bytes], case: Case, directory: Directory
) -> tuple[tuple[Word, ...], tuple[str, ...]]:
    """Read all officers' decisions; return those that count, and what is wrong with others."""
    words, problems = [], []
    for number, data in enumerate(decisions, start=1):
        try:
            words.append(word_in(data, case, directory))
        except ProtocolError as error:
            problems.append(
                phrase(
                    "decision {number} counts for nothing: {error}",
                    number=number,
                    error=error,
                )
            )
    return tuple(words), tuple(problems)
