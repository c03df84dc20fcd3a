"""A box's two private keys, made on the box: in 0600 files, or sealed by its TPM 2.0.

Identity (Ed25519) signs sightings, the TLS key (P-256) is for connections. With a TPM the disk
holds only what that very TPM can unseal; at start the keys are put into files under ``/run``, which
is memory. A stolen disk or card image is then worth nothing; a stolen box has to be revoked all the
same.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from protocol.encoding import Fields, decode, encode
from protocol.signing import SEED_BYTES, SigningKey
from provisioning.box.firstboot.errors import FirstBootError, TpmError
from provisioning.box.firstboot.units import SEALED_IDENTITY
from provisioning.formats import layout, pki
from provisioning.formats.secretfiles import IDENTITY
from runtime.fsio import atomic_write, private_folder, read_file
from runtime.keyfiles import read_secret, write_secret

RUNTIME_FOLDER = Path("/run/sealtrace")
Backend = Literal["auto", "file", "tpm"]
_SEALED_TLS = "private-key.tpm"
_SCALAR_BYTES = 32
_MAX_BYTES = 64 << 10


class BoxKeys(Protocol):
    """The keys of one box; ``kind`` is ``file`` or ``tpm``."""

    kind: str

    @property
    def identity_file(self) -> Path:
        """Where the agent reads the identity key."""

    @property
    def tls_file(self) -> Path:
        """Where TLS reads its key."""

    def exist(self) -> bool:
        """Tell whether the keys have been made."""

    def make(self) -> None:
        """Make what is missing; what is there stays."""

    def load(self, box: str) -> tuple[SigningKey, ec.EllipticCurvePrivateKey]:
        """Return both keys, and see to it that the two files are there.

        Raises:
            OperationError: they are missing, damaged, or another TPM's.
        """


@dataclass(slots=True)
class FileKeys:
    """Keys in plain files of the box's folder, readable by their owner only."""

    folder: Path
    kind: str = "file"

    @property
    def identity_file(self) -> Path:
        """Where the agent reads the identity key."""
        return self.folder / layout.BOX_IDENTITY

    @property
    def tls_file(self) -> Path:
        """Where TLS reads its key."""
        return self.folder / layout.TLS_FOLDER / layout.KEY_FILE

    def exist(self) -> bool:
        """Tell whether the keys have been made."""
        return self.identity_file.exists() and self.tls_file.exists()

    def make(self) -> None:
        """Make what is missing."""
        private_folder(self.tls_file.parent)
        if not self.identity_file.exists():
            seed = SigningKey.generate("new").seed
            write_secret(self.identity_file, seed, None, IDENTITY)
        if not self.tls_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            atomic_write(self.tls_file, pki.key_pem(key), 0o600, overwrite=False)

    def load(self, box: str) -> tuple[SigningKey, ec.EllipticCurvePrivateKey]:
        """Return both keys."""
        seed = read_secret(self.identity_file, None, IDENTITY)
        key = pki.load_key(read_file(self.tls_file, _MAX_BYTES), what=str(self.tls_file))
        return SigningKey(box, seed), key


class Sealer(Protocol):
    """Seals small secrets so that this machine alone opens them."""

    def seal(self, secret: bytes) -> tuple[bytes, bytes]:
        """Return the public and the private part of a sealed object."""

    def unseal(self, public: bytes, private: bytes) -> bytes:
        """Return the secret.

        Raises:
            TpmError: this is not the TPM that sealed it, or it refuses.
        """


