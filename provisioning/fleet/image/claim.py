"""What a claim must be before it goes into an image: in time, that box's, and without any key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from provisioning.fleet.image.errors import ClaimUnusable
from provisioning.formats.claimfile import ClaimFile, load_claim
from provisioning.formats.pki import UNREADABLE


def read_claim(path: Path, *, box: str | None = None, now: datetime | None = None) -> ClaimFile:
    """Read a claim file and check that ``box`` could join with it at ``now``.

    The certificates are re-encoded: nothing that stands around them in the file, such as a key
    that was pasted along, gets into the image.

    Raises:
        ClaimUnusable: it is another box's, used, has run out, or holds no certificate.
        ConfigError: it is not a claim file.
    """
    claim = load_claim(path)
    if box is not None and box != claim.box:
        raise ClaimUnusable(
            f"{path} is the claim of box '{claim.box}', not of '{box}'; use that box's claim file, "
            "or make one with `sealtrace box claim`"
        )
    if not claim.claim:
        raise ClaimUnusable(
            f"{path} has been used: the claim is no longer in it; make a new one with "
            "`sealtrace box claim`"
        )
    if (now or datetime.now(UTC)) >= claim.expires_at:
        raise ClaimUnusable(
            f"the claim of '{claim.box}' ran out at {claim.expires_at:%Y-%m-%d %H:%M} UTC; make a "
            "new one with `sealtrace box claim`"
        )
    try:
        found = x509.load_pem_x509_certificates(claim.ca.encode())
    except UNREADABLE:
        raise ClaimUnusable(
            f"{path} holds no CA certificate in PEM form; make it again with `sealtrace box claim`"
        ) from None
    pem = "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in found)
    return claim.model_copy(update={"ca": pem})
