"""What the registrar signs: boxes' certificates and configurations, admissions, revocations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.admissions import Admissions
from protocol.directory import BOX, Principal
from protocol.directory_forms import FIRST
from protocol.joining import BoxConfiguration, RegistrarTime
from protocol.signing import VerifyKey
from provisioning.formats import pki
from provisioning.formats.claimfile import moment
from provisioning.formats.errors import RegistrarError
from provisioning.registrar.config import RegistrarConfig
from provisioning.registrar.keys import Keys
from provisioning.registrar.store import ADMISSIONS, CRL, BoxRecord, Certificate, Store
from runtime.fsio import read_file
from runtime.trust import Trust

_MAX_PEM = 1 << 20


class Issuer:
    """Signs what the database says, and keeps there what it signed; it decides nothing.

    Args:
        keys: None where nothing is to be signed: then what needs them is refused.
    """

    def __init__(
        self,
        config: RegistrarConfig,
        keys: Keys | None,
        store: Store,
        trust: Trust,
        now_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._keys = keys
        self._store = store
        self._trust = trust
        self._now_ms = now_ms

    def certify(self, box: str, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        """Issue a box its certificate for ``key``, and note it."""
        now_ms = self._now_ms()
        certificate = pki.certify(
            self._signer().ca,
            box,
            key,
            usages=(pki.CLIENT,),
            now=datetime.fromtimestamp(now_ms // 1000, UTC),
            days=self._config.certificates.days,
        )
        until_ms = int(certificate.not_valid_after_utc.timestamp() * 1000)
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        self._store.put_certificate(
            Certificate(certificate.serial_number, box, fingerprint, until_ms, None),
            issued_ms=now_ms,
        )
        return certificate

    def configuration(self, record: BoxRecord) -> bytes:
        """Return the signed configuration of a box."""
        broker = self._config.broker
        settings: dict[str, Any] = {
            **self._config.box,
            **record.settings,
            "mqtt": {"host": broker.host, "port": broker.port, "tls": broker.tls},
            "cameras": list(record.cameras),
        }
        if broker.further:
            settings["mqtt"]["further"] = [one.model_dump() for one in broker.further]
        ca_pem = read_file(self._config.ca_files.trust, _MAX_PEM) + pki.pem(
            self._signer().ca.certificate
        )
        told = BoxConfiguration(
            site=self._config.site,
            box=record.name,
            issued_at_ms=self._now_ms(),
            settings=settings,
            # Whatever version the box is of can read it; the broker has the other form.
            directory=self._trust.readable_in(FIRST),
            admissions=self._trust.signed_admissions,
            ca_pem=ca_pem.decode(),
        )
        return told.sign(self._signer().identity).to_bytes()

    def time(self, nonce: bytes) -> bytes:
        """Return the signed time of this machine's clock."""
        said = RegistrarTime(self._config.site, nonce, self._now_ms())
        return said.sign(self._signer().identity).to_bytes()

    def sign_admissions(self) -> None:
        """Sign the next version of the admissions: who is in, who is out."""
        found = self._store.document(ADMISSIONS)
        version = max(found[0] if found else 0, self._trust.admissions_version) + 1
        admitted = {
            box.name: _principal(box) for box in self._store.boxes() if box.verify_key is not None
        }
        admissions = Admissions(
            self._config.site, version, self._now_ms(), admitted, self._store.revocations()
        )
        data = admissions.sign(self._signer().identity).to_bytes()
        self._store.put_document(ADMISSIONS, version, data)

    def sign_crl(self) -> None:
        """Sign the next revocation list of the boxes' CA."""
        found = self._store.document(CRL)
        number = (found[0] if found else 1) + 1
        now = datetime.fromtimestamp(self._now_ms() // 1000, UTC)
        revoked = [
            (certificate.serial, moment(certificate.revoked_ms))
            for certificate in self._store.certificates()
            if certificate.revoked_ms is not None and moment(certificate.not_after_ms) > now
        ]
        crl = pki.revocation_list(self._signer().ca, revoked, number=number, now=now)
        self._store.put_document(CRL, number, pki.pem(crl))

    def crl_pem(self) -> bytes:
        """Return the boxes' CA's newest revocation list."""
        found = self._store.document(CRL)
        return found[1] if found else read_file(self._config.ca_files.first_crl, _MAX_PEM)

    def ca_certificates(self) -> list[x509.Certificate]:
        """Return the CA certificates above a box's, nearest first, and the site's others."""
        trusted = pki.load_certificates(
            read_file(self._config.ca_files.trust, _MAX_PEM), what=str(self._config.ca_files.trust)
        )
        return [self._signer().ca.certificate, *reversed(trusted)]

    def root_pem(self) -> str:
        """Return the certificate of the site's root CA."""
        path = self._config.ca_files.trust
        trusted = pki.load_certificates(read_file(path, _MAX_PEM), what=str(path))
        return next(pki.pem(one) for one in trusted if one.subject == one.issuer).decode()

    def _signer(self) -> Keys:
        if self._keys is None:
            raise RegistrarError("this takes the registrar's passphrase")
        return self._keys


def _principal(box: BoxRecord) -> Principal:
    key = VerifyKey(box.verify_key or b"")
    return Principal(box.name, frozenset({BOX}), key, cameras=box.camera_names)
