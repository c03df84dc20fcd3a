"""An officer's request to the office to list a passkey: signed by their key file and by itself.

docs/protocol.md, "Directories". The file is ``[signed by key file, assertion]``, both over the same
bytes. So who brings it needs no trust: the first says whose the passkey shall be, the second that
they hold it, and that a browser used it at the page and domain that it states. What a browser says
of the authenticator's making (attestation) is not asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocol.directory import APPROVER, AUDITOR, INVESTIGATOR, Directory
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import (
    ClockSkew,
    MalformedMessage,
    PrincipalRevoked,
    SignatureInvalid,
    UnknownSigner,
)
from protocol.passkeys import MAX_ASSERTION_BYTES, Passkey
from protocol.signing import Signed, SigningKey, Unsigned

PASSKEY_KIND = "passkey"
OFFICERS = frozenset({INVESTIGATOR, APPROVER, AUDITOR})
MAX_OFFER_BYTES = 2 * MAX_ASSERTION_BYTES
LASTS_MS = 30 * 24 * 3_600_000
"""So old an offer may be: one of a passkey that was withdrawn since is not to turn up again."""
LEAD_MS = 5 * 60_000
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_PORTS = {"https": "443", "http": "80"}
_HERE = "localhost"


@dataclass(frozen=True, slots=True)
class PasskeyOffer:
    """What is signed: the passkey, of which site's officer, and when."""

    site: str
    passkey: Passkey
    made_at_ms: int

    def payload(self) -> bytes:
        """Encode what is signed."""
        return encode(
            {
                "v": PROTOCOL_VERSION,
                "site": self.site,
                "passkey": self.passkey.to_value(),
                "made_at_ms": self.made_at_ms,
            }
        )

    def unsigned(self, officer: str) -> Unsigned:
        """Return what the passkey and the key file of the officer of that name both sign."""
        return Unsigned(PASSKEY_KIND, officer, self.payload())

    def challenge_bytes(self, officer: str) -> bytes:
        """Return what the passkey has to sign (a browser is given its SHA-256)."""
        return self.unsigned(officer).challenge_bytes()

    def to_bytes(self, officer: SigningKey, assertion: bytes) -> bytes:
        """Return the file that goes to the office.

        Args:
            officer: their key file's key.
            assertion: the passkey's over `challenge_bytes` (`protocol.passkeys.encode_assertion`).
        """
        return offer_file(self.unsigned(officer.signer).by_key(officer), assertion)

    @classmethod
    def parse(cls, payload: bytes) -> PasskeyOffer:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not an offer, or of a page where no passkey can be.
        """
        fields = Fields(decode(payload, what="passkey offer"), what="passkey offer")
        fields.version()
        offer = cls(
            fields.name("site"),
            Passkey.from_value(fields.value("passkey")),
            fields.integer("made_at_ms"),
        )
        fields.done()
        check_page(offer.passkey)
        return offer


def offer_file(signed: Signed, assertion: bytes) -> bytes:
    """Return the file that goes to the office.

    Args:
        signed: the offer, by key file.
        assertion: the passkey's, over the same bytes.
    """
    return encode([signed.to_bytes(), assertion])


def check_page(passkey: Passkey) -> None:
    """Check that a browser could use a passkey of that domain at that page.

    Source: W3C, "Web Authentication", 5.1.3 step 8 and "effective domain".

    Raises:
        MalformedMessage: it says what is wrong.
    """
    page = _ORIGIN.fullmatch(passkey.origin)
    if page is None or int(page["port"] or 1) > 65_535 or page["port"] == _PORTS[page["scheme"]]:
        raise MalformedMessage(
            f"the passkey's origin '{passkey.origin}' is not exactly scheme, host and, where it is "
            "not the scheme's own, port, as in https://desk.example:8443"
        )
    host, rp_id = page["host"], passkey.rp_id
    if not all(_DOMAIN.fullmatch(name) for name in (host, rp_id)) or _is_address(rp_id):
        raise MalformedMessage(
            f"the passkey's RP id '{rp_id}' or its page's host '{host}' is no domain name"
        )
    if host != rp_id and not host.endswith(f".{rp_id}"):
        raise MalformedMessage(f"the passkey's RP id '{rp_id}' does not cover its page at '{host}'")
    if "." not in rp_id and rp_id != _HERE:
        raise MalformedMessage(f"the passkey's RP id '{rp_id}' would cover all pages of '{rp_id}'")
    if page["scheme"] == "http" and host != _HERE:
        raise MalformedMessage(f"a passkey works over https, or on this machine: not at '{host}'")


def open_offer(data: bytes, directory: Directory, *, now_ms: int) -> tuple[str, Passkey]:
    """Verify an offer; return whose it is, and the passkey.

    Args:
        data: the file, from anybody.
        directory: of the site, which lists the officer and their key.
        now_ms: the time.

    Raises:
        MalformedMessage: it is no offer, or its passkey can be none.
        UnknownSigner, PrincipalRevoked: nobody's who is an officer in force.
        SignatureInvalid: of another site, or key file or passkey did not sign this.
        ClockSkew: it is too old, or dated in the future.
    """
    value = decode(data, what="passkey offer", max_bytes=MAX_OFFER_BYTES, max_items=3)
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(part, bytes) for part in value)
    ):
        raise MalformedMessage("the file is no passkey offer: not [signed, assertion]")
    signed = Signed.parse(value[0], kind=PASSKEY_KIND, max_bytes=MAX_OFFER_BYTES)
    officer = directory.principals.get(signed.signer)
    if officer is None or not officer.duties & OFFICERS:
        raise UnknownSigner(f"the directory lists no officer '{signed.signer}'")
    if officer.revoked_at_ms is not None:
        raise PrincipalRevoked(f"'{signed.signer}' has been revoked")
    offer = PasskeyOffer.parse(signed.verify(lambda _name: officer.verify_key))
    if offer.site != directory.site:
        raise SignatureInvalid(f"the passkey is offered to site '{offer.site}'")
    if not now_ms - LASTS_MS <= offer.made_at_ms <= now_ms + LEAD_MS:
        raise ClockSkew(
            f"the passkey was offered more than {LASTS_MS // 86_400_000} days ago, or by a clock "
            "that is ahead: have the officer's desk write a new file"
        )
    offer.passkey.verify_bytes(value[1], offer.challenge_bytes(signed.signer))
    return signed.signer, offer.passkey


def _is_address(name: str) -> bool:
    return name.rpartition(".")[2].isdecimal()
