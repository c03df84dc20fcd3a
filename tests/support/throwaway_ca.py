"""A certificate authority of minutes, for tests that speak TLS to real servers on loopback."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.config import TlsConfig


class ThrowawayCa:
    """Issues certificates into a folder; each is good for a client and a loopback server."""

    def __init__(self, folder: Path, name: str = "throw-away ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._issued: dict[tuple[str, ...], TlsConfig] = {}
        ca = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self._write("ca.pem", ca.sign(self._key, hashes.SHA256()))

    def issue(self, *common_names: str) -> TlsConfig:
        """Write ``NAME.pem`` and ``NAME.key``; return the configuration that uses them.

        Who asks again gets the same. More than one name makes a certificate that says two things
        at once.
        """
        if common_names not in self._issued:
            self._issued[common_names] = self._issue(common_names)
        return self._issued[common_names]

    def _issue(self, common_names: tuple[str, ...]) -> TlsConfig:
        file = "-".join(common_names)
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        certificate = (
            self._builder(_name(*common_names), key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        self._write(f"{file}.pem", certificate.sign(self._key, hashes.SHA256()))
        (self.folder / f"{file}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return TlsConfig(
            ca=self.folder / "ca.pem",
            certificate=self.folder / f"{file}.pem",
            private_key=self.folder / f"{file}.key",
        )

    def _write(self, name: str, certificate: x509.Certificate) -> None:
        (self.folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )


def _name(*common_names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names])
