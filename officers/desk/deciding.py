"""Decide on candidates: each officer's word is signed by itself, and stands until a newer one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from officers.desk.own_word import check_own, check_same
from officers.desk.phrases import phrase
from officers.desk.results import Results
from officers.desk.session import Session
from officers.desk.traces import Numbered, numbers_text
from protocol.directory import INVESTIGATOR
from protocol.results import CONFIRMED, DECISION_KIND, Decision
from protocol.signing import Signed, SigningKey, Unsigned
from runtime.clock import system_ms
from runtime.errors import OperationError


def numbered(results: Results, numbers: Sequence[int]) -> list[Numbered]:
    """Return the candidates with these numbers, each once.

    Raises:
        OperationError: there is no candidate of a number.
    """
    by_number = {item.number: item for item in results.candidates}
    unknown = [number for number in numbers if number not in by_number]
    if unknown:
        raise OperationError(
            phrase(
                "there is no candidate {numbers_text}; `sealtrace trace show` lists them",
                numbers_text=numbers_text(unknown),
            )
        )
    return [by_number[number] for number in dict.fromkeys(numbers)]


def check_decidable(verdict: str, candidates: Iterable[Numbered]) -> None:
    """Check that none is confirmed that cannot be true.

    Raises:
        OperationError: one would be.
    """
    for item in candidates:
        if verdict == CONFIRMED and item.candidate.impossible is not None:
            raise OperationError(
                phrase(
                    "candidate {number} cannot be true, and nobody confirms it: {impossible}",
                    number=item.number,
                    impossible=item.candidate.impossible,
                )
            )


def decide(
    session: Session,
    results: Results,
    verdict: str,
    candidates: Sequence[Numbered],
    key: SigningKey,
    *,
    progress: Callable[[Numbered], None] = lambda _item: None,
) -> None:
    """Sign one verdict on each of some candidates and hand them over.

    Args:
        session: an officer's to whom the results are sealed.
        results: as opened.
        verdict: ``CONFIRMED`` or ``REJECTED``.
        candidates: of ``results``.
        key: the officer's signing key.
        progress: called after each.

    Raises:
        OperationError: one cannot be true, or could not be handed over; those before it stand.
    """
    check_decidable(verdict, candidates)
    for item in candidates:
        hand_in_decision(
            session, results, item, to_decide(session, results, verdict, item).by_key(key)
        )
        progress(item)


def to_decide(session: Session, results: Results, verdict: str, item: Numbered) -> Unsigned:
    """Return what is signed to confirm or reject one candidate.

    Args:
        session: an officer's to whom the results are sealed.
        results: as opened.
        verdict: ``CONFIRMED`` or ``REJECTED``.
        item: of ``results``.

    Raises:
        OperationError: it cannot be true, and would be confirmed.
    """
    check_decidable(verdict, [item])
    decision = Decision(results.case.digest, item.candidate_id, verdict, system_ms())
    return decision.unsigned(session.officer.name)


def hand_in_decision(session: Session, results: Results, item: Numbered, signed: Signed) -> None:
    """Hand over a signed decision on one candidate.

    Args:
        signed: what `to_decide` made for ``item``.

    Raises:
        SignatureInvalid: it is of another candidate, or not the officer's.
        OperationError: it cannot be true and is confirmed, or could not be handed over.
    """
    decision = Decision.parse(check_own(session.officer, signed, DECISION_KIND, INVESTIGATOR))
    check_same(results.case.digest, decision.query_digest, "query")
    check_same(item.candidate_id, decision.candidate_id, "candidate")
    check_decidable(decision.verdict, [item])
    session.client.decide(results.case.id, signed.to_bytes())
