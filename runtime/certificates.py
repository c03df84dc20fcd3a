"""Look at certificates on this machine's disk: until when they hold, and who vouches for them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.fsio import read_file

_MAX_BYTES = 1 << 20
_MOST_LINKS = 8


class CertificateUnusable(OperationError):
    """A file holds no certificate, or one that nobody whom we believe vouches for."""


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates in a PEM file, in its order.

    Raises:
        FileProblem: it cannot be read.
        CertificateUnusable: there is none in it.
    """
    try:
        return x509.load_pem_x509_certificates(read_file(path, _MAX_BYTES))
    except ValueError as error:
        raise CertificateUnusable(f"{path} holds no certificate in PEM form") from error


def end_of(path: Path) -> datetime:
    """Return when the first certificate in a PEM file ends.

    Raises:
        FileProblem, CertificateUnusable: see `read_certificates`.
    """
    return read_certificates(path)[0].not_valid_after_utc


def name_of(certificate: x509.Certificate) -> str:
    """Return its subject's common name; empty if it has not exactly one."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def chain_of(tls: TlsConfig) -> list[x509.Certificate]:
    """Return our certificate and who vouches for it, up to one that signed itself.

    That each is in time is the caller's to look at.

    Raises:
        FileProblem: a file cannot be read.
        CertificateUnusable: the chain leads to nobody in the CA's file.
    """
    ours = read_certificates(tls.certificate)
    trusted = read_certificates(tls.ca)
    chain = [ours[0]]
    while len(chain) <= _MOST_LINKS:
        last = chain[-1]
        if last.subject == last.issuer:
            if last in trusted:
                return chain
            break
        issuer = next((one for one in (*trusted, *ours[1:]) if _issued(one, last)), None)
        if issuer is None:
            break
        chain.append(issuer)
    raise CertificateUnusable(
        f"{tls.certificate} (of '{name_of(ours[0])}') was issued by nobody in {tls.ca}; install the"
        " certificate and ca.pem of one and the same site"
    )


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
