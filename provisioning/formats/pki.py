"""The site's X.509 certificates: an offline root, an issuing CA under it, leaves and their CRLs.

Certificates only say who is at the other end of a connection. What anyone may do is decided by the
signed directory and by signatures, so the keys of leaves rest as plain 0600 files and services can
start without a person. The name constraints of RFC 5280, 4.2.1.10, are not used: hosts are whatever
the site's networks call them, and the CA serves nothing but the site. What the boxes' CA certifies
is told apart by its issuer (docs/decisions/0008-certificates-of-boxes.md).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.errors import OperationError
from runtime.tls import BOXES_CA

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
_BACKDATED = timedelta(minutes=5)
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What the X.509 parser raises for certificates and lists that are none; they share no base."""
_CRL_END = b"-----END X509 CRL-----\n"


class CertificateError(OperationError):
    """A certificate, CRL or CA key of the site cannot be used."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: its certificate, its key, and those above it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    parents: tuple[x509.Certificate, ...] = ()

    @property
    def trust_pem(self) -> bytes:
        """The file that others trust: the root first, then the CAs under it."""
        return b"".join(pem(c) for c in (*reversed(self.parents), self.certificate))


@dataclass(frozen=True, slots=True)
class Leaf:
    """A new certificate, its chain up to (not including) the root, and its key."""

    certificate: x509.Certificate
    chain_pem: bytes
    key_pem: bytes


def pem(item: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """Return the PEM form."""
    return item.public_bytes(Encoding.PEM)


def new_root(
    site: str, *, now: datetime, years: int, title: str = "root CA", path_length: int = 1
) -> Authority:
    """Make a self-signed CA of ``site``: its root, or one that stands beside it.

    Args:
        path_length: how many CAs may stand between it and a leaf.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = _ca_name(site, title)
    builder = _ca_builder(name, name, key, now, years, path_length=path_length)
    return Authority(builder.sign(key, hashes.SHA256()), key)


def new_issuing(
    root: Authority,
    site: str,
    *,
    now: datetime,
    years: int,
    title: str = "issuing CA",
    usages: Sequence[x509.ObjectIdentifier] = (),
) -> Authority:
    """Make a CA that issues leaves, signed by ``root``.

    Args:
        usages: what its leaves can be used for, whatever they say themselves; all, when empty.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = root.certificate.subject
    builder = _ca_builder(_ca_name(site, title), issuer, key, now, years, path_length=0)
    builder = builder.add_extension(_authority_key_id(root), critical=False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
    certificate = builder.sign(root.key, hashes.SHA256())
    return Authority(certificate, key, (root.certificate, *root.parents))


def issue(
    ca: Authority,
    name: str,
    *,
    usages: Sequence[x509.ObjectIdentifier],
    hosts: Iterable[str] = (),
    now: datetime,
    days: int,
    unit: str = "",
) -> Leaf:
    """Issue a certificate for the principal ``name`` with a new key.

    Args:
        hosts: names and addresses for the subject alternative names; clients have none, and get
            their own name as the one DNS name, since modern TLS stacks want some.
        days: how long it holds; never longer than ``ca``'s own certificate.
        unit: the organisational unit that it names, if any.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = certify(
        ca, name, key.public_key(), usages=usages, hosts=hosts, now=now, days=days, unit=unit
    )
    return Leaf(certificate, chain_pem(ca, certificate), key_pem(key))


def certify(
    ca: Authority,
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    *,
    usages: Sequence[x509.ObjectIdentifier],
    hosts: Iterable[str] = (),
    now: datetime,
    days: int,
    unit: str = "",
) -> x509.Certificate:
    """Issue a certificate for a key whose private half is elsewhere; see :func:`issue`."""
    site = ca.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
    until = min(now + timedelta(days=days), ca.certificate.not_valid_after_utc)
    units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, site),
            *units,
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    listed = list(dict.fromkeys(hosts)) or [name]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in listed]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_key_id(ca), critical=False)
        .sign(ca.key, hashes.SHA256())
    )


def chain_pem(ca: Authority, certificate: x509.Certificate) -> bytes:
    """Return a leaf and the CAs above it, without the root."""
    return pem(certificate) + (pem(ca.certificate) if ca.parents else b"")


def revocation_list(
    ca: Authority, revoked: Iterable[tuple[int, datetime]], *, number: int, now: datetime
) -> x509.CertificateRevocationList:
    """Sign the list of revoked ``(serial, since)``.

    It holds as long as the CA's own certificate: a CA that is offline cannot renew it every week,
    and a broker refuses everybody once its list has run out. News of a revocation is pushed.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(now - _BACKDATED)
        .next_update(ca.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_key_id(ca), critical=False)
    )
    for serial, since in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(since.astimezone(UTC))
            .build()
        )
    return builder.sign(ca.key, hashes.SHA256())


def merged_crls(*files: bytes) -> bytes:
    """Return one PEM file with the newest list of every CA in ``files``, in order of appearance.

    A broker wants the lists of all CAs in one file, but each CA's keeper has the newest of its own
    only.

    Raises:
        CertificateError: a file is not a PEM file of revocation lists.
    """
    newest: dict[x509.Name, x509.CertificateRevocationList] = {}
    for data in files:
        for part in data.split(_CRL_END)[:-1]:
            try:
                crl = x509.load_pem_x509_crl(part + _CRL_END)
            except UNREADABLE as error:
                raise CertificateError("a file of revocation lists is damaged") from error
            known = newest.get(crl.issuer)
            if known is None or _crl_number(crl) > _crl_number(known):
                newest[crl.issuer] = crl
    return b"".join(pem(crl) for crl in newest.values())


def without_boxes(crls: bytes) -> bytes:
    """Return a PEM file of revocation lists without that of the boxes' CA.

    A verifier that demands a list of each certificate's CA refuses that CA's certificates then.

    Raises:
        CertificateError: it is not a PEM file of revocation lists.
    """
    kept = []
    for part in merged_crls(crls).split(_CRL_END)[:-1]:
        crl = x509.load_pem_x509_crl(part + _CRL_END)
        names = crl.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        if not any(name.value == BOXES_CA for name in names):
            kept.append(pem(crl))
    return b"".join(kept)


def _crl_number(crl: x509.CertificateRevocationList) -> int:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return ``key`` as plain PKCS #8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(data: bytes, *, what: str) -> ec.EllipticCurvePrivateKey:
    """Read what :func:`key_pem` wrote.

    Raises:
        CertificateError: not such a key.
    """
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"{what} holds no private key; restore it from a backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{what} is not an EC key; restore it from a backup")
    return key


def load_certificates(data: bytes, *, what: str) -> list[x509.Certificate]:
    """Read a PEM file of one or more certificates.

    Raises:
        CertificateError: it is not one.
    """
    try:
        return x509.load_pem_x509_certificates(data)
    except UNREADABLE as error:
        raise CertificateError(f"{what} is not a PEM certificate; restore it from a backup") from (
            error
        )


def check_issued(certificate: x509.Certificate, issuer: x509.Certificate, *, what: str) -> None:
    """Check that ``issuer`` signed ``certificate``.

    Raises:
        CertificateError: it did not.
    """
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE) as error:
        raise CertificateError(f"{what} was not issued by this site's CA") from error


def common_name(certificate: x509.Certificate) -> str:
    """Return the subject's common name, "" when it has none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _ca_name(site: str, what: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, site),
            x509.NameAttribute(NameOID.COMMON_NAME, what),
        ]
    )


def _ca_builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    years: int,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority_key_id(ca: Authority) -> x509.AuthorityKeyIdentifier:
    ski = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski.value)


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
