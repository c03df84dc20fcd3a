"""Whom a role believes: the newest signed directory that it has seen, and never an older one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from protocol.directory import Directory, open_directory
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import DirectoryRollback, ProtocolError
from protocol.policy import Policy, open_policy
from protocol.signing import VerifyKey
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file

_log = structlog.get_logger()
_DIRECTORY_FILE = "directory.cbor"
_MAX_POLICY_BYTES = 1 << 20


class TrustError(OperationError):
    """The directory or the policy that a role was installed with cannot be used."""


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
            state_dir: folder where a newer one is kept; None: keep none (for a check).

        Raises:
            TrustError: the installed file cannot be used.
        """
        self.site = site
        self.authority = authority
        self._installed = installed
        self._kept = None if state_dir is None else state_dir / _DIRECTORY_FILE
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Directory], None]] = []
        self._signed, self._directory = self._read(installed)
        if self._kept is not None and self._kept.exists():
            try:
                signed, received = self._read(self._kept)
            except TrustError as error:
                _log.warning("received_directory_unusable", reason=str(error))
            else:
                if received.version >= self._directory.version:
                    self._signed, self._directory = signed, received

    @property
    def directory(self) -> Directory:
        """The newest directory."""
        with self._lock:
            return self._directory

    @property
    def signed(self) -> bytes:
        """The newest directory as it was signed."""
        with self._lock:
            return self._signed

    def accept(self, data: bytes) -> bool:
        """Take in a signed directory; tell whether it was newer, and so is now in force.

        Raises:
            SignatureInvalid, MalformedMessage: it is not a directory of this site.
            DirectoryRollback: it is older than the one in force.
            FileProblem: it cannot be kept on disk (it is in force all the same).
        """
        with self._lock:
            directory = open_directory(data, self.authority, site=self.site, newest=self._directory)
            if directory.version == self._directory.version:
                return False
            self._signed, self._directory = data, directory
        _log.info("directory_accepted", version=directory.version)
        for tell in self._listeners:
            tell(directory)
        if self._kept is not None:
            atomic_write(self._kept, data)
        return True

    def on_change(self, tell: Callable[[Directory], None]) -> None:
        """Have ``tell`` called with every directory that comes into force from now on."""
        self._listeners.append(tell)

    def reload(self) -> bool:
        """Read the installed file again (SIGHUP); tell whether it was newer.

        Raises:
            TrustError: the file cannot be used.
        """
        signed, _ = self._read(self._installed)
        try:
            return self.accept(signed)
        except DirectoryRollback as error:
            raise TrustError(f"{self._installed}: {error}") from error

    def _read(self, path: Path) -> tuple[bytes, Directory]:
        try:
            signed = read_file(path, MAX_MESSAGE_BYTES)
            return signed, open_directory(signed, self.authority, site=self.site)
        except FileProblem as error:
            raise TrustError(f"the site's directory: {error}") from error
        except ProtocolError as error:
            raise TrustError(
                f"{path} is not this site's directory: {error}; "
                "install the one that provisioning wrote, and its authority key in the "
                "configuration"
            ) from error


def read_policy(path: Path, signature: Path, *, authority: VerifyKey, site: str) -> Policy:
    """Read the site's policy and check the authority's signature over it.

    Raises:
        TrustError: a file is missing, or the policy is not the one that was signed.
    """
    try:
        text = read_file(path, _MAX_POLICY_BYTES)
        return open_policy(text, read_file(signature, _MAX_POLICY_BYTES), authority, site=site)
    except FileProblem as error:
        raise TrustError(f"the site's policy: {error}") from error
    except ProtocolError as error:
        raise TrustError(f"{path}: {error}; install the policy as provisioning wrote it") from error
