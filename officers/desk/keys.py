"""Unlock an officer's keys: apart from using them, so that a use case asks nobody for anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from officers.desk.officer import Officer, OfficerError
from officers.desk.phrases import phrase
from protocol import hpke
from protocol.directory import Principal
from protocol.signing import SigningKey
from runtime.keyfiles import is_sealed, read_secret

_IDENTITY, _SEALING = "identity", "sealing"


@dataclass(frozen=True, slots=True)
class Keys:
    """An officer's keys, unlocked: one signs, one opens what is sealed to the officer."""

    identity: SigningKey = field(repr=False)
    _sealing: hpke.PrivateKey | None = field(repr=False)

    @property
    def sealing(self) -> hpke.PrivateKey:
        """The key that opens what is sealed to the officer.

        Raises:
            OfficerError: nothing is ever sealed to this officer.
        """
        if self._sealing is None:
            raise OfficerError(
                phrase(
                    "the site's directory lists no sealing key of yours, so nothing is sealed to "
                    "you"
                )
            )
        return self._sealing


def unlock(officer: Officer, passphrase: bytes | None) -> Keys:
    """Open the keys that the directory lists for an officer; not all have one to open seals.

    Args:
        officer: whose.
        passphrase: of both; not looked at for a file that is not sealed.

    Raises:
        WrongPassphrase, PassphraseMissing: a file is sealed and does not open with it.
        KeyFileError, FileProblem: a file is damaged, or cannot be read.
        OfficerError: a key is not the one that the directory lists.
    """
    identity = open_identity(officer, passphrase)
    sealed_to = officer.directory.principals[officer.name].seal_key is not None
    return Keys(identity, open_sealing(officer, passphrase) if sealed_to else None)


def open_identity(officer: Officer, passphrase: bytes | None) -> SigningKey:
    """Open the key that an officer signs with.

    Args:
        officer: whose.
        passphrase: what the file is sealed under; not looked at if the file is not sealed.

    Raises:
        WrongPassphrase, PassphraseMissing: the file is sealed and does not open with it.
        KeyFileError, FileProblem: the file is damaged, or cannot be read.
        OfficerError: it is not the key that the directory lists.
    """
    path = officer.config.identity
    key = SigningKey(officer.name, _secret(path, passphrase, _IDENTITY))
    _require_listed(officer, path, lambda listed: listed.verify_key == key.verify_key)
    return key


def open_sealing(officer: Officer, passphrase: bytes | None) -> hpke.PrivateKey:
    """Open the key that opens what is sealed to an officer; as `open_identity`."""
    path = officer.config.sealing
    key = hpke.PrivateKey(_secret(path, passphrase, _SEALING))
    _require_listed(officer, path, lambda listed: listed.seal_key == key.public)
    return key


def _secret(path: Path, passphrase: bytes | None, purpose: str) -> bytes:
    return read_secret(path, passphrase if is_sealed(path) else None, purpose)


def _require_listed(officer: Officer, path: Path, fits: Callable[[Principal], bool]) -> None:
    listed = officer.directory.principals.get(officer.name)
    if listed is None or not fits(listed):
        raise OfficerError(
            phrase(
                "{path} is not the key that the site's directory lists for '{name}'; nobody would "
                "accept what it signs: install the key that was issued last",
                path=path,
                name=officer.name,
            )
        )
