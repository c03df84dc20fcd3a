"""EST's bodies (RFC 7030): PKCS #10 requests in, certs-only PKCS #7 out, base64 over HTTPS."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from protocol.encoding import decode_base64
from protocol.errors import MalformedMessage
from protocol.joining import MAX_REQUEST_BYTES
from provisioning.formats.errors import RequestInvalid

PATH = "/.well-known/est"
REQUEST_TYPE = "application/pkcs10"
ANSWER_TYPE = "application/pkcs7-mime; smime-type=certs-only"
ATTRIBUTES_TYPE = "application/csrattrs"
IDENTITY_HEADER = "sealtrace-identity"
# SEQUENCE { OBJECT IDENTIFIER ecdsa-with-SHA256, SEQUENCE { id-ecPublicKey, SET { prime256v1 } } }
CSR_ATTRIBUTES = bytes.fromhex(
    "302106082a8648ce3d040302301506072a8648ce3d0201310a06082a8648ce3d030107"
)


def encode_body(der: bytes) -> bytes:
    """Return base64 in lines of 76, as RFC 7030 section 4 (RFC 2045) has it."""
    return base64.encodebytes(der)


def decode_body(body: bytes) -> bytes:
    """Return the DER in a base64 body.

    Raises:
        RequestInvalid: it is not base64, or too large.
    """
    if len(body) > 2 * MAX_REQUEST_BYTES:
        raise RequestInvalid("the request is larger than a certificate request can be")
    try:
        return decode_base64(b"".join(body.split()), what="the request")
    except MalformedMessage as error:
        raise RequestInvalid("the request is not base64 (RFC 7030, section 4.2.1)") from error


def certs_only(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return the base64 body of a certs-only PKCS #7 message."""
    return encode_body(pkcs7.serialize_certificates(list(certificates), Encoding.DER))


def read_certs_only(body: bytes) -> list[x509.Certificate]:
    """Return the certificates in such a body.

    Raises:
        RequestInvalid: it is not one.
    """
    try:
        found = pkcs7.load_der_pkcs7_certificates(decode_body(body))
    except Exception as error:  # the parser lets errors of several types out for hostile input
        raise RequestInvalid("the answer is not a certs-only PKCS #7 message") from error
    if not found:
        raise RequestInvalid("the answer holds no certificate")
    return found


def read_request(der: bytes, *, box: str) -> ec.EllipticCurvePublicKey:
    """Check a PKCS #10 request for ``box``; return the key that it proves possession of.

    Raises:
        RequestInvalid: malformed, for another name, or with a key that is not EC P-256.
    """
    try:
        request = x509.load_der_x509_csr(der)
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = request.public_key()
        proven = request.is_signature_valid
    except Exception as error:  # ValueError, UnsupportedAlgorithm and others for hostile input
        raise RequestInvalid(f"the certificate request cannot be read: {error}") from error
    if not proven:
        raise RequestInvalid("the certificate request does not prove possession of its key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RequestInvalid("the certificate request must be for an EC P-256 key")
    if [name.value for name in names] != [box]:
        raise RequestInvalid(f"the certificate request must have the common name '{box}' alone")
    return key