@dataclass(slots=True)
class TpmKeys:
    """Keys sealed by the TPM; ``runtime`` is where they are put for the agent, in memory."""

    folder: Path
    sealer: Sealer
    runtime: Path = RUNTIME_FOLDER
    kind: str = "tpm"

    @property
    def identity_file(self) -> Path:
        """Where the agent reads the identity key."""
        return self.runtime / layout.BOX_IDENTITY

    @property
    def tls_file(self) -> Path:
        """Where TLS reads its key."""
        return self.runtime / layout.KEY_FILE

    def exist(self) -> bool:
        """Tell whether the keys have been made."""
        return all(path.exists() for path in self._sealed())

    def make(self) -> None:
        """Make and seal what is missing."""
        identity, tls = self._sealed()
        private_folder(tls.parent)
        if not identity.exists():
            self._write(identity, SigningKey.generate("new").seed)
        if not tls.exists():
            number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
            self._write(tls, number.to_bytes(_SCALAR_BYTES, "big"))

    def load(self, box: str) -> tuple[SigningKey, ec.EllipticCurvePrivateKey]:
        """Unseal both keys, and put them where the agent reads them."""
        identity, tls = self._sealed()
        seed, scalar = self._read(identity, SEED_BYTES), self._read(tls, _SCALAR_BYTES)
        key = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
        private_folder(self.runtime)
        write_secret(self.identity_file, seed, None, IDENTITY, overwrite=True)
        atomic_write(self.tls_file, pki.key_pem(key), 0o600)
        return SigningKey(box, seed), key

    def _sealed(self) -> tuple[Path, Path]:
        return self.folder / SEALED_IDENTITY, self.folder / layout.TLS_FOLDER / _SEALED_TLS

    def _write(self, path: Path, secret: bytes) -> None:
        public, private = self.sealer.seal(secret)
        data = encode({"v": 1, "public": public, "private": private})
        atomic_write(path, data, 0o600, overwrite=False)

    def _read(self, path: Path, size: int) -> bytes:
        fields = Fields(decode(read_file(path, _MAX_BYTES), what=str(path)), what=str(path))
        fields.version()
        public, private = fields.raw("public"), fields.raw("private")
        fields.done()
        secret = self.sealer.unseal(public, private)
        if len(secret) != size:
            raise TpmError(f"{path} does not hold a key of this box; admit the box anew")
        return secret


def open_keys(
    folder: Path,
    backend: Backend = "auto",
    *,
    tcti: str | None = None,
    runtime: Path = RUNTIME_FOLDER,
) -> BoxKeys:
    """Return the keys of the box in ``folder``, made already or to be made.

    Keys that are there decide; else ``auto`` takes the TPM when there is one that we may use.

    Args:
        folder: the box's folder.
        backend: where new keys go.
        tcti: which TPM, by TPM2 TSS's names; the machine's own by default.
        runtime: where unsealed keys are put: a folder in memory.

    Raises:
        TpmError: a TPM is asked for, or needed, and cannot be used.
    """
    files = FileKeys(folder)
    sealed = (folder / SEALED_IDENTITY).exists()
    if files.identity_file.exists() and not sealed:
        if backend == "tpm":
            raise FirstBootError(
                f"{folder} has its keys in files; a key that was on the disk is not sealed later:"
                " admit the box under a new name in an empty folder"
            )
        return files
    if backend == "file" and not sealed:
        return files
    from provisioning.box.firstboot import tpm  # noqa: PLC0415 - needs tpm2-pytss, an extra

    if sealed or backend == "tpm" or tpm.usable(tcti):
        return TpmKeys(folder, tpm.Tpm(tcti), runtime)
    return files


def make_request(box: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a PKCS #10 request (DER) for the certificate of ``box``."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, box)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def give_to_owner(*folders: Path, owner_of: Path) -> None:
    """When root runs this, hand what was written to the user whose folder it is.

    Each folder is held while its names are given away: that user may put a link in its place.
    """
    if os.geteuid() != 0 or not owner_of.is_dir():
        return
    owner = owner_of.stat()
    for folder in folders:
        with contextlib.suppress(OSError):
            for _, within, files, descriptor in os.fwalk(folder):
                os.chown(descriptor, owner.st_uid, owner.st_gid)
                for name in (*within, *files):
                    os.chown(
                        name,
                        owner.st_uid,
                        owner.st_gid,
                        dir_fd=descriptor,
                        follow_symlinks=False,
                    )
