"""Keys that vouch for model bundles: this machine's own, or a site's, and their files."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from runtime.errors import OperationError
from runtime.fsio import atomic_write, private_folder, read_file

SIGNER_KEY_NAME = "model-signer.key"
SIGNER_PUBLIC_NAME = "model-signer.pub"
_MAX_KEY_BYTES = 16_384


class SignerKeyInvalid(OperationError):
    """A file or argument is not the Ed25519 key it should be, or its passphrase is wrong."""


def local_signer(folder: Path) -> bytes:
    """The key (32-byte seed) that signs bundles on this machine; made on first use, owner-only.

    Beside it lies its public half, in hex, for lists of trusted keys.

    Raises:
        FileProblem: it cannot be read or written.
        SignerKeyInvalid: the file is there but is not such a key.
    """
    path = private_folder(folder) / SIGNER_KEY_NAME
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        atomic_write(path, key.private_bytes_raw().hex().encode() + b"\n", 0o600, overwrite=False)
    seed = read_seed(path)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    atomic_write(folder / SIGNER_PUBLIC_NAME, public.hex().encode() + b"\n")
    return seed


def is_encrypted_pem(path: Path) -> bool:
    """Whether the key file is a PEM that needs a passphrase.

    Raises:
        FileProblem: it cannot be read.
    """
    return b"ENCRYPTED" in read_file(path, _MAX_KEY_BYTES).partition(b"\n")[0]


def read_seed(path: Path, passphrase: bytes | None = None) -> bytes:
    """Read an Ed25519 private key: PEM (PKCS #8, also encrypted) or its 32 bytes in hex.

    Raises:
        FileProblem: it cannot be read.
        SignerKeyInvalid: it is no such key, or the passphrase is wrong or missing.
    """
    data = read_file(path, _MAX_KEY_BYTES)
    if data.lstrip().startswith(b"-----BEGIN"):
        try:
            key = load_pem_private_key(data, passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SignerKeyInvalid(f"cannot open the signing key {path}: {error}") from None
        if isinstance(key, Ed25519PrivateKey):
            return key.private_bytes_raw()
    else:
        try:
            seed = bytes.fromhex(data.decode("ascii").strip())
        except ValueError:
            seed = b""
        if len(seed) == 32:
            return seed
    raise SignerKeyInvalid(
        f"{path} is not an Ed25519 private key (PEM, or 64 hexadecimal digits); name another file"
    )


def read_public_key(text_or_path: str) -> bytes:
    """A trusted public key given as 64 hexadecimal digits, or as the name of a file of them.

    Raises:
        FileProblem: the file cannot be read.
        SignerKeyInvalid: it holds no such key.
    """
    text = text_or_path.strip()
    if len(text) != 64 or Path(text).exists():
        text = read_file(Path(text_or_path), _MAX_KEY_BYTES).decode("ascii", "replace").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise SignerKeyInvalid(
            f"{text_or_path} is not an Ed25519 public key"
            " (64 hexadecimal digits, or a file of them)"
        )
    return key
