"""Make the TLS contexts of every connection: TLS 1.3 only, certificates checked on both sides."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.config import TlsConfig
from runtime.errors import OperationError

BOXES_CA = "enrolment CA"
"""Common name of the CA under the site's root whose certificates prove a box, and nobody else. Its
key is on the network, at the registrar; the root alone can sign a CA of this name. *Enrolment* is
the registrar's former name: certificates in force bear it, and roles tell boxes by it."""
CLUSTER_CA = "match cluster CA"
"""Common name of the CA that certifies the machines on which headquarters match, and nothing else.
It stands beside the site's CAs, not under them."""
CLUSTER_AGGREGATOR, CLUSTER_SCHEDULER, CLUSTER_WORKER = "aggregator", "scheduler", "match-worker"
"""The duties that its certificates name, each as its organisational unit."""


class TlsError(OperationError):
    """A certificate, key or authority file cannot be used."""


def client_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return a context for connecting out: the server must carry its host name, from our CA.

    Raises:
        TlsError: one of the files is missing, unreadable or does not fit the others.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, tls)
    context.sslsocket_class = ServerChecked
    return context


def server_context(tls: TlsConfig, *, clients_may_be_unknown: bool = False) -> ssl.SSLContext:
    """Return a context for serving: a client without a certificate from our CA is turned away.

    Args:
        tls: our certificate, and the CA of the clients.
        clients_may_be_unknown: let in who shows no certificate at all (a box comes for its first);
            one of another CA is turned away all the same.

    Raises:
        TlsError: one of the files is missing, unreadable or does not fit the others.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls)
    context.verify_mode = ssl.CERT_OPTIONAL if clients_may_be_unknown else ssl.CERT_REQUIRED
    return context


def common_name(certificate: Mapping[str, Any] | None, of: str = "subject") -> str | None:
    """Return the common name in ``SSLSocket.getpeercert()``'s answer, None if not exactly one.

    Args:
        certificate: the answer.
        of: "subject" or "issuer".
    """
    if not certificate:
        return None
    names = [
        value for part in certificate.get(of, ()) for key, value in part if key == "commonName"
    ]
    return names[0] if len(names) == 1 and isinstance(names[0], str) else None


def from_boxes_ca(certificate: Mapping[str, Any] | None) -> bool:
    """Tell whether the boxes' CA issued a verified certificate (``getpeercert()``'s answer).

    An issuer's name is as good as its signature: verification looks the CA up by that name.
    """
    return common_name(certificate, "issuer") == BOXES_CA


class ServerChecked(ssl.SSLSocket):
    """A client's socket to which no certificate of the boxes' CA is a server's.

    That CA says which box somebody is. With its key one could else be the broker, the aggregator or
    a custodian to everybody, under any host name.
    """

    def do_handshake(self, block: bool = False) -> None:
        """As in `ssl.SSLSocket`; raises SSLCertVerificationError for such a server."""
        super().do_handshake(block)
        if not self.server_side and from_boxes_ca(self.getpeercert()):
            why = "a box's certificate is not a server's"
            error = ssl.SSLCertVerificationError(1, f"CERTIFICATE_VERIFY_FAILED: {why}")
            error.verify_code, error.verify_message = 26, why  # X509_V_ERR_INVALID_PURPOSE
            raise error


def _context(protocol: int, tls: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for path in (tls.ca, tls.certificate, tls.private_key):
        if path is not None:
            _check_readable(path)
    try:
        context.load_verify_locations(cafile=tls.ca)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(
            f"{tls.ca} holds no usable CA certificate ({_reason(error)}); give the site's ca.pem"
        ) from error
    try:
        context.load_cert_chain(tls.certificate, tls.private_key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TlsError(
            f"{tls.certificate} and its key {tls.private_key or 'in the same file'} cannot be used "
            f"together ({_reason(error)}); give a PEM certificate and the unencrypted key it is for"
        ) from error
    return context


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise TlsError(
            f"cannot read {path}: {error.strerror}; check the path in the configuration"
        ) from error


def _no_password() -> str:
    # Without this OpenSSL would stop and ask on the terminal.
    raise ValueError("the key is encrypted")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)
