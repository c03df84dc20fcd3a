"""The keys that sign releases: made, kept sealed in files, and opened to sign.

Every key is Ed25519. The public half travels as one line, ``sealtrace-release <name> <hex>``, so
that an officer can make a key on a machine of their own and hand over nothing secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from protocol.releases import NAME_PATTERN
from provisioning.formats.releases.errors import ReleaseError
from runtime import keyfiles
from runtime.fsio import FileProblem, atomic_write, read_file
from runtime.keyfiles import Cost

PURPOSE = "release signing key"
NAME_FIELD = "x-sealtrace-name"
_LINE = re.compile(r"sealtrace-release (\S+) ([0-9a-f]{64})\n?")


@dataclass(frozen=True, slots=True)
class Passphrases:
    """Finds the passphrase of each key file: a file per key, one for all, or asks."""

    files: Mapping[str, Path] = field(default_factory=dict)
    """Key name (an officer's, ``targets``, ``online``) to a file; ``""`` stands for all others."""
    cost: Cost = field(default_factory=lambda: keyfiles.DEFAULT_COST)
    _made: dict[str, bytes] = field(default_factory=dict, repr=False)

    def make(self, name: str) -> bytes:
        """Return the passphrase that a new key ``name`` is sealed under.

        Raises:
            KeyFileError: none is to be had, or it is too short.
        """
        if name not in self._made:
            self._made[name] = keyfiles.get_passphrase(
                self._file(name), new=True, what=f"the release key of {name}"
            )
        return self._made[name]

    def open(self, path: Path, name: str) -> bytes:
        """Return the secret of the key file at ``path``.

        Raises:
            KeyFileError, FileProblem: it cannot be opened.
        """
        if name in self._made and keyfiles.is_sealed(path):
            return keyfiles.read_secret(path, self._made[name], PURPOSE)
        return keyfiles.open_secret(path, PURPOSE, self._file(name))

    def _file(self, name: str) -> Path | None:
        return self.files.get(name, self.files.get(""))


def refuse_key(path: Path, name: str) -> None:
    """Check that a key could be made.

    Raises:
        FileProblem: a file is there already.
        ReleaseError: ``name`` is not one.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise ReleaseError(
            f"{name!r} is not a name for a key: up to 32 small letters, digits, - and _"
        )
    if path.exists():
        raise FileProblem(f"{path} exists already and is left as it is; choose another name")


def make_key(path: Path, name: str, passphrase: bytes | None, cost: Cost) -> Key:
    """Make a key, write its file at ``path`` and its public line beside it (``.pub``).

    Raises:
        FileProblem: the file exists already, or cannot be written.
        ReleaseError: ``name`` is not one.
    """
    refuse_key(path, name)
    private = Ed25519PrivateKey.generate()
    keyfiles.write_secret(path, private.private_bytes_raw(), passphrase, PURPOSE, cost=cost)
    public = private.public_key()
    line = f"sealtrace-release {name} {public.public_bytes_raw().hex()}\n"
    atomic_write(path.with_suffix(".pub"), line.encode())
    return _named(public, name)


def read_public(path: Path, name: str | None = None) -> Key:
    """Read a public line.

    Args:
        path: of the ``.pub`` file.
        name: whose it must be, if that is known.

    Raises:
        ReleaseError: it is not one, or somebody else's.
        FileProblem: it cannot be read.
    """
    match = _LINE.fullmatch(read_file(path, 4096).decode("ascii", "replace"))
    if match is None or re.fullmatch(NAME_PATTERN, match[1]) is None:
        raise ReleaseError(
            f"{path} is not the public half of a release key; `sealtrace release key` writes one"
        )
    if name is not None and match[1] != name:
        raise ReleaseError(f"{path} is the key of {match[1]}, not of {name}; give the right file")
    return _named(Ed25519PublicKey.from_public_bytes(bytes.fromhex(match[2])), match[1])


def key_name(key: Key) -> str:
    """Return whose key it is, as the root says; its id when it says nothing."""
    name = key.unrecognized_fields.get(NAME_FIELD)
    return name if isinstance(name, str) and re.fullmatch(NAME_PATTERN, name) else key.keyid[:8]


def signer_from(secret: bytes, keys: Mapping[str, Key], what: str) -> Signer:
    """Return what signs with ``secret``, under the id that one of ``keys`` gives it.

    Args:
        secret: 32-byte Ed25519 seed.
        keys: key id to key: those that may sign here.
        what: the key file, for the message.

    Raises:
        ReleaseError: it is none of them.
    """
    if len(secret) != 32:
        raise ReleaseError(f"{what} holds {len(secret)} bytes, not an Ed25519 key; give another")
    private = Ed25519PrivateKey.from_private_bytes(secret)
    public = private.public_key().public_bytes_raw().hex()
    for key in keys.values():
        if isinstance(key, SSlibKey) and key.keyval.get("public") == public:
            return CryptoSigner(private, key)
    known = ", ".join(sorted(key_name(key) for key in keys.values())) or "nobody"
    raise ReleaseError(
        f"{what} is none of the keys that may sign this (they are of: {known}); give one of those"
    )


def _named(public: Ed25519PublicKey, name: str) -> Key:
    key = SSlibKey.from_crypto(public)
    key.unrecognized_fields[NAME_FIELD] = name
    return key
