"""A custodian's signed day keys: one sealing key a UTC day, published ahead, destroyed after it.

docs/protocol.md, "Keys of a camera's day", points 2 and 6. The first form lists what boxes seal to
as they see; the second lists past days within retention besides, for films of those days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol import hpke
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage, UnsupportedVersion
from protocol.signing import Signed, SigningKey, sign

DAY_KEYS_KIND = "day-keys"
MAX_DAYS = 64
MAX_DAYS_OF = {1: MAX_DAYS, 2: 128}
"""By form; the second has room for the longest retention and what lies ahead."""


@dataclass(frozen=True, slots=True)
class DayKeys:
    """The public keys of ``custodian``, epoch to key, as it announced them in that form."""

    site: str
    custodian: str
    issued_at_ms: int
    keys: Mapping[int, hpke.PublicKey]
    form: int = 1

    def sign(self, key: SigningKey) -> Signed:
        """Sign as the custodian."""
        payload = {
            "v": self.form,
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
            UnsupportedVersion: it is of a form to come.
        """
        fields = Fields(decode(payload, what="day keys"), what="day keys")
        form = fields.integer("v")
        if form not in MAX_DAYS_OF:
            raise UnsupportedVersion(
                f"the day keys are of form {form}, and this machine reads {max(MAX_DAYS_OF)} at "
                "most: it needs its update"
            )
        site = fields.name("site")
        issued_at_ms = fields.integer("issued_at_ms")
        keys: dict[int, hpke.PublicKey] = {}
        for item in fields.array("keys", max_items=MAX_DAYS_OF[form]):
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
        return cls(site, custodian, issued_at_ms, keys, form)
