"""Which companions of a query's subjects are one person, as numbers: sealed like its results.

Who was near a subject is known by the episode that a board gave them on one camera. Where a query
asked for it (`contacts: linked`), the matcher compares the templates of those companions in memory
and says which episodes are one person. It tells a number, random for each query, and nothing else:
no template, no score, and nothing of anybody's row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol import hpke
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage
from protocol.names import CameraAddress
from protocol.v2.sightings import EPISODE_BYTES

Companion = tuple[CameraAddress, bytes]
"""The camera, and the episode (8 bytes) that its board gave somebody who was near."""
MAX_COMPANIONS = 16_384
LEAST_NUMBER, MOST_NUMBER = 100_000, 999_999
"""Of a contact: six digits, so that nobody takes one for a place in a list."""
_LINKS = "links"
_FORM = 2


@dataclass(frozen=True, slots=True)
class Links:
    """What became of linking.

    Args:
        numbers: companion to the number of the person; companions of one number are one person.
        without: companions that could not be compared, since no template of theirs lies in what
            was opened.
        left_out: companions beyond what is compared.
    """

    numbers: Mapping[Companion, int] = field(default_factory=dict)
    without: int = 0
    left_out: int = 0

    def seal(self, officer: hpke.PublicKey, *, query_digest: bytes) -> bytes:
        """Seal to an officer who asked or confirms."""
        return officer.seal(self.to_bytes(), purpose=_LINKS, context=[query_digest])

    def to_bytes(self) -> bytes:
        """Encode, to be sealed."""
        by_number: dict[int, list[Companion]] = {}
        for companion, number in self.numbers.items():
            by_number.setdefault(number, []).append(companion)
        return encode(
            {
                "v": _FORM,
                "contacts": [
                    [number, [[a.site, a.box, a.camera, episode] for a, episode in companions]]
                    for number, companions in sorted(by_number.items())
                ],
                "without": self.without,
                "left_out": self.left_out,
            }
        )

    @classmethod
    def open(cls, sealed: bytes, officer: hpke.PrivateKey, *, query_digest: bytes) -> Links:
        """Open as an officer to whom it was sealed.

        Raises:
            AuthenticationFailed: somebody else's, of another query, or altered.
            MalformedMessage, UnsupportedVersion: it opens to something else.
        """
        return cls.parse(officer.open(sealed, purpose=_LINKS, context=[query_digest]))

    @classmethod
    def parse(cls, opened: bytes) -> Links:
        """Read what was opened.

        Raises:
            MalformedMessage, UnsupportedVersion: it is something else, or contradicts itself.
        """
        read = Fields(decode(opened, what="links"), what="links")
        read.version(_FORM)
        numbers: dict[Companion, int] = {}
        told: set[int] = set()
        for item in read.array("contacts", max_items=MAX_COMPANIONS):
            number, companions = _contact(item)
            if number in told:
                raise MalformedMessage("links: a contact has its number twice")
            told.add(number)
            for companion in companions:
                if companion in numbers or len(numbers) >= MAX_COMPANIONS:
                    raise MalformedMessage("links: a companion is two contacts, or too many are")
                numbers[companion] = number
        links = cls(numbers, read.integer("without"), read.integer("left_out"))
        read.done()
        return links


def _contact(item: object) -> tuple[int, list[Companion]]:
    if (
        not isinstance(item, list)
        or [type(part) for part in item] != [int, list]
        or not LEAST_NUMBER <= item[0] <= MOST_NUMBER
        or not item[1]
    ):
        raise MalformedMessage("links: not [number, companions]")
    return item[0], [_companion(one) for one in item[1]]


def _companion(item: object) -> Companion:
    if (
        not isinstance(item, list)
        or [type(part) for part in item] != [str, str, str, bytes]
        or len(item[3]) != EPISODE_BYTES
    ):
        raise MalformedMessage("links: not [site, box, camera, episode]")
    return CameraAddress(item[0], item[1], item[2]), item[3]
