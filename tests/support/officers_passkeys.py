"""Officers' passkeys at their desks: a device for each, what it signs, a directory of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import protocol_samples as s
from authenticator import PRESENT, VERIFIED, assertion
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.about_queries import Approval
from protocol.directory import Directory
from protocol.passkeys import Passkey
from protocol.query import Query
from protocol.signing import Signed, Unsigned

PORT = 8765
ORIGIN = f"http://localhost:{PORT}"
RP_ID = "localhost"


@dataclass(frozen=True)
class Device:
    """An officer's authenticator, with a passkey for the desk's page."""

    officer: str
    origin: str = ORIGIN

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """Its private key, always the same."""
        secret = int.from_bytes(s.fixed(f"passkey of {self.officer}", 31), "big")
        return ec.derive_private_key(secret, ec.SECP256R1())

    @property
    def passkey(self) -> Passkey:
        """As the directory lists it."""
        public = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return Passkey(public, RP_ID, self.origin)

    def sign(
        self,
        unsigned: Unsigned,
        *,
        at: str = "",
        flags: int = PRESENT | VERIFIED,
        challenge: bytes | None = None,
    ) -> Signed:
        """Sign as a browser does.

        Args:
            at: another page's origin than the one that it is listed for.
            flags: of the authenticator.
            challenge: the bytes of another message.
        """
        message = unsigned.challenge_bytes() if challenge is None else challenge
        made = assertion(message, key=self.key, rp_id=RP_ID, flags=flags, origin=at or self.origin)
        return unsigned.by_assertion(made)


def with_passkeys(directory: Directory, *officers: str) -> Directory:
    """Return the directory in its second form, each officer's passkey listed."""
    principals = dict(directory.principals)
    for name in officers:
        principals[name] = replace(principals[name], passkeys=(Device(name).passkey,))
    return replace(directory, principals=principals, form=2)


def case_by_passkeys(
    query: Query, approvers: Sequence[str] = ("bo", "cy"), *, requester: str = "ana"
) -> s.Case:
    """Return a query and its approvals, each signed by passkey."""
    signed = Device(requester).sign(query.unsigned(requester))
    approvals = [
        Device(name).sign(Approval(signed.digest, s.POLICY.digest, s.NOW_MS).unsigned(name))
        for name in approvers
    ]
    return s.Case(signed, approvals)
