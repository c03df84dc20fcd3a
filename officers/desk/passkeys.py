"""An officer's passkeys: registered in the browser of this desk, offered to the office, listed.

A passkey signs in place of the key file once the site's directory lists it for this very page. The
browser makes it (`registered_passkey`); the officer offers it in a file that passkey and key file
both sign (`to_offer_passkey`, `offer_passkey`), and the office lists it from that file. No server
is believed in between.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from fido2.webauthn import AttestationObject, CollectedClientData

from officers.desk.officer import Officer
from officers.desk.phrases import phrase
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.passkey_offers import OFFICERS, PASSKEY_KIND, PasskeyOffer, check_page, offer_file
from protocol.passkeys import POINT_BYTES, Passkey
from protocol.signing import Signed, Unsigned
from runtime.clock import system_ms
from runtime.errors import OperationError

RP_ID = "localhost"
"""The domain of every desk's page; ports tell desks apart, and browsers do not."""
CHALLENGE_BYTES = 32
_MAX_BYTES = 65_536
_ES256, _P256 = -7, 1


class PasskeyInvalid(OperationError):
    """What the browser made is no passkey that the site could list."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A passkey that the directory in force lists; ``here``: for the page of this desk."""

    passkey: Passkey
    here: bool


def passkeys_of(officer: Officer, origin: str) -> tuple[Listed, ...]:
    """Return the officer's passkeys that the directory in force lists.

    Args:
        origin: of this desk.
    """
    entry = officer.directory.principals.get(officer.name)
    passkeys = () if entry is None else entry.passkeys
    return tuple(Listed(one, one.origin == origin) for one in passkeys)


def registered_passkey(
    attestation: bytes, client_data: bytes, *, challenge: bytes, origin: str
) -> tuple[Passkey, bytes]:
    """Read what a browser made when it was asked for a new passkey; return it and its id.

    Who made the authenticator is not asked for: the officer's key file vouches for the passkey.

    Args:
        attestation: the attestation object.
        client_data: the JSON as the browser gave it.
        challenge: that the browser was given.
        origin: of this desk's page.

    Raises:
        PasskeyInvalid: it was made for something else, without the officer verified, or is not
            ES256.
    """
    if len(attestation) > _MAX_BYTES or len(client_data) > _MAX_BYTES:
        raise PasskeyInvalid(phrase("what the browser made is too large for a passkey"))
    try:
        said = CollectedClientData(client_data)
        made = AttestationObject(attestation).auth_data
        credential = made.credential_data
        key = {} if credential is None else dict(credential.public_key)
    except Exception as error:  # whatever its parser makes of what a browser sent
        raise PasskeyInvalid(phrase("what the browser made is no passkey; try again")) from error
    asked = len(challenge) == CHALLENGE_BYTES and hmac.compare_digest(said.challenge, challenge)
    if said.type != CollectedClientData.TYPE.CREATE or not asked:
        raise PasskeyInvalid(
            phrase("the browser answered another question than was asked; try again")
        )
    rp_digest = hashlib.sha256(RP_ID.encode()).digest()
    if said.origin != origin or said.cross_origin or made.rp_id_hash != rp_digest:
        raise PasskeyInvalid(
            phrase(
                "the passkey was made for another page than this desk at {origin}", origin=origin
            )
        )
    if credential is None or not made.is_user_present() or not made.is_user_verified():
        raise PasskeyInvalid(
            phrase(
                "the passkey was made without verifying that it is you: it needs a PIN, a "
                "fingerprint or a face"
            )
        )
    if key.get(3) != _ES256 or key.get(-1) != _P256:
        raise PasskeyInvalid(
            phrase("the passkey signs by another way than ES256, which the site does not take")
        )
    try:
        public = b"\x04" + bytes(key[-2]) + bytes(key[-3])
        passkey = Passkey(public if len(public) == POINT_BYTES else b"", RP_ID, origin)
        check_page(passkey)
    except (KeyError, TypeError, ValueError, MalformedMessage) as error:
        raise PasskeyInvalid(phrase("what the browser made is no passkey; try again")) from error
    return passkey, bytes(credential.credential_id)


def to_offer_passkey(officer: Officer, passkey: Passkey) -> Unsigned:
    """Return what passkey and key file both sign, so that the office lists the passkey.

    Raises:
        PasskeyInvalid: it is listed already, or the officer signs nothing at this site.
    """
    entry = officer.directory.principals.get(officer.name)
    if entry is None or entry.revoked_at_ms is not None or not entry.duties & OFFICERS:
        raise PasskeyInvalid(
            phrase("the site's directory lists you as no officer in force, who could sign anything")
        )
    if passkey in entry.passkeys:
        raise PasskeyInvalid(phrase("the site's directory lists this passkey already"))
    offer = PasskeyOffer(officer.directory.site, passkey, system_ms())
    return offer.unsigned(officer.name)


def offer_passkey(officer: Officer, signed: Signed, assertion: bytes) -> bytes:
    """Return the file that the office lists the passkey from.

    Args:
        officer: whose passkey it is.
        signed: what `to_offer_passkey` made, signed by key file.
        assertion: of the passkey, over the same.

    Raises:
        SignatureInvalid: one of them did not sign this offer.
    """
    if signed.kind != PASSKEY_KIND or signed.signer != officer.name or signed.by_passkey:
        raise SignatureInvalid("the offer is not signed by the officer's key file")
    payload = signed.verify(lambda name: officer.directory.principals[name].verify_key)
    check_assertion(PasskeyOffer.parse(payload).passkey, signed, assertion)
    return offer_file(signed, assertion)


def check_assertion(passkey: Passkey, of: Unsigned | Signed, assertion: bytes) -> None:
    """Check that a passkey signed a message.

    Raises:
        SignatureInvalid: it did not.
    """
    unsigned = of if isinstance(of, Unsigned) else Unsigned(of.kind, of.signer, of.payload)
    passkey.verify_bytes(assertion, unsigned.challenge_bytes())
