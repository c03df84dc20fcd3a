"""Whom this box believes: the newest signed directory that it has seen, and never an older one."""

from __future__ import annotations

import threading
from pathlib import Path

import structlog

from protocol.directory import BOX, Directory, Principal, open_directory
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import DirectoryRollback, ProtocolError, UnknownSigner
from protocol.signing import VerifyKey
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file

_log = structlog.get_logger()

DIRECTORY_FILE = "directory.cbor"


class TrustError(OperationError):
    """There is no directory to go by, or it does not know this box as it is configured."""


class NotOurBox(TrustError):
    """The directory gives this box's name another key, or other cameras."""


class Trust:
    """Holds the site's directory for all threads; newer ones are taken in and kept on disk."""

    def __init__(
        self, *, site: str, authority: VerifyKey, installed: Path, state_dir: Path | None
    ) -> None:
        """Read the directory as installed and, if newer, as received since.

        Args:
            site: the site it must be of.
            authority: who must have signed it.
            installed: the file that provisioning wrote.
            state_dir: where a newer one is kept; None: keep none (for a check).

        Raises:
            TrustError: neither file can be used.
        """
        self._site = site
        self._authority = authority
        self._installed = installed
        self._state_dir = state_dir
        self._lock = threading.Lock()
        self._raw, self._directory = self._read(installed)
        if state_dir is not None and (state_dir / DIRECTORY_FILE).exists():
            try:
                raw, received = self._read(state_dir / DIRECTORY_FILE)
            except TrustError as error:
                _log.warning("received_directory_unusable", reason=str(error))
            else:
                if received.version >= self._directory.version:
                    self._raw, self._directory = raw, received

    @property
    def directory(self) -> Directory:
        """The newest directory."""
        with self._lock:
            return self._directory

    def accept(self, data: bytes) -> bool:
        """Take in a signed directory; tell whether it was newer, and so is now in force.

        Raises:
            SignatureInvalid, MalformedMessage: it is not a directory of this site.
            DirectoryRollback: it is older than the one in force.
            FileProblem: it cannot be kept on disk (it is in force all the same).
        """
        with self._lock:
            directory = open_directory(
                data, self._authority, site=self._site, newest=self._directory
            )
            if directory.version == self._directory.version:
                return False
            self._raw, self._directory = data, directory
        _log.info("directory_accepted", version=directory.version)
        if self._state_dir is not None:
            atomic_write(self._state_dir / DIRECTORY_FILE, data)
        return True

    def reload(self) -> bool:
        """Read the installed file again (SIGHUP); tell whether it was newer.

        Raises:
            TrustError: the file cannot be used.
        """
        raw, _ = self._read(self._installed)
        try:
            return self.accept(raw)
        except DirectoryRollback as error:
            raise TrustError(f"{self._installed}: {error}") from error

    def require_box(self, name: str, key: VerifyKey, cameras: tuple[str, ...]) -> Principal:
        """Return this box's entry after comparing it with what the box is.

        Raises:
            PrincipalRevoked: the box has been revoked.
            NotOurBox: not listed, or with another key, or not for all of ``cameras``.
        """
        try:
            principal = self.directory.require(name, BOX)
        except UnknownSigner as error:
            raise NotOurBox(
                f"the directory of site '{self._site}' lists no box '{name}'; "
                "enrol the box (`sealtrace box`) or correct `box` in box.toml"
            ) from error
        if principal.verify_key != key:
            raise NotOurBox(
                f"the directory knows '{name}' by the key {principal.verify_key.fingerprint}, "
                f"this box has {key.fingerprint}; install the identity made for it, or enrol anew"
            )
        missing = sorted(set(cameras) - set(principal.cameras))
        if missing:
            raise NotOurBox(
                f"the directory does not let '{name}' speak for {', '.join(missing)}; "
                "correct the cameras in box.toml or enrol the box with them"
            )
        return principal

    def _read(self, path: Path) -> tuple[bytes, Directory]:
        try:
            raw = read_file(path, MAX_MESSAGE_BYTES)
            return raw, open_directory(raw, self._authority, site=self._site)
        except FileProblem as error:
            raise TrustError(f"the site's directory: {error}") from error
        except ProtocolError as error:
            raise TrustError(
                f"{path} is not this site's directory: {error}; "
                "install the one that provisioning wrote, and its authority key in box.toml"
            ) from error
