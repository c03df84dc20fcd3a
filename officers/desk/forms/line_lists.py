"""CSV lists for analysis: a row a stay, or a row a contact of a stay."""

from __future__ import annotations

from officers.desk.camera_places import Positions
from officers.desk.csv_cells import csv_text
from officers.desk.forms.values import (
    FIT_COLUMNS,
    fit_values,
    likelihood,
    mask,
    masks_text,
    metres,
    rounded,
)
from officers.desk.moments import iso_utc
from officers.desk.traced import Report, notes_on, stays_of_report
from officers.desk.traces import Stay

LINE_LIST_COLUMNS = (
    "query_id", "subject", "consent_reference", "status", "site", "camera",
    "from_utc", "to_utc", "seconds", "mask", "mask_confidence", "mask_varies",
    "score", "log10_likelihood_ratio", "likelihood_ratio_words", "model",
    "contacts", "contact_seconds", "latitude", "longitude", "candidate_numbers",
    "not_compared_numbers", "confirmed_by", "masks", "origin", "time_source",
    "found_by", "follows_numbers", "walk_metres",
    *FIT_COLUMNS, "notes",
)  # fmt: skip
"""One row a stay, in order of subject and time."""
CONTACT_COLUMNS = (
    "query_id", "subject", "status", "site", "camera", "from_utc", "to_utc",
    "subject_mask", "subject_mask_confidence", "contact_id", "contact_subject",
    "distance_m", "seconds", "contact_mask", "contact_mask_confidence",
    "contact_from_utc", "contact_to_utc", "median_distance_m", "subject_masks", "contact_masks",
    "found_by", "notes",
)  # fmt: skip
"""One row a contact of a stay; ``contact_id`` is unique within a camera."""


def as_line_list(report: Report, *, positions: Positions, hits_only: bool) -> str:
    """Return one row a stay: the hits, and unless ``hits_only`` what is not decided yet."""
    return csv_text(
        LINE_LIST_COLUMNS,
        (
            [
                report.query.query_id.hex(),
                stay.subject,
                report.consent_of(stay.subject),
                stay.verdict,
                stay.address.site,
                stay.address.camera,
                iso_utc(stay.from_ms),
                iso_utc(stay.to_ms),
                round(stay.seconds, 3),
                mask(stay.mask),
                round(stay.mask_confidence, 3),
                str(stay.mask_varies).lower(),
                rounded(stay.score, 4),
                rounded(stay.log10_lr, 3),
                likelihood(stay),
                stay.model,
                len(stay.contacts),
                round(stay.contact_seconds, 3),
                *_position(stay, positions),
                " ".join(map(str, stay.numbers)),
                " ".join(map(str, stay.unmatched)),
                " ".join(stay.confirmed_by),
                masks_text(stay.masks),
                stay.origin,
                stay.time_source,
                stay.modality,
                " ".join(map(str, stay.follows)),
                metres(stay),
                *fit_values(stay.fit).values(),
                "; ".join(notes_on(report, stay)),
            ]
            for stay in stays_of_report(report, hits_only=hits_only)
        ),
    )


def as_contacts(report: Report, *, positions: Positions, hits_only: bool) -> str:
    """Return one row a contact: who was near (not who they are), how near, how long, masked."""
    del positions
    return csv_text(
        CONTACT_COLUMNS,
        (
            [
                report.query.query_id.hex(),
                stay.subject,
                stay.verdict,
                stay.address.site,
                stay.address.camera,
                iso_utc(stay.from_ms),
                iso_utc(stay.to_ms),
                mask(stay.mask),
                round(stay.mask_confidence, 3),
                contact.episode.hex(),
                contact.subject,
                rounded(contact.nearest_m, 2),
                round(contact.seconds, 3),
                mask(contact.mask),
                round(contact.mask_confidence, 3),
                iso_utc(contact.from_ms),
                iso_utc(contact.to_ms),
                rounded(contact.median_m, 2),
                masks_text(contact.masks),
                masks_text(contact.other_masks),
                stay.modality,
                "; ".join(notes_on(report, stay)),
            ]
            for stay in stays_of_report(report, hits_only=hits_only)
            for contact in stay.contacts
        ),
    )


def _position(stay: Stay, positions: Positions) -> tuple[float | None, float | None]:
    return positions.get(stay.address.camera, (None, None))
