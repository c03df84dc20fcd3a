"""Write and open the secret files of a site: under whose passphrase, and at which cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from protocol.directory import AUTHORITY
from protocol.signing import SigningKey
from provisioning.formats.layout import SitePaths
from runtime import keyfiles
from runtime.keyfiles import Cost

IDENTITY, SEALING, CA_KEY = "identity", "sealing", "ca key"
PURPOSES = (IDENTITY, SEALING, CA_KEY, "custodian-keystore")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Seals new secret files.

    Args:
        passphrase: of everyone that ``by_role`` does not name.
        by_role: principal name to a passphrase of its own.
    """

    passphrase: bytes = field(repr=False)
    by_role: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    cost: Cost = keyfiles.DEFAULT_COST

    def write_identity(self, path: Path, name: str, seed: bytes) -> None:
        """Write a signing key's seed (32 bytes)."""
        self._write(path, name, seed, IDENTITY)

    def write_sealing(self, path: Path, name: str, seed: bytes) -> None:
        """Write a sealing key's seed (96 bytes)."""
        self._write(path, name, seed, SEALING)

    def write_ca_key(self, path: Path, key_pem: bytes, *, name: str = "") -> None:
        """Write the private key of a certificate authority, kept by ``name`` (offline: "")."""
        self._write(path, name, key_pem, CA_KEY)

    def _write(self, path: Path, name: str, seed: bytes, purpose: str) -> None:
        passphrase = self.by_role.get(name, self.passphrase)
        keyfiles.write_secret(path, seed, passphrase, purpose, cost=self.cost)


def write_box_identity(path: Path, seed: bytes) -> None:
    """Write a box's signing key, unprotected (0600): a box starts with nobody beside it."""
    keyfiles.write_secret(path, seed, None, IDENTITY)


def open_authority(paths: SitePaths, passphrase: bytes) -> SigningKey:
    """Unlock the site authority's signing key.

    Raises:
        KeyFileError: wrong passphrase, or the file is damaged.
        FileProblem: it is not here (kept offline).
    """
    seed = keyfiles.read_secret(paths.authority_secret, passphrase, IDENTITY)
    return SigningKey(AUTHORITY, seed)
