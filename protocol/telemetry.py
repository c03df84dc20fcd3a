"""What boxes and the aggregator tell each other beside envelopes: health reports and receipts.

A **receipt** tells a board what the aggregator has stored, so that the board may forget it; what
a receipt does not cover is kept and sent again, even if the broker had acknowledged it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import MalformedMessage
from protocol.names import CameraAddress
from protocol.signing import Signed, SigningKey, sign

RECEIPT_KIND, HEALTH_KIND = "receipt", "health"
MAX_MISSING = 1024
MAX_STORED_THROUGH = 2**62  # so that a box can count on from it
ONLINE, OFFLINE = "online", "offline"


@dataclass(frozen=True, slots=True)
class Receipt:
    """All sequence numbers up to ``stored_through`` are stored, but for the ``missing`` ones.

    ``stored_through`` is -1 when nothing is stored yet.
    """

    address: CameraAddress
    stored_through: int
    missing: tuple[int, ...]
    issued_at_ms: int

    def sign(self, aggregator: SigningKey) -> Signed:
        """Sign as the aggregator."""
        payload = {
            "v": PROTOCOL_VERSION,
            "site": self.address.site,
            "box": self.address.box,
            "camera": self.address.camera,
            "stored_through": self.stored_through,
            "missing": list(self.missing),
            "issued_at_ms": self.issued_at_ms,
        }
        return sign(RECEIPT_KIND, encode(payload), aggregator)

    @classmethod
    def parse(cls, payload: bytes) -> Receipt:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a receipt.
        """
        fields = Fields(decode(payload, what="receipt"), what="receipt")
        fields.version()
        address = CameraAddress(fields.text("site"), fields.text("box"), fields.text("camera"))
        stored_through = fields.integer("stored_through", low=-1, high=MAX_STORED_THROUGH)
        missing = fields.array("missing", max_items=MAX_MISSING)
        issued_at_ms = fields.integer("issued_at_ms")
        fields.done()
        if not all(
            isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= stored_through
            for n in missing
        ):
            raise MalformedMessage("a receipt misses what it does not cover")
        return cls(address, stored_through, tuple(missing), issued_at_ms)


@dataclass(frozen=True, slots=True)
class Health:
    """A box's report: state, its clock, figures by name (fps, queue depth, dropped, ...).

    Figures are counts, rates and temperatures only; nothing about what was seen.
    """

    site: str
    box: str
    state: str
    reported_at_ms: int
    version: str
    figures: Mapping[str, float]

    def sign(self, board: SigningKey) -> Signed:
        """Sign as the board."""
        payload = {
            "v": PROTOCOL_VERSION,
            "site": self.site,
            "state": self.state,
            "reported_at_ms": self.reported_at_ms,
            "version": self.version,
            "figures": dict(self.figures),
        }
        return sign(HEALTH_KIND, encode(payload), board)

    @classmethod
    def parse(cls, payload: bytes, *, box: str) -> Health:
        """Read a verified payload signed by ``box``.

        Raises:
            MalformedMessage: it is not a health report.
        """
        fields = Fields(decode(payload, what="health", max_bytes=65_536), what="health")
        fields.version()
        site = fields.name("site")
        state = fields.choice("state", frozenset({ONLINE, OFFLINE}))
        reported_at_ms = fields.integer("reported_at_ms")
        version = fields.text("version")
        figures = fields.mapping("figures", max_items=512)
        fields.done()
        if not all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in figures.values()
        ):
            raise MalformedMessage("a health figure is not a number")
        return cls(site, box, state, reported_at_ms, version, figures)
