"""A custodian's signed day keys: one sealing key a UTC day, published ahead, destroyed after it.

docs/protocol.md, "Keys of a camera's day", points 2 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol import hpke
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import MalformedMessage
from protocol.signing import Signed, SigningKey, sign

DAY_KEYS_KIND = "day-keys"
MAX_DAYS = 64


@dataclass(frozen=True, slots=True)
class DayKeys:
    """The public keys of ``custodian``, epoch to key, as it announced them."""

    site: str
    custodian: str
    issued_at_ms: int
    keys: Mapping[int, hpke.PublicKey]

    def sign(self, key: SigningKey) -> Signed:
        """Sign as the custodian."""
        payload = {
            "v": PROTOCOL_VERSION,
            "site": self.site,
            "issued_at_ms": self.issued_at_ms,
            "keys": [[epoch, self.keys[epoch].raw] for epoch in sorted(self.keys)],
        }
        return sign(DAY_KEYS_KIND, encode(payload), key)

    @classmethod
    def parse(cls, payload: bytes, *, custodian: str) -> DayKeys:
        """Read a verified payload of ``custodian``.

        Raises:
            MalformedMessage: it is not a list of day keys.
        """
        fields = Fields(decode(payload, what="day keys"), what="day keys")
        fields.version()
        site = fields.name("site")
        issued_at_ms = fields.integer("issued_at_ms")
        keys: dict[int, hpke.PublicKey] = {}
        for item in fields.array("keys", max_items=MAX_DAYS):
            if (
                not isinstance(item, list)
                or len(item) != 2
                or not isinstance(item[0], int)
                or isinstance(item[0], bool)
                or not isinstance(item[1], bytes)
                or item[0] in keys
            ):
                raise MalformedMessage("a day key is not [epoch, key]")
            keys[item[0]] = hpke.PublicKey(item[1])
        fields.done()
        return cls(site, custodian, issued_at_ms, keys)
