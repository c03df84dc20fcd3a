"""Whom a claim lets in: the checks between a claim, a box's record and the directory in force."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.directory import BOX, Directory
from protocol.signing import VerifyKey
from provisioning.formats.errors import (
    BoxRefused,
    ClaimExpired,
    ClaimUnknown,
    ClaimUsed,
    RegistrarError,
)
from provisioning.formats.plan import RESERVED_NAMES
from provisioning.registrar.store import BoxRecord, Claim, Store


def digest_of(claim: bytes) -> bytes:
    """Return what is kept of a claim."""
    return hashlib.sha256(claim).digest()


def binding(request_key: ec.EllipticCurvePublicKey, identity: VerifyKey) -> bytes:
    """Return what a used claim is bound to: a TLS key and an identity key, together."""
    point = request_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return hashlib.sha256(point + identity.raw).digest()


def known_claim(store: Store, claim: bytes, box: str) -> Claim:
    """Return what is kept of a claim, whether or not it still lets somebody in.

    Raises:
        ClaimUnknown: it was not made here for ``box``, or a newer one replaced it.
    """
    found = store.claim(digest_of(claim))
    if found is None or not hmac.compare_digest(found.box.encode(), box.encode()):
        raise ClaimUnknown(
            f"this is not a claim of box '{box}' (or a newer one replaced it); make a new one at"
            f" headquarters with `sealtrace box claim DIR {box}`, and give it to the box"
        )
    return found


def check_claim(
    store: Store, claim: bytes, box: str, bound: bytes, *, now_ms: int, retry_ms: int
) -> Claim:
    """Return the claim, to be used now, or used already by the very same keys (``certificate``).

    Raises:
        ClaimUnknown, ClaimExpired, ClaimUsed: it lets nobody in.
    """
    found = known_claim(store, claim, box)
    if found.used_ms is not None and found.bound is not None:
        again = now_ms - found.used_ms <= retry_ms and hmac.compare_digest(found.bound, bound)
        if again:
            return found
        raise ClaimUsed(
            f"a box was admitted as '{box}' with this claim already; if it was not this one, revoke"
            f" it at once (`sealtrace box revoke DIR {box}`) and make a claim under a new name"
        )
    if now_ms >= found.expires_ms:
        raise ClaimExpired(
            f"the claim of box '{box}' has expired; make a new one at headquarters with"
            f" `sealtrace box claim DIR {box}`, and give it to the box"
        )
    return found


def check_box(record: BoxRecord | None, box: str, key: VerifyKey, directory: Directory) -> None:
    """Check that ``box`` may be admitted under ``key``.

    Raises:
        BoxRefused: it is revoked, or the name, the key or a camera is another's.
    """
    if record is None:
        raise BoxRefused(f"no box '{box}' was announced; `sealtrace box claim DIR {box}` does")
    if record.revoked_ms is not None:
        raise BoxRefused(f"box '{box}' has been revoked; claim its replacement under a new name")
    principal = directory.principals.get(box)
    known = record.verify_key if record.verify_key is not None else None
    if principal is not None:
        if principal.duties != {BOX} or principal.revoked_at_ms is not None:
            raise BoxRefused(f"the site's directory has '{box}' as revoked or as no box")
        known = principal.verify_key.raw
    if known is not None and not hmac.compare_digest(known, key.raw):
        raise BoxRefused(
            f"box '{box}' is in the site with another key; if its disk was lost, put a new box in"
            f" its place: sealtrace box swap DIR {box} NEWNAME"
        )
    for name, other in directory.principals.items():
        if name != box and hmac.compare_digest(other.verify_key.raw, key.raw):
            raise BoxRefused("this identity key is in the site under another name already")
    check_cameras(box, record.camera_names, directory)


def check_cameras(box: str, cameras: tuple[str, ...], directory: Directory) -> None:
    """Check that no other box in force speaks for one of ``cameras``.

    Raises:
        BoxRefused: one does.
    """
    for other in directory.with_duty(BOX):
        taken = sorted(set(other.cameras) & set(cameras))
        if other.name != box and taken:
            raise BoxRefused(
                f"camera '{taken[0]}' is on box '{other.name}'; to move it to a new box use"
                f" `sealtrace box swap DIR {other.name} {box}`, or choose another name"
            )


def check_name(box: str, directory: Directory, record: BoxRecord | None) -> None:
    """Check that a claim may be made for a box of this name.

    Raises:
        RegistrarError: the name is reserved, revoked, or another principal's.
    """
    principal = directory.principals.get(box)
    if box in RESERVED_NAMES or (principal is not None and principal.duties != {BOX}):
        raise RegistrarError(f"'{box}' is not free for a box; choose another name")
    revoked = principal is not None and principal.revoked_at_ms is not None
    if revoked or (record is not None and record.revoked_ms is not None):
        raise RegistrarError(
            f"'{box}' has been revoked, and what it once signed must stay its own; choose a new"
            " name"
        )
    if principal is not None and record is None:
        raise RegistrarError(
            f"'{box}' is in the site already, added by the authority; to replace it use"
            f" `sealtrace box swap DIR {box} NEWNAME`"
        )
