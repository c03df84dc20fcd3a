"""Whom a role believes: the newest signed directory that it has seen, and never an older one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from protocol.admissions import ADMISSIONS_KIND, Admissions, open_admissions
from protocol.directory import Directory, open_directory
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import DirectoryRollback, ProtocolError, UnsupportedVersion
from protocol.policy import Policy, open_policy
from protocol.signing import VerifyKey, signed_kind
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file

_log = structlog.get_logger()
_DIRECTORY_FILE, _ADMISSIONS_FILE = "directory.cbor", "admissions.cbor"
_MAX_POLICY_BYTES = 1 << 20
_MAX_SIGNATURE_BYTES = 4096


class TrustError(OperationError):
    """The directory or the policy that a role was installed with cannot be used."""


class Trust:
    """Holds the site's directory for all threads; newer ones are taken in and kept on disk.

    What counts is the authority's directory with the registrar's admissions applied to it
    (`protocol.admissions`). Each has its own version, and neither ever goes back.
    """

    def __init__(
        self,
        *,
        site: str,
        authority: VerifyKey,
        installed: Path,
        state_dir: Path | None,
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
        self._state_dir = state_dir
        self._lock = threading.Lock()
        self._keeping = threading.Lock()
        self._listeners: list[Callable[[Directory], None]] = []
        self._contradicting: set[bytes] = set()
        self._signed, self._listed = self._read(installed)
        self._admissions: Admissions | None = None
        self._signed_admissions: bytes | None = None
        self._read_kept()
        self._directory = self._effective()

    @property
    def directory(self) -> Directory:
        """The newest directory, with the newest admissions applied."""
        with self._lock:
            return self._directory

    @property
    def signed(self) -> bytes:
        """The newest directory as the authority signed it."""
        with self._lock:
            return self._signed

    @property
    def signed_admissions(self) -> bytes | None:
        """The newest admissions as the registrar signed them; None when there are none."""
        with self._lock:
            return self._signed_admissions

    @property
    def admissions_version(self) -> int:
        """The version of the newest admissions; 0 when there are none."""
        with self._lock:
            return self._admissions.version if self._admissions else 0

    def accept(self, data: bytes) -> bool:
        """Take in a signed directory or admissions; tell whether they were newer, so in force.

        Raises:
            SignatureInvalid, MalformedMessage: they are not of this site.
            DirectoryRollback: they are older than those in force.
            FileProblem: they cannot be kept on disk (they are in force all the same).
        """
        is_admissions = signed_kind(data) == ADMISSIONS_KIND
        with self._lock:
            changed = (
                self._accept_admissions(data) if is_admissions else self._accept_directory(data)
            )
            if not changed:
                return False
            self._directory = directory = self._effective()
            version = self._admissions.version if self._admissions else 0
        _log.info("directory_accepted", version=directory.version, admissions=version)
        for tell in self._listeners:
            tell(directory)
        self._keep(_ADMISSIONS_FILE if is_admissions else _DIRECTORY_FILE)
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

    def _keep(self, name: str) -> None:
        """Write what is in force **now**: a newer one may have come in another thread."""
        if self._state_dir is None:
            return
        with self._keeping:
            newest = self.signed_admissions if name == _ADMISSIONS_FILE else self.signed
            if newest is not None:
                atomic_write(self._state_dir / name, newest)

    def _accept_directory(self, data: bytes) -> bool:
        directory = open_directory(data, self.authority, site=self.site, newest=self._listed)
        if directory.version == self._listed.version:
            self._compare("directory", directory.version, self._signed, data)
            return False
        self._signed, self._listed = data, directory
        return True

    def _accept_admissions(self, data: bytes, *, kept: bool = False) -> bool:
        admissions = open_admissions(data, self._listed, newest=self._admissions, kept=kept)
        if self._admissions is not None and admissions.version == self._admissions.version:
            self._compare("admissions", admissions.version, self._signed_admissions, data)
            return False
        self._signed_admissions, self._admissions = data, admissions
        return True

    def _compare(self, what: str, version: int, ours: bytes | None, theirs: bytes) -> None:
        """Say, once, that two different lists of one version carry the true signature."""
        if ours is None or ours == theirs or theirs in self._contradicting:
            return
        self._contradicting.add(theirs)
        _log.critical(
            "directory_contradicted",
            list=what,
            version=version,
            ours=hashlib.sha256(ours).hexdigest(),
            theirs=hashlib.sha256(theirs).hexdigest(),
            effect="ours stays in force; tell the auditors and the site's authority",
        )

    def _effective(self) -> Directory:
        return self._listed if self._admissions is None else self._admissions.apply(self._listed)

    def _read_kept(self) -> None:
        if self._state_dir is None:
            return
        kept = self._state_dir / _DIRECTORY_FILE
        if kept.exists():
            try:
                signed, received = self._read(kept)
            except TrustError as error:
                _log.warning("received_directory_unusable", reason=str(error))
            else:
                if received.version >= self._listed.version:
                    self._signed, self._listed = signed, received
        kept = self._state_dir / _ADMISSIONS_FILE
        if kept.exists():
            try:
                self._accept_admissions(read_file(kept, MAX_MESSAGE_BYTES), kept=True)
            except (FileProblem, ProtocolError) as error:
                _log.warning("received_admissions_unusable", reason=str(error))

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
        return open_policy(text, read_file(signature, _MAX_SIGNATURE_BYTES), authority, site=site)
    except FileProblem as error:
        raise TrustError(f"the site's policy: {error}") from error
    except UnsupportedVersion as error:  # genuine: the signature is checked first
        raise TrustError(f"{path}: {error}") from error
    except ProtocolError as error:
        raise TrustError(
            f"{path} cannot be believed: {error}; it was altered, or signed for another site: "
            "install the signed policy again"
        ) from error
