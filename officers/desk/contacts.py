"""Say whom a subject met during a stay: one companion is one contact, however often cut in two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from officers.desk.ground import CLOCK_S
from officers.desk.masks import mask_of_spans, spans_in_a_row
from officers.desk.within import Within, median_of, seconds_of
from protocol.names import CameraAddress
from protocol.results import Candidate
from protocol.sightings import MaskStatus
from protocol.v2.sightings import Encounter, MaskSpan


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody near the subject during a stay, on the same camera.

    Who it was is unknown unless it was another subject of the query: then ``subject`` says so.

    Args:
        episode: what the board calls that person on that camera, 8 bytes; with a box of version 1
            the id of their sighting.
        from_ms, to_ms: first and last moment within reach, ms UTC.
        seconds: within reach, over all sightings.
        nearest_m: the shortest ground distance, None if unknown.
        median_m: of the sightings' median distances, the one in the middle of the seconds within
            reach; None if none is known.
        mask, mask_confidence: theirs, over all.
        masks: the subject's meanwhile, as it went on.
        other_masks: theirs.
    """

    episode: bytes
    from_ms: int
    to_ms: int
    seconds: float
    nearest_m: float | None
    median_m: float | None
    mask: MaskStatus
    mask_confidence: float
    masks: tuple[MaskSpan, ...] = ()
    other_masks: tuple[MaskSpan, ...] = ()
    subject: str | None = None


def contacts_of(
    seen: Sequence[Candidate], subjects: Mapping[tuple[CameraAddress, bytes], str]
) -> tuple[Contact, ...]:
    """Return a stay's contacts, longest first.

    A board that sees somebody near for more than a few seconds sees two people: whoever else was
    confirmed as the same subject meanwhile stays a contact, of whom nobody knows who it is.

    Args:
        seen: the sightings of the stay.
        subjects: camera of a box, and id of a sighting or episode, to the subject that it is known
            to be.
    """
    own = {candidate.sighting_id for candidate in seen}
    own |= {candidate.episode for candidate in seen if candidate.episode is not None}
    met_as: dict[bytes, list[Encounter]] = {}
    who: dict[bytes, str] = {}
    for candidate in seen:
        camera = candidate.address
        for met in candidate.encounters:
            name = subjects.get((camera, met.other_id)) or subjects.get((camera, met.other_episode))
            if {met.other_id, met.other_episode} & own:
                continue  # the subject's own sightings
            if name == candidate.subject and met.within_s <= CLOCK_S:
                continue  # the same, split by the tracker
            met_as.setdefault(met.other_episode, []).append(met)
            if name is not None and name != candidate.subject:
                who[met.other_episode] = name
    contacts = [_contact(episode, met, who.get(episode)) for episode, met in met_as.items()]
    return tuple(sorted(contacts, key=lambda contact: (-contact.seconds, contact.episode)))


def _contact(episode: bytes, met: Sequence[Encounter], subject: str | None) -> Contact:
    others = spans_in_a_row(span for one in met for span in one.other_masks)
    mask, confidence = mask_of_spans(others)
    return Contact(
        episode=episode,
        from_ms=min(one.first_ms for one in met),
        to_ms=max(one.last_ms for one in met),
        seconds=seconds_of([Within(one.first_ms, one.last_ms, one.within_s) for one in met]),
        nearest_m=min((one.nearest_m for one in met if one.nearest_m is not None), default=None),
        median_m=median_of((one.median_m, one.within_s) for one in met),
        mask=mask,
        mask_confidence=confidence,
        masks=spans_in_a_row(span for one in met for span in one.masks),
        other_masks=others,
        subject=subject,
    )
