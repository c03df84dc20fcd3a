"""How a box asks for admission over the network: EST (RFC 7030), its signed configuration."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.joining import BoxIdentity
from protocol.signing import SigningKey
from provisioning.box.firstboot.errors import FirstBootError, InstallRefused
from provisioning.box.firstboot.keys import make_request
from provisioning.formats import est, pki
from provisioning.formats.claimfile import ClaimFile
from runtime import http
from runtime.config import TlsConfig
from runtime.http import PeerUnreachable, raise_for_problem
from runtime.tls import ServerChecked

_TIMEOUT_S = 20.0
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which `ssl` has no name for
_MAX_BYTES = 8 << 20  # a configuration carries the directory


def join(
    claim: ClaimFile, identity: SigningKey, key: ec.EllipticCurvePrivateKey
) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """Use the claim; return this box's certificate and the CAs above it, nearest first.

    Raises:
        PeerUnreachable: the service cannot be reached, or is not this site's.
        ProblemError: it refuses, and says why.
        InstallRefused: what it answered is not a certificate for this box's key.
    """
    with _connected(claim) as client:
        return _admitted(client, claim, identity, key)


def renew(
    claim: ClaimFile, identity: SigningKey, key: ec.EllipticCurvePrivateKey, tls: TlsConfig
) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """Get a new certificate for the same key, showing the one in ``tls``.

    Raises:
        PeerUnreachable, ProblemError, InstallRefused: see :func:`join`.
    """
    with http.client(claim.url, tls, _TIMEOUT_S) as client:
        return _ask(client, "simplereenroll", claim, identity=identity, key=key)


def configuration(claim: ClaimFile, tls: TlsConfig) -> bytes:
    """Return this box's configuration as the service signed it; not verified yet.

    Raises:
        PeerUnreachable, ProblemError: it cannot be had.
    """
    with http.client(claim.url, tls, _TIMEOUT_S, max_answer_bytes=_MAX_BYTES) as client:
        return raise_for_problem(client.get("/v1/box/configuration")).content


def time(claim: ClaimFile, nonce: bytes) -> bytes:
    """Return the time as the service signed it for ``nonce``; not verified yet.

    The service's certificate is checked but for its dates, which this box cannot judge yet; nothing
    secret is sent, and what counts is the registrar's signature.

    Raises:
        PeerUnreachable, ProblemError: it cannot be had.
    """
    with _connected(claim, at_any_time=True) as client:
        answer = client.get("/v1/time", params={"nonce": nonce.hex()})
        return raise_for_problem(answer).content


def check_certificate(
    certificate: x509.Certificate,
    authorities: Sequence[x509.Certificate],
    *,
    claim: ClaimFile,
    key: ec.EllipticCurvePrivateKey,
) -> list[x509.Certificate]:
    """Check that this box's key was certified under the site's root; return the CAs between.

    Raises:
        InstallRefused: it was not.
    """
    ours = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    theirs = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if pki.common_name(certificate) != claim.box or ours != theirs:
        raise InstallRefused("the certificate is for another box, or for another key")
    root = pki.load_certificates(claim.ca.encode(), what="the claim's CA")[0]
    chain: list[x509.Certificate] = []
    current = certificate
    while current.issuer != root.subject and len(chain) < 4:
        above = next((one for one in authorities if one.subject == current.issuer), None)
        if above is None:
            break
        _require_issued(current, above)
        chain.append(above)
        current = above
    _require_issued(current, root)
    return chain


def _require_issued(certificate: x509.Certificate, above: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(above)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise InstallRefused("the certificate does not come from this site's root") from error


def _admitted(
    client: httpx.Client,
    claim: ClaimFile,
    identity: SigningKey,
    key: ec.EllipticCurvePrivateKey,
) -> tuple[x509.Certificate, list[x509.Certificate]]:
    if not claim.claim:
        raise FirstBootError(
            "the claim has been used; for another, run `sealtrace box claim` at headquarters"
        )
    login = base64.b64encode(f"{claim.box}:{claim.claim}".encode()).decode()
    headers = {"authorization": f"Basic {login}"}
    return _ask(client, "simpleenroll", claim, identity=identity, key=key, headers=headers)


def _ask(
    client: httpx.Client,
    operation: str,
    claim: ClaimFile,
    *,
    identity: SigningKey,
    key: ec.EllipticCurvePrivateKey,
    headers: dict[str, str] | None = None,
) -> tuple[x509.Certificate, list[x509.Certificate]]:
    request = make_request(claim.box, key)
    proof = BoxIdentity.of(claim.site, identity, request).to_bytes()
    answer = client.post(
        f"{est.PATH}/{operation}",
        content=est.encode_body(request),
        headers={
            "content-type": est.REQUEST_TYPE,
            "content-transfer-encoding": "base64",
            est.IDENTITY_HEADER: base64.b64encode(proof).decode(),
            **(headers or {}),
        },
    )
    issued = est.read_certs_only(raise_for_problem(answer).content)
    above = est.read_certs_only(raise_for_problem(client.get(f"{est.PATH}/cacerts")).content)
    return issued[0], check_certificate(issued[0], above, claim=claim, key=key)


@contextmanager
def _connected(claim: ClaimFile, *, at_any_time: bool = False) -> Iterator[httpx.Client]:
    """Give a connection to the service, which must be of this site; we have no certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if at_any_time:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.sslsocket_class = ServerChecked
    try:
        context.load_verify_locations(cadata=claim.ca)
    except (ssl.SSLError, ValueError) as error:
        raise FirstBootError("the claim file holds no usable CA certificate") from error
    with http.client(claim.url, context, _TIMEOUT_S, max_answer_bytes=_MAX_BYTES) as client:
        try:
            yield client
        except PeerUnreachable as error:
            raise PeerUnreachable(
                f"{error}; is the network up, the clock right, and the service running?"
            ) from error
