"""Parts of a trace as JSON values, the same in every form: ids, times, words as they are fixed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from officers.desk.camera_places import Positions
from officers.desk.contacts import Contact
from officers.desk.fit import Fit
from officers.desk.moments import iso_utc
from officers.desk.receipts import Receipts
from officers.desk.traced import FOUND_BY_CLOTHES
from officers.desk.traces import Numbered, Stay, likelihood_words, numbers_text
from officers.desk.walking import Way
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan

FIT_COLUMNS = (
    "fits_others", "log10_support_of_others", "contradicts", "contradicts_numbers",
    "contradicts_why",
)  # fmt: skip
"""How a stay fits the subject's others."""


def stay_values(stay: Stay, positions: Positions) -> dict[str, Any]:
    """Return a stay as JSON values."""
    place = positions.get(stay.address.camera)
    values = {
        "subject": stay.subject,
        "status": stay.verdict,
        "candidate_numbers": list(stay.numbers),
        "site": stay.address.site,
        "box": stay.address.box,
        "camera": stay.address.camera,
        "from": iso_utc(stay.from_ms),
        "to": iso_utc(stay.to_ms),
        "seconds": round(stay.seconds, 3),
        "mask": mask(stay.mask),
        "mask_confidence": round(stay.mask_confidence, 3),
        "mask_varies": stay.mask_varies,
        "score": rounded(stay.score, 4),
        "log10_likelihood_ratio": rounded(stay.log10_lr, 3),
        "likelihood_ratio_words": likelihood(stay),
        "model": stay.model,
        "contact_seconds": round(stay.contact_seconds, 3),
        "contacts": [contact_values(contact) for contact in stay.contacts],
        "not_compared_numbers": list(stay.unmatched),
        "confirmed_by": list(stay.confirmed_by),
        "confirmations_needed": stay.needed,
        "masks": mask_values(stay.masks),
        "origin": stay.origin,
        "time_source": stay.time_source,
        "found_by": stay.modality,
        "by_appearance": stay.by_appearance,
        "note": FOUND_BY_CLOTHES if stay.by_appearance else None,
        "follows_numbers": list(stay.follows),
        "way": _way_values(stay.way),
        **fit_values(stay.fit),
    }
    if place is not None:
        values["latitude"], values["longitude"] = place
    return values


def _way_values(way: Way | None) -> dict[str, Any] | None:
    if way is None:
        return None
    return {
        "gap_seconds": round(way.gap_s, 3),
        "metres": rounded(way.metres, 1),
        "walk_seconds": rounded(way.walk_s, 1),
        "too_far": way.too_far,
    }


def likelihood(stay: Stay) -> str:
    """Return a stay's likelihood ratio in words."""
    return "by appearance" if stay.by_appearance else likelihood_words(stay.log10_lr)


def metres(stay: Stay) -> float | None:
    """Return how far a stay is from the hit that it follows; None where that is not known."""
    return None if stay.way is None else rounded(stay.way.metres, 1)


def fit_values(fit: Fit | None) -> dict[str, Any]:
    """Return how a stay fits the subject's others, in the order of `FIT_COLUMNS`."""
    if fit is None:
        return dict.fromkeys(FIT_COLUMNS)
    rival = fit.rival
    return {
        "fits_others": fit.others,
        "log10_support_of_others": rounded(fit.log10_support, 2),
        "contradicts": fit.against,
        "contradicts_numbers": None if rival is None else numbers_text(rival.others),
        "contradicts_why": None if rival is None else rival.why,
    }


def impossible_values(item: Numbered) -> dict[str, Any]:
    """Return what cannot be true as JSON values."""
    one = item.candidate
    return {
        "candidate_number": item.number,
        "subject": one.subject,
        "site": one.address.site,
        "box": one.address.box,
        "camera": one.address.camera,
        "why": one.impossible,
    }


def receipt_values(receipts: Receipts) -> dict[str, Any]:
    """Return what custodians say that they opened as JSON values."""
    return {
        "rows": receipts.rows,
        "custodians": [
            {"custodian": one.custodian, "rows": one.rows, "no_answer": one.silence or None}
            for one in receipts.custodians
        ],
        "waiting": list(receipts.waiting),
        "problems": list(receipts.problems),
    }


def contact_values(contact: Contact) -> dict[str, Any]:
    """Return a contact as JSON values."""
    return {
        "contact_id": contact.episode.hex(),
        "contact_subject": contact.subject,
        "distance_m": rounded(contact.nearest_m, 2),
        "seconds": round(contact.seconds, 3),
        "mask": mask(contact.mask),
        "mask_confidence": round(contact.mask_confidence, 3),
        "from": iso_utc(contact.from_ms),
        "to": iso_utc(contact.to_ms),
        "median_distance_m": rounded(contact.median_m, 2),
        "subject_masks": mask_values(contact.masks),
        "contact_masks": mask_values(contact.other_masks),
    }


def rounded(value: float | None, digits: int) -> float | None:
    """Return a number with so many digits; None stays None."""
    return None if value is None else round(value, digits)


def mask(status: MaskStatus) -> str:
    """Return a mask status as forms write it."""
    return status.name.lower()


def mask_values(spans: Iterable[MaskSpan]) -> list[dict[str, Any]]:
    """Return a mask as it went on, as JSON values."""
    return [
        {
            "from": iso_utc(span.from_ms),
            "to": iso_utc(span.until_ms),
            "mask": mask(span.status),
            "confidence": round(span.confidence, 3),
        }
        for span in spans
    ]


def masks_text(spans: Iterable[MaskSpan]) -> str:
    """Return spans in one cell: ``unmasked 10:00Z/10:01Z 0.98; masked ...``, times in full."""
    return "; ".join(
        f"{mask(span.status)} {iso_utc(span.from_ms)}/{iso_utc(span.until_ms)} "
        f"{round(span.confidence, 3)}"
        for span in spans
    )
