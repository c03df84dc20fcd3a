"""Hold what an officer has signed against what was shown, before it is handed in.

Signing is apart from making (`Unsigned`) and from handing in, since a browser's passkey signs in
between: what comes back is believed as others will believe it, by the directory alone.
"""

from __future__ import annotations

import hmac

from officers.desk.officer import Officer
from protocol.errors import SignatureInvalid
from protocol.signing import Signed


def check_own(officer: Officer, signed: Signed, kind: str, duty: str) -> bytes:
    """Verify that this officer signed a message of ``kind``, by any credential in the directory.

    Returns:
        the payload.

    Raises:
        SignatureInvalid: somebody else's, of another kind, or by no credential that is listed.
        UnknownSigner, PrincipalRevoked: the officer lacks the duty, or has been revoked.
    """
    if signed.kind != kind or signed.signer != officer.name:
        raise SignatureInvalid(
            f"what was signed is not the {kind} of '{officer.name}' that was shown; nothing is "
            "handed in: begin anew"
        )
    return signed.verify(officer.directory.resolver(duty))


def check_same(shown: bytes, signed: bytes, what: str) -> None:
    """Check that what was signed is about what was shown.

    Args:
        shown, signed: what stands for each: a digest, an id, the whole payload.
        what: in the error, such as "query".

    Raises:
        SignatureInvalid: it is about something else.
    """
    if not hmac.compare_digest(shown, signed):
        raise SignatureInvalid(
            f"what was signed is about another {what} than was shown; nothing is handed in: begin "
            "anew"
        )
