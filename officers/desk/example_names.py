"""The name of a sighting in one word, for an officer to write, and to read before signing."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from officers.desk.option_labels import EXAMPLE
from officers.desk.phrases import phrase
from officers.desk.subjects import DraftInvalid
from protocol.errors import MalformedMessage
from protocol.names import SightingName, epoch_of, slot_of, slot_start_ms

_WRITE = phrase(
    "write BOX/CAMERA/QUARTER-HOUR/GENERATION/ID, as in "
    "box-1/cam-1/2031-05-04T10:15Z/7/00a1b2c3d4e5f607"
)
_NAME = re.compile(
    r"(?P<box>[^/]+)/(?P<camera>[^/]+)/(?P<moment>[0-9TZ:-]+)/(?P<generation>[0-9]{1,15})"
    r"/(?P<id>[0-9a-f]{16})"
)
_MOMENT = "%Y-%m-%dT%H:%MZ"


def parse_example(text: str) -> SightingName:
    """Read the name of a sighting as `example_text` writes it.

    Raises:
        DraftInvalid: it is none.
    """
    match = _NAME.fullmatch(text.strip())
    try:
        if match is not None:
            begins = datetime.strptime(match["moment"], _MOMENT).replace(tzinfo=UTC)
            begins_ms = int(begins.timestamp()) * 1000
            epoch, slot = epoch_of(begins_ms), slot_of(begins_ms)
            sighting = bytes.fromhex(match["id"])
            value = [match["box"], match["camera"], epoch, int(match["generation"]), slot, sighting]
            if slot_start_ms(epoch, slot) == begins_ms:
                return SightingName.from_value(value)
    except (ValueError, MalformedMessage) as error:
        raise DraftInvalid(
            phrase(
                "{example_field}: {text!r} names no sighting: {error}; {write}",
                example_field=EXAMPLE,
                text=text,
                error=error,
                write=_WRITE,
            )
        ) from error
    raise DraftInvalid(
        phrase(
            "{example_field}: {text!r} names no sighting; {write}",
            example_field=EXAMPLE,
            text=text,
            write=_WRITE,
        )
    )


def example_text(name: SightingName) -> str:
    """Return the name of a sighting in one word, with its quarter hour's beginning in UTC."""
    begins = datetime.fromtimestamp(slot_start_ms(name.epoch, name.slot) / 1000, UTC)
    return f"{name.box}/{name.camera}/{begins:{_MOMENT}}/{name.generation}/{name.sighting_id.hex()}"
