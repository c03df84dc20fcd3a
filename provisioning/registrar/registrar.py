"""The registrar at work: decides whom it claims, admits once, renews and revokes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.directory import BOX, REGISTRAR, Directory, Principal
from protocol.directory_forms import FIRST
from protocol.errors import ProtocolError
from protocol.joining import BoxIdentity
from protocol.signing import SigningKey, VerifyKey
from provisioning.formats import est
from provisioning.formats.claimfile import ClaimFile, moment, new_claim
from provisioning.formats.errors import BoxRefused, RegistrarError, RequestInvalid
from provisioning.registrar import claims
from provisioning.registrar.config import RegistrarConfig
from provisioning.registrar.issuer import Issuer
from provisioning.registrar.keys import Keys
from provisioning.registrar.store import ADMISSIONS, Store
from runtime.clock import system_ms
from runtime.fsio import FileProblem, private_folder
from runtime.trust import Trust, TrustError

_log = structlog.get_logger()


class Registrar:
    """All that the service and the commands beside it do; without keys only what needs none.

    Args:
        keys: None where nothing has to be signed (making claims, listing).
    """

    def __init__(
        self,
        config: RegistrarConfig,
        keys: Keys | None,
        *,
        now_ms: Callable[[], int] = system_ms,
    ) -> None:
        """Open the database and the directory.

        Raises:
            TrustError: the directory cannot be used.
            StorageError: the database cannot be opened.
            RegistrarError: the directory does not know this registrar.
        """
        self.config = config
        self._now_ms = now_ms
        private_folder(config.state_dir)
        self.trust = Trust(
            site=config.site,
            authority=config.authority_key,
            installed=config.directory,
            state_dir=config.state_dir,
        )
        self.store = Store(config.database)
        self.issuer = Issuer(config, keys, self.store, self.trust, now_ms)
        self._installed_ns = 0
        if keys is not None:
            self._require_us(keys.identity)
        self.sync()

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    @property
    def directory(self) -> Directory:
        """The directory in force, with the newest admissions that the database holds."""
        self.sync()
        return self.trust.directory

    @property
    def signed_admissions(self) -> bytes | None:
        """The newest admissions that the database holds, as signed; None before the first."""
        self.sync()
        return self.trust.signed_admissions

    def status(self) -> dict[str, object]:
        """Return what `sealtrace registrar status` shows."""
        return {
            "site": self.config.site,
            "directory_version": self.directory.version,
            "admissions_version": self.trust.admissions_version,
            **self.counts(),
        }

    def counts(self) -> dict[str, int]:
        """Return how many boxes were announced here, are waited for, and were revoked."""
        boxes = self.store.boxes()
        return {
            "boxes": len(boxes),
            "waiting": sum(self.store.open_claim(box.name) is not None for box in boxes),
            "revoked": len(self.store.revocations()),
        }

    def sync(self) -> None:
        """Take in what others have signed: a command beside the service, the site's authority."""
        self._read_installed()
        found = self.store.document(ADMISSIONS)
        if found is not None and found[0] > self.trust.admissions_version:
            try:
                self.trust.accept(found[1])
            except FileProblem as error:
                _log.warning("admissions_not_copied", reason=str(error))

    def _read_installed(self) -> None:
        """Take in a newer directory that `sealtrace site` has put beside the configuration."""
        try:
            changed_ns = self.config.directory.stat().st_mtime_ns
        except OSError:
            return
        if changed_ns == self._installed_ns:
            return
        self._installed_ns = changed_ns
        try:
            self.trust.reload()
        except TrustError as error:
            _log.info("installed_directory_left_aside", reason=str(error))

    # ------------------------------------------------------------------ claims

    def claim(
        self,
        box: str,
        cameras: Sequence[Mapping[str, Any]],
        *,
        settings: Mapping[str, Any] | None = None,
        hours: int | None = None,
        station: bool = False,
    ) -> ClaimFile:
        """Announce a box and make its one-time claim; earlier unused claims of it are void.

        Args:
            cameras: its cameras' tables (``name``, ``source``, ...); those known, when empty.
            station: it is an import station, which has no cameras.

        Raises:
            RegistrarError: the name or a camera is taken, or no camera is known of what is no
                import station.
        """
        with self.store.changing():
            return self._claim(box, cameras, settings, hours, self.directory, station=station)

    def _claim(
        self,
        box: str,
        cameras: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Any] | None,
        hours: int | None,
        directory: Directory,
        *,
        station: bool,
    ) -> ClaimFile:
        record = self.store.box(box)
        claims.check_name(box, directory, record)
        tables = [dict(camera) for camera in cameras] or list(record.cameras if record else ())
        if station and tables:
            raise RegistrarError(f"box '{box}' has cameras: it is no import station (--station)")
        if not tables and record is None and not station:
            raise RegistrarError(
                f"box '{box}' needs a camera: add --camera NAME=URL, or --station for an import"
                " station"
            )
        names = tuple(str(table["name"]) for table in tables)
        if len(set(names)) != len(names):
            raise RegistrarError(f"box '{box}' names a camera twice")
        claims.check_cameras(box, names, directory)
        for other in self.store.boxes():
            waiting = other.name != box and self.store.open_claim(other.name) is not None
            if waiting and set(other.camera_names) & set(names):
                raise RegistrarError(
                    f"camera '{sorted(set(other.camera_names) & set(names))[0]}' is claimed for box"
                    f" '{other.name}', which was not admitted yet; revoke that box, or choose"
                    " another name for the camera"
                )
        kept = dict(settings) if settings is not None else (record.settings if record else {})
        now_ms = self._now_ms()
        expires_ms = now_ms + 3_600_000 * (hours or self.config.claims.hours)
        claim, us = new_claim(), directory.principals.get(self.config.name)
        self.store.put_box(box, tables, kept, claimed_ms=now_ms)
        self.store.put_claim(claims.digest_of(claim), box, expires_ms=expires_ms)
        _log.info("box_claimed", box=box, cameras=names)
        return ClaimFile(
            site=self.config.site,
            box=box,
            url=self.config.url,
            authority=self.config.authority,
            claim=claim.hex(),
            expires_at=moment(expires_ms),
            ca=self.issuer.root_pem(),
            directory_version=self.trust.directory.version,
            directory_digest=hashlib.sha256(self.trust.readable_in(FIRST)).hexdigest(),
            admissions_version=self.trust.admissions_version,
            registrar=us.verify_key.raw.hex() if us else "",
            made_at=moment(now_ms),
        )

    # ------------------------------------------------------------------ admission

    def admit(self, box: str, claim: bytes, request: bytes, proof: bytes) -> x509.Certificate:
        """Let a box in, once: admit its key and issue its certificate.

        The same box (both keys the same) may ask again for some minutes and gets the same answer.

        Args:
            request: PKCS #10, DER.
            proof: `BoxIdentity`, signed.

        Raises:
            RegistrarRefused: with what is wrong and what to do.
        """
        claims.known_claim(self.store, claim, box)  # before anything that a stranger sent is read
        request_key = est.read_request(request, box=box)
        identity = self._proven(box, request, proof)
        bound = claims.binding(request_key, identity)
        now_ms = self._now_ms()
        retry_ms = 60_000 * self.config.claims.retry_minutes
        with self.store.changing():
            found = claims.check_claim(
                self.store, claim, box, bound, now_ms=now_ms, retry_ms=retry_ms
            )
            record = self.store.box(box)
            claims.check_box(record, box, identity, self.directory)
            if found.certificate is not None:
                _log.info("box_asked_again", box=box)
                return x509.load_der_x509_certificate(found.certificate)
            certificate = self.issuer.certify(box, request_key)
            self.store.use_claim(
                claims.digest_of(claim),
                at_ms=now_ms,
                bound=bound,
                certificate=certificate.public_bytes(Encoding.DER),
            )
            if record is not None and record.verify_key is None:
                self.store.admit(box, identity.raw, at_ms=now_ms)
                self.issuer.sign_admissions()
        self.sync()
        _log.info("box_admitted", box=box, key=identity.fingerprint)
        return certificate

    def renew(self, box: str, fingerprint: str, request: bytes, proof: bytes) -> x509.Certificate:
        """Issue a box in force, which has shown its certificate, a new one.

        Args:
            fingerprint: SHA-256 (hex) of the certificate that it showed.

        Raises:
            RegistrarRefused: with what is wrong and what to do.
        """
        principal = self.require_box(box)
        held = self.store.certificates(box)
        if any(one.fingerprint == fingerprint and one.revoked_ms is not None for one in held):
            raise BoxRefused(f"this certificate of '{box}' has been revoked")
        request_key = est.read_request(request, box=box)
        if self._proven(box, request, proof) != principal.verify_key:
            raise RequestInvalid(f"the proof of identity is not under the key of '{box}'")
        with self.store.changing():
            certificate = self.issuer.certify(box, request_key)
        _log.info("certificate_renewed", box=box, until=str(certificate.not_valid_after_utc))
        return certificate

    def require_box(self, box: str) -> Principal:
        """Return a box in force.

        Raises:
            BoxRefused: it is revoked, or the site has none of that name.
        """
        try:
            return self.directory.require(box, BOX)
        except ProtocolError as error:
            raise BoxRefused(f"{error}: it gets neither certificate nor configuration") from error

    def configuration(self, box: str) -> bytes:
        """Return the signed configuration of a box in force.

        Raises:
            BoxRefused: it is not in force, or nobody has announced its cameras here.
        """
        self.require_box(box)
        record = self.store.box(box)
        if record is None:
            raise BoxRefused(
                f"'{box}' was added by the site's authority: its configuration is in the folder"
                " made for it, not here"
            )
        return self.issuer.configuration(record)

    def time(self, nonce: bytes) -> bytes:
        """Return what time it is, signed for whoever drew ``nonce``, known or not."""
        return self.issuer.time(nonce)

    # ------------------------------------------------------------------ revocation

    def revoke(self, box: str) -> bool:
        """Revoke a box, its certificates and claims; tell whether that was new.

        Raises:
            RegistrarError: the site has no such box.
        """
        with self.store.changing():
            return self._revoke(box)

    def swap(
        self,
        old: str,
        new: str,
        cameras: Sequence[Mapping[str, Any]] = (),
        *,
        hours: int | None = None,
    ) -> ClaimFile:
        """Revoke ``old`` and claim ``new`` in its place, with its cameras and settings.

        Args:
            cameras: tables of those cameras whose source is not known here.

        Raises:
            RegistrarError: ``old`` is no box, ``new`` is taken, or a source is unknown.
        """
        with self.store.changing():
            directory = self.directory
            record, principal = self.store.box(old), directory.principals.get(old)
            if record is None and (principal is None or BOX not in principal.duties):
                raise self._no_box(old)
            names = record.camera_names if record else principal.cameras if principal else ()
            tables = {str(c["name"]): dict(c) for c in (record.cameras if record else ())}
            tables |= {str(camera["name"]): dict(camera) for camera in cameras}
            if missing := [name for name in names if name not in tables]:
                raise RegistrarError(
                    f"nobody here knows where the cameras of '{old}' are; add"
                    + "".join(f" --camera {name}=URL" for name in missing)
                )
            self._revoke(old)
            without = directory
            if principal is not None:
                without = directory.revoke(old, at_ms=self._now_ms())
            return self._claim(
                new,
                [tables[name] for name in names],
                record.settings if record else None,
                hours,
                without,
                station=not names,
            )

    def _revoke(self, box: str) -> bool:
        principal, record = self.directory.principals.get(box), self.store.box(box)
        if record is None and (principal is None or BOX not in principal.duties):
            raise self._no_box(box)
        if not self.store.revoke(box, at_ms=self._now_ms()):
            return False
        self.issuer.sign_admissions()
        self.issuer.sign_crl()
        _log.info("box_revoked", box=box)
        return True

    # ------------------------------------------------------------------ inside

    def _no_box(self, name: str) -> RegistrarError:
        known = {p.name for p in self.directory.with_duty(BOX)}
        known |= {record.name for record in self.store.boxes()}
        return RegistrarError(
            f"the site has no box '{name}'; it has: {', '.join(sorted(known)) or 'none yet'}"
        )

    def _require_us(self, identity: SigningKey) -> None:
        try:
            listed = self.trust.directory.require(identity.signer, REGISTRAR)
        except ProtocolError as error:
            raise RegistrarError(f"{error}; install the site's newest directory") from error
        if listed.verify_key != identity.verify_key:
            raise RegistrarError(
                f"the directory knows '{identity.signer}' by another key; install this site's own"
                " identity"
            )

    def _proven(self, box: str, request: bytes, proof: bytes) -> VerifyKey:
        try:
            opened = BoxIdentity.open(proof, site=self.config.site, box=box, request=request)
        except ProtocolError as error:
            raise RequestInvalid(f"the proof of the box's identity: {error}") from error
        return opened.verify_key
