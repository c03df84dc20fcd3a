"""Put a trace's contacts together by person: what one companion's exposure adds up to.

A row of a contact list is a person, not a sighting. Within one camera the board says who is one
companion; over cameras and days only a query that asks for linked contacts does, by a number. What
nobody linked stays apart: two of these may be one person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from officers.desk.contacts import Contact
from officers.desk.masks import mask_of_spans, spans_in_a_row
from officers.desk.moments import iso_utc
from officers.desk.traces import Stay, Trace
from officers.desk.within import Within, median_of, most_within, seconds_of
from protocol.names import CameraAddress
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan

DAY_MS = 24 * 3_600_000
Links = Mapping[tuple[CameraAddress, bytes], int]
"""Camera and a companion's episode to the number of the contact that it is linked to."""
_NOBODY: Links = {}


@dataclass(frozen=True, slots=True)
class Exposure:
    """A contact, and the stay during which it was."""

    stay: Stay
    contact: Contact


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom a subject met, with every exposure to the subject that is known.

    Args:
        number: of the person within this trace: of linked contacts the one that they are linked
            by, of others the next ones, in order of the first moment.
        subject: another subject of the query that it is known to be.
        linked: whether templates were compared to put exposures together.
        exposures: in order of time, one at least.
    """

    number: int
    subject: str | None
    linked: bool
    exposures: tuple[Exposure, ...]

    @property
    def first_ms(self) -> int:
        """The first moment within reach, ms UTC."""
        return min(one.contact.from_ms for one in self.exposures)

    @property
    def last_ms(self) -> int:
        """The last moment within reach, ms UTC."""
        return max(one.contact.to_ms for one in self.exposures)

    @property
    def seconds(self) -> float:
        """Within reach, over all exposures; what two cameras saw at one time counts once."""
        return seconds_of(self._parts)

    @property
    def most_in_24h_s(self) -> float:
        """The most seconds within reach in any 24 hours on end."""
        return most_within(self._parts, window_ms=DAY_MS)

    @property
    def nearest_m(self) -> float | None:
        """The shortest ground distance; None if none is known."""
        known = (one.contact.nearest_m for one in self.exposures)
        return min((metres for metres in known if metres is not None), default=None)

    @property
    def median_m(self) -> float | None:
        """Up to how far apart half of the seconds went by; None if no distance is known."""
        return median_of((one.contact.median_m, one.contact.seconds) for one in self.exposures)

    @property
    def masks(self) -> tuple[MaskSpan, ...]:
        """The subject's meanwhile."""
        return spans_in_a_row(span for one in self.exposures for span in one.contact.masks)

    @property
    def other_masks(self) -> tuple[MaskSpan, ...]:
        """The person's own."""
        return spans_in_a_row(span for one in self.exposures for span in one.contact.other_masks)

    @property
    def mask(self) -> tuple[MaskStatus, float]:
        """The person's mask status over all, and its confidence."""
        return mask_of_spans(self.other_masks)

    @property
    def mask_varies(self) -> bool:
        """Whether the person was seen both with a mask and without."""
        return {MaskStatus.MASKED, MaskStatus.UNMASKED} <= {one.status for one in self.other_masks}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Where, in order of the first time there."""
        return tuple(dict.fromkeys(one.stay.address.camera for one in self.exposures))

    @property
    def _parts(self) -> list[Within]:
        met = (one.contact for one in self.exposures)
        return [Within(one.from_ms, one.to_ms, one.seconds) for one in met]


def persons_of(trace: Trace, links: Links = _NOBODY) -> tuple[Person, ...]:
    """Return whom a subject met during the hits of a trace, in order of their numbers.

    Args:
        trace: a subject's.
        links: what the query's linked contacts tell; empty where it asked for none.
    """
    exposures = [Exposure(stay, met) for stay in trace.hits for met in stay.contacts]
    exposures.sort(key=lambda one: (one.contact.from_ms, one.contact.to_ms, one.contact.episode))
    names = _names(exposures, links)
    together: dict[object, list[Exposure]] = {}
    for one in exposures:
        key = one.stay.address, one.contact.episode
        number = links.get(key)
        name = one.contact.subject or (None if number is None else names.get(number))
        group = key if name is None and number is None else (name or number)
        together.setdefault(group, []).append(one)
    persons, following = [], max(links.values(), default=0) + 1
    taken: set[int] = set()
    for met in together.values():
        numbers = [links.get((one.stay.address, one.contact.episode)) for one in met]
        number = next((one for one in numbers if one is not None and one not in taken), None)
        linked = number is not None
        if number is None:
            number, following = following, following + 1
        taken.add(number)
        subject = next((one.contact.subject for one in met if one.contact.subject), None)
        persons.append(Person(number, subject, linked, tuple(met)))
    return tuple(sorted(persons, key=lambda one: one.number))


def person_values(person: Person) -> dict[str, Any]:
    """Return a person as JSON values; ids and times as exports have them."""
    mask, confidence = person.mask
    return {
        "number": person.number,
        "subject": person.subject,
        "linked": person.linked,
        "from": iso_utc(person.first_ms),
        "to": iso_utc(person.last_ms),
        "seconds": round(person.seconds, 3),
        "most_in_24h_seconds": round(person.most_in_24h_s, 3),
        "distance_m": None if person.nearest_m is None else round(person.nearest_m, 2),
        "median_distance_m": None if person.median_m is None else round(person.median_m, 2),
        "mask": mask.name.lower(),
        "mask_confidence": round(confidence, 3),
        "cameras": list(person.cameras),
        "contacts": [
            {
                "box": one.stay.address.box,
                "camera": one.stay.address.camera,
                "contact_id": one.contact.episode.hex(),
                "candidate_numbers": list(one.stay.numbers),
                "from": iso_utc(one.contact.from_ms),
                "to": iso_utc(one.contact.to_ms),
                "seconds": round(one.contact.seconds, 3),
            }
            for one in person.exposures
        ],
    }


def _names(exposures: list[Exposure], links: Links) -> dict[int, str]:
    """Return which linked contacts are known to be subjects: those of whom one alone is said."""
    said: dict[int, set[str]] = {}
    for one in exposures:
        number = links.get((one.stay.address, one.contact.episode))
        if number is not None and one.contact.subject is not None:
            said.setdefault(number, set()).add(one.contact.subject)
    return {number: next(iter(names)) for number, names in said.items() if len(names) == 1}
