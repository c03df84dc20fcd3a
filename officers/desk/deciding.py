"""Decide on candidates: each officer's word is signed by itself, and stands until a newer one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from officers.desk.results import Results
from officers.desk.session import Session
from officers.desk.traces import Numbered, numbers_text
from protocol.results import CONFIRMED, Decision
from protocol.signing import SigningKey
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
            f"there is no candidate {numbers_text(unknown)}; `sealtrace trace show` lists them"
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
                f"candidate {item.number} cannot be true, and nobody confirms it: "
                f"{item.candidate.impossible}"
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
    case = results.case
    for item in candidates:
        decision = Decision(case.digest, item.candidate_id, verdict, system_ms())
        session.client.decide(case.id, decision.sign(key).to_bytes())
        progress(item)
