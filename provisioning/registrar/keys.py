"""The registrar's keys: what its passphrase opens."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.signing import SigningKey
from provisioning.formats import pki
from provisioning.formats.secretfiles import CA_KEY, IDENTITY
from provisioning.registrar.config import RegistrarConfig
from runtime.fsio import read_file
from runtime.keyfiles import is_sealed, read_secret

_MAX_PEM = 1 << 20


@dataclass(frozen=True, slots=True)
class Keys:
    """What the passphrase opens: the registrar's signing key and the boxes' CA's."""

    identity: SigningKey
    ca: pki.Authority


def open_keys(config: RegistrarConfig, passphrase: bytes) -> Keys:
    """Unlock the keys.

    Raises:
        KeyFileError: wrong passphrase, or a file is damaged.
        CertificateError: the CA's files are damaged.
    """
    seed = read_secret(
        config.identity, passphrase if is_sealed(config.identity) else None, IDENTITY
    )
    files = config.ca_files
    secret = read_secret(files.key, passphrase, CA_KEY)
    certificate = pki.load_certificates(
        read_file(files.certificate, _MAX_PEM), what=str(files.certificate)
    )[0]
    parents = pki.load_certificates(read_file(files.trust, _MAX_PEM), what=str(files.trust))
    root = next((one for one in parents if one.subject == certificate.issuer), None)
    if root is None:
        raise pki.CertificateError(f"{files.trust} lacks the root of {files.certificate}")
    key = pki.load_key(secret, what=str(files.key))
    return Keys(SigningKey(config.name, seed), pki.Authority(certificate, key, (root,)))
