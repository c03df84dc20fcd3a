"""What a site's policy is to be: the section `[policy]` of `site.toml`.

A limit that a policy does not state is closed. What stands here as a default is what a new site
begins with; more than comparing, live queries and who was near has to be asked for by name.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from protocol.errors import MalformedMessage
from protocol.keytree import MODALITIES, NEEDS_CONSENT, Modality
from protocol.policy import COVER_STEADY, EXPECTED_FALSE, OPTIONS
from runtime.config import Section
from runtime.lookalikes import alike, checked_name

PROGRAMME_DAYS = 180
PURPOSES = ("contact tracing",)
"""What a new site's queries may be for, where nothing else is said."""
Basis = Literal["consent", "statutory-order"]
Extra = Annotated[int, Field(ge=0, le=8)]


class BasisPlan(Section):
    """What a legal basis permits."""

    modalities: tuple[Modality, ...]
    """Templates that a query on this basis may compare."""
    extra_approvals: Extra = 0
    """Approvals on top of the policy's."""


def _default_bases() -> dict[Basis, BasisPlan]:
    return {
        "consent": BasisPlan(modalities=MODALITIES),
        "statutory-order": BasisPlan(
            modalities=tuple(one for one in MODALITIES if one not in NEEDS_CONSENT),
            extra_approvals=1,
        ),
    }


class PolicyPlan(Section):
    """The site's policy: the most that a query may ask for, and who must agree."""

    programme_ends: datetime = Field(
        default_factory=lambda: (datetime.now(UTC) + timedelta(days=PROGRAMME_DAYS)).replace(
            microsecond=0
        )
    )
    """After this moment nothing is granted any more (with a time zone). Default: in 180 days."""
    approvals: Annotated[int, Field(ge=1, le=16)] = 2
    """Approvals that a query needs; its requester's own does not count."""
    max_subjects: Annotated[int, Field(ge=1, le=10)] = 10
    """Subjects that may be searched for at once."""
    max_window_hours: Annotated[int, Field(ge=1, le=1440)] = 336
    """Longest stretch of time in the past that one query may cover."""
    max_live_hours: Annotated[int, Field(ge=0, le=1440)] = 72
    """Longest that a query may go on watching; 0 forbids live queries and windows ahead."""
    max_cameras: Annotated[int, Field(ge=1, le=65_536)] = 500
    """Most cameras of one query."""
    max_query_days: Annotated[int, Field(ge=1, le=60)] = 7
    """Days after which a query lapses, whatever it asked for."""
    max_candidates: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Most candidates that a query may bring to an investigator."""
    retention_days: Annotated[int, Field(ge=1, le=60)] = 14
    """Days until the custodians destroy a day's key, and so its sightings."""
    purposes: tuple[str, ...] = PURPOSES
    """What a query may be for; an empty list permits none."""
    live: bool = True
    """Whether a query may open the quarter hour that is running."""
    contacts: Literal["none", "near", "linked"] = "near"
    """What may be asked of who was near: nothing, that somebody was, or also who is one person."""
    continuation: bool = False
    """Whether a confirmed person may be followed by their clothes."""
    continuation_minutes: Annotated[int, Field(ge=0, le=1440)] = 120
    """How long before and after a confirmed sighting; 0 follows nobody."""
    continuation_cameras: Annotated[int, Field(ge=0, le=65_536)] = 30
    """Most cameras of a query that follows somebody by their clothes: those of a neighbourhood."""
    same_place_counts: bool = False
    """Whether a query may count how many others were there."""
    evidence_stills: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Of how many sightings a query may ask for a picture."""
    evidence_export: bool = False
    """Whether a still of a confirmed hit may be handed over as a file, marked with who did it."""
    confirmations: Annotated[int, Field(ge=1, le=8)] = 2
    """Investigators who must each confirm a hit, the one who asked with them, before it may be
    exported: two, as Article 14(5) of the EU AI Act asks."""
    enrolment_without_witness: bool = True
    """Whether a person may be enrolled without a second officer who saw whose photographs they
    are."""
    consent_documents: bool = True
    """Whether every query on consent must name the document of consent by its hash."""
    cover: Literal["off", "slots", "steady"] = "slots"
    """What hides from the broker who passes when."""
    cover_interval_s: Annotated[int, Field(ge=1, le=900)] | None = None
    """With steady cover: seconds between a camera's envelopes."""
    outside_witnesses: Annotated[int, Field(ge=0, le=16)] = 0
    """Witnesses outside the site who must cosign its logs."""
    expected_false: Annotated[int, Field(ge=1, le=10_000)] = EXPECTED_FALSE
    """Strangers whom a query may expect among its candidates for each subject before its default
    threshold is raised."""
    option_approvals: dict[str, Extra] = Field(default_factory=dict)
    """Further approvals that a query needs for what it asks besides comparing."""
    threshold_floor: dict[str, float] = Field(default_factory=dict)
    """Model id to the lowest threshold that a query may set. A model of the bundle that is not
    named has its recommended one; with any other no query may compare."""
    legal_basis: dict[Basis, BasisPlan] = Field(default_factory=_default_bases, min_length=1)
    """What each legal basis permits; a face template needs consent."""

    @field_validator("programme_ends")
    @classmethod
    def _has_zone(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("needs a time zone, for example 2027-06-30T00:00:00Z")
        return value

    @field_validator("threshold_floor")
    @classmethod
    def _is_score(cls, value: dict[str, float]) -> dict[str, float]:
        if not all(math.isfinite(score) and -1 <= score <= 1 for score in value.values()):
            raise ValueError("maps model ids to scores from -1 to 1")
        return value

    @field_validator("purposes")
    @classmethod
    def _is_read_as_it_is(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            purposes = tuple(checked_name(one, what=f"'{one}'") for one in value)
        except MalformedMessage as error:
            raise ValueError(str(error)) from None
        if len(set(purposes)) < len(purposes):
            raise ValueError("names one twice")
        for one, other in alike(purposes):
            raise ValueError(f"has '{one}' and '{other}', which look alike; keep one of them")
        return purposes

    @field_validator("option_approvals")
    @classmethod
    def _is_option(cls, value: dict[str, int]) -> dict[str, int]:
        if unknown := sorted(set(value) - set(OPTIONS)):
            raise ValueError(f"knows no {', '.join(unknown)}; there are: {', '.join(OPTIONS)}")
        return value

    @model_validator(mode="after")
    def _faces_need_consent(self) -> PolicyPlan:
        order = self.legal_basis.get("statutory-order")
        for one in () if order is None else order.modalities:
            if one in NEEDS_CONSENT:
                raise ValueError(
                    f"a {one} template needs recorded consent: take {one} out of the order"
                )
        return self

    @model_validator(mode="after")
    def _steady_has_an_interval(self) -> PolicyPlan:
        if (self.cover == COVER_STEADY) != (self.cover_interval_s is not None):
            raise ValueError('cover_interval_s goes with cover = "steady", and with no other')
        return self
