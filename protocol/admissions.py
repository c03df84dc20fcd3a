"""Boxes that were admitted or revoked without the offline authority: the registrar's own list.

The site's authority is offline; cards are flashed and boxes stolen on any day. So the authority
names a **registrar** in the directory, whose signed list may add boxes and revoke boxes, and
nothing else: it can neither make an officer or a custodian nor touch what the authority listed,
except to revoke a box. Terms (`protocol.boxterms`) are the authority's to give, to admitted boxes
too: its directory states them by name. The list has a version that never goes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from protocol.boxterms import BoxTerms
from protocol.directory import (
    BOX,
    MAX_PRINCIPALS,
    REGISTRAR,
    Directory,
    Principal,
)
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import DirectoryRollback, MalformedMessage, SignatureInvalid
from protocol.names import require_name
from protocol.signing import Signed, SigningKey, sign

ADMISSIONS_KIND = "admissions"


@dataclass(frozen=True, slots=True)
class Admissions:
    """The registrar's list: boxes by name, and when boxes (listed anywhere) were revoked."""

    site: str
    version: int
    issued_at_ms: int
    boxes: Mapping[str, Principal]
    revoked_at_ms: Mapping[str, int]

    def sign(self, registrar: SigningKey) -> Signed:
        """Sign as the registrar."""
        payload = {
            "v": PROTOCOL_VERSION,
            "site": self.site,
            "version": self.version,
            "issued_at_ms": self.issued_at_ms,
            "boxes": [self.boxes[name].to_value() for name in sorted(self.boxes)],
            "revoked": dict(self.revoked_at_ms),
        }
        return sign(ADMISSIONS_KIND, encode(payload), registrar)

    @classmethod
    def parse(cls, payload: bytes) -> Admissions:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a list of admissions, or lists others than boxes.
        """
        fields = Fields(decode(payload, what="admissions"), what="admissions")
        fields.version()
        site = fields.name("site")
        version = fields.integer("version", low=1)
        issued_at_ms = fields.integer("issued_at_ms")
        listed = [
            Principal.from_value(value) for value in fields.array("boxes", max_items=MAX_PRINCIPALS)
        ]
        revoked = fields.mapping("revoked", max_items=MAX_PRINCIPALS)
        fields.done()
        boxes = {box.name: box for box in listed}
        if len(boxes) != len(listed) or any(box.duties != {BOX} for box in listed):
            raise MalformedMessage("admissions list boxes alone, each once")
        if not all(isinstance(at, int) and not isinstance(at, bool) for at in revoked.values()):
            raise MalformedMessage("a revocation has no time")
        for name in revoked:
            require_name(name, what="a revoked box")
        return cls(site, version, issued_at_ms, boxes, revoked)

    def apply(self, directory: Directory) -> Directory:
        """Return ``directory`` with these boxes in it and the revoked ones revoked.

        What the authority listed stays as it is: a box of the same name, or a camera that a box in
        force speaks for already, is not taken from the registrar. Only boxes are revoked. A box in
        force has a key that nobody else has or had: neither an officer's, nor a revoked box's. An
        admitted box is on the terms that the directory states for its name, on none without.
        """
        principals = dict(directory.principals)
        for name, at_ms in self.revoked_at_ms.items():
            principal = principals.get(name)
            if principal is not None and principal.duties == {BOX}:
                at = principal.revoked_at_ms or at_ms
                principals[name] = replace(principal, revoked_at_ms=at)
        taken = {
            camera
            for principal in principals.values()
            if principal.revoked_at_ms is None
            for camera in principal.cameras
        }
        keys = {principal.verify_key for principal in principals.values()}
        keys |= {box.verify_key for box in self.boxes.values() if self._revoked(box) is not None}
        for name, box in sorted(self.boxes.items()):
            revoked_at_ms = self._revoked(box)
            if name in principals:
                continue
            if revoked_at_ms is None and (taken & set(box.cameras) or box.verify_key in keys):
                continue
            keys.add(box.verify_key)
            terms = directory.admitted.get(name, BoxTerms())
            principals[name] = replace(box.on(terms), revoked_at_ms=revoked_at_ms)
            if revoked_at_ms is None:
                taken |= set(box.cameras)
        return directory.listing(principals)

    def _revoked(self, box: Principal) -> int | None:
        return self.revoked_at_ms.get(box.name, box.revoked_at_ms)


def open_admissions(
    data: bytes, directory: Directory, *, newest: Admissions | None = None, kept: bool = False
) -> Admissions:
    """Verify and read a registrar's list.

    Args:
        directory: the authority's own, which names the registrar.
        newest: the newest list seen so far, if any.
        kept: it was believed before and kept by ourselves: then it counts although its registrar
            has been revoked since, so that no revocation in it is forgotten at a restart.

    Raises:
        SignatureInvalid: not signed by the registrar in force, or of another site.
        DirectoryRollback: older than ``newest``.
    """
    signed = Signed.parse(data, kind=ADMISSIONS_KIND)
    resolve = directory.historic_resolver(REGISTRAR) if kept else directory.resolver(REGISTRAR)
    admissions = Admissions.parse(signed.verify(resolve))
    if admissions.site != directory.site:
        raise SignatureInvalid(f"the admissions are of site '{admissions.site}'")
    if newest is not None and admissions.version < newest.version:
        raise DirectoryRollback(
            f"admissions version {admissions.version} is older than version {newest.version}"
        )
    return admissions
