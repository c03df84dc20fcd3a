"""What the authority says of a box beside who it is: which films, and the end of its version 1."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.encoding import Fields
from protocol.names import require_name

MAX_RECORDINGS = 64


@dataclass(frozen=True, slots=True)
class BoxTerms:
    """What only the authority says of a box, whoever listed the box; from form 2 on.

    Args:
        recordings: the cameras whose recordings it may import.
        version_1_until_ms: when it last announced a day in version 1 of the protocol; None: it does
            still, or never did. An older announcement is read, a later one is not.
    """

    recordings: tuple[str, ...] = ()
    version_1_until_ms: int | None = None

    def to_value(self) -> dict[str, object]:
        """Return the fields that are encoded."""
        return {
            "recordings": list(self.recordings),
            "version_1_until_ms": self.version_1_until_ms,
        }

    @classmethod
    def take(cls, fields: Fields) -> BoxTerms:
        """Take the terms out of a map that may say more.

        Raises:
            MalformedMessage: they are not a box's terms.
        """
        return cls(
            tuple(
                require_name(camera, what="camera")
                for camera in fields.texts("recordings", max_items=MAX_RECORDINGS)
            ),
            fields.optional("version_1_until_ms", fields.integer),
        )

    @classmethod
    def from_value(cls, value: object) -> BoxTerms:
        """Read a decoded map of nothing else.

        Raises:
            MalformedMessage: it is not a box's terms.
        """
        fields = Fields(value, what="terms of a box")
        terms = cls.take(fields)
        fields.done()
        return terms
