"""Who is who in the cluster: its own CA alone, a duty in each certificate, and whom each speaks to.

Dask asks of a certificate nothing but its CA, and in a cluster of Dask whoever connects may have
code run. So the CA certifies nothing but the cluster, its certificates name a duty (as the
organisational unit), and each end of a connection checks the duty of the other.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from distributed.security import Security

from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.tls import (
    CLUSTER_AGGREGATOR,
    CLUSTER_CA,
    CLUSTER_SCHEDULER,
    CLUSTER_WORKER,
    TlsError,
    client_context,
    server_context,
)

AGGREGATOR, SCHEDULER, WORKER = CLUSTER_AGGREGATOR, CLUSTER_SCHEDULER, CLUSTER_WORKER
_MAX_PEM = 1 << 20
_MAX_STATEMENT = 1 << 16
_CERTIFICATE_ITEMS = 64
_DISTRUST = (
    ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion,
    x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What reading and checking somebody's certificate raises when it is none of ours."""


class Distrusted(OperationError):
    """What came in the cluster comes from nobody who may say it."""


class ClusterSecurity(Security):
    """The certificates of one process of the cluster, as Dask asks for them.

    Its contexts are this project's (TLS 1.3, both sides certified), and each socket checks after
    the handshake that the other side's certificate is of a duty that this process speaks to.

    Args:
        tls: the cluster's CA, our certificate and key.
        serves: the duties of those that may connect to us.
        calls: the duties of those that we connect to.

    Raises:
        TlsError: a file cannot be used, or the CA is not one of a cluster.
    """

    __slots__ = ("_client", "_server")

    def __init__(self, tls: TlsConfig, *, serves: frozenset[str], calls: frozenset[str]) -> None:
        require_cluster_ca(tls)
        super().__init__(require_encryption=True)  # type: ignore[no-untyped-call]
        self._client = client_context(tls)
        self._client.check_hostname = False  # the duty is checked; hosts are called by address
        self._client.sslsocket_class = _checking(calls)
        self._server = server_context(tls)
        self._server.sslsocket_class = _checking(serves)

    def __repr__(self) -> str:
        """Say what it is; Dask's own would list files."""
        return "ClusterSecurity()"

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """Return how we connect to somebody, whatever Dask calls us."""
        return {
            "ssl_context": self._client,
            "require_encryption": True,
            "extra_conn_args": self.extra_conn_args,
        }

    def get_listen_args(self, role: str) -> dict[str, Any]:
        """Return how we let others connect to us."""
        return {"ssl_context": self._server, "require_encryption": True}


def require_cluster_ca(tls: TlsConfig) -> x509.Certificate:
    """Return the one CA of ``tls``, which must be a cluster's and no site's.

    Raises:
        TlsError: it is another, or more than one: a box could then have code run in the cluster.
    """
    try:
        listed = x509.load_pem_x509_certificates(read_file(tls.ca, _MAX_PEM))
    except _DISTRUST as error:
        raise TlsError(f"{tls.ca} holds no usable CA certificate; give the cluster's ca.pem") from (
            error
        )
    if len(listed) != 1 or _attribute(listed[0].subject, NameOID.COMMON_NAME) != CLUSTER_CA:
        raise TlsError(
            f"{tls.ca} is not the CA of a cluster and of nothing else; whoever has a certificate of"
            " it could take part in matching: give the ca.pem that `sealtrace site cluster` wrote"
        )
    return listed[0]


def duty_of(certificate: Mapping[str, Any] | None) -> str:
    """Return the duty in a verified certificate (``getpeercert()``'s answer); "" without one."""
    names = [
        value
        for part in (certificate or {}).get("subject", ())
        for key, value in part
        if key == "organizationalUnitName"
    ]
    return names[0] if len(names) == 1 and isinstance(names[0], str) else ""


def require_duty(certificate: Mapping[str, Any] | None, duty: str) -> None:
    """Check that a verified certificate is of one duty.

    Raises:
        Distrusted: it is of another.
    """
    if duty_of(certificate) != duty:
        raise Distrusted(f"whoever connected is no {duty} of this cluster")


def _checking(duties: frozenset[str]) -> type[ssl.SSLSocket]:
    """Return a socket that goes no further than the handshake with others than ``duties``."""

    class Checked(ssl.SSLSocket):
        """Checks the other side's duty once its certificate has been verified."""

        def do_handshake(self, block: bool = False) -> None:
            """As in `ssl.SSLSocket`; raises SSLCertVerificationError for another duty."""
            super().do_handshake(block)
            duty = duty_of(self.getpeercert())
            if duty not in duties:
                expected = " or ".join(sorted(duties))
                why = f"the other side is {duty or 'nobody'} of the cluster, not {expected}"
                error = ssl.SSLCertVerificationError(1, f"CERTIFICATE_VERIFY_FAILED: {why}")
                error.verify_code, error.verify_message = 26, why  # X509_V_ERR_INVALID_PURPOSE
                raise error

    return Checked


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who signed something with the key of a certificate of the cluster."""

    name: str
    duty: str


class Identity:
    """Our certificate of the cluster and its key, to sign with; the CA, to verify others by.

    Raises:
        TlsError: a file cannot be used.
    """

    def __init__(self, tls: TlsConfig) -> None:
        self._ca = require_cluster_ca(tls)
        key_file = tls.private_key or tls.certificate
        try:
            certificate = x509.load_pem_x509_certificate(read_file(tls.certificate, _MAX_PEM))
            key = load_pem_private_key(read_file(key_file, _MAX_PEM), None)
            self.member = _member(certificate)
        except (*_DISTRUST, MalformedMessage) as error:
            raise TlsError(
                f"{tls.certificate} and {key_file} are no certificate of a cluster with its key;"
                " give what `sealtrace site cluster` wrote"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TlsError(f"{key_file} is no EC key; give what `sealtrace site cluster` wrote")
        self._key = key
        self._certificate = certificate.public_bytes(Encoding.DER)

    def sign(self, purpose: str, payload: bytes) -> bytes:
        """Sign ``payload`` for one purpose; the statement carries our certificate."""
        signature = self._key.sign(_signed(purpose, payload), ec.ECDSA(hashes.SHA256()))
        return encode({"certificate": self._certificate, "signature": signature})

    def verify(
        self,
        purpose: str,
        payload: bytes,
        statement: bytes,
        *,
        duty: str,
        now: datetime | None = None,
    ) -> Member:
        """Return who signed ``payload``, who must be of a duty.

        Raises:
            Distrusted: nobody of that duty in this cluster did, or their certificate has run
                out.
            MalformedMessage: it is no statement.
        """
        fields = Fields(
            decode(
                statement,
                what="statement",
                max_bytes=_MAX_STATEMENT,
                max_items=_CERTIFICATE_ITEMS,
            ),
            what="statement",
        )
        listed, signature = fields.raw("certificate"), fields.raw("signature")
        fields.done()
        try:
            certificate = x509.load_der_x509_certificate(listed)
            certificate.verify_directly_issued_by(self._ca)
            key = certificate.public_key()
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise TypeError("not an EC key")
            key.verify(signature, _signed(purpose, payload), ec.ECDSA(hashes.SHA256()))
            member = _member(certificate)
        except _DISTRUST as error:
            raise Distrusted(f"a {purpose} is signed by nobody of this cluster") from error
        moment = now or datetime.now(UTC)
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            raise Distrusted(f"a {purpose} is signed by '{member.name}', whose certificate ended")
        if member.duty != duty:
            raise Distrusted(f"a {purpose} is signed by '{member.name}', who is no {duty}")
        return member


def _signed(purpose: str, payload: bytes) -> bytes:
    return encode(["sealtrace/cluster/v1", purpose, payload])


def _member(certificate: x509.Certificate) -> Member:
    name = _attribute(certificate.subject, NameOID.COMMON_NAME)
    duty = _attribute(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME)
    if not name or duty not in {AGGREGATOR, SCHEDULER, WORKER}:
        raise ValueError("its certificate names no duty in a cluster")
    return Member(name, duty)


def _attribute(name: x509.Name, what: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(what)
    return str(found[0].value) if len(found) == 1 else ""
