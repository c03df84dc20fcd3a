"""Whom a role believes: the newest signed directory that it has seen, and never an older one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from protocol.admissions import ADMISSIONS_KIND, Admissions, open_admissions
from protocol.directory import Directory, open_directory
from protocol.directory_forms import FIRST, SECOND, DirectoryForms, FormsContradict
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import DirectoryRollback, ProtocolError, UnsupportedVersion
from protocol.policy import Policy, open_policy
from protocol.signing import VerifyKey, signed_kind
from runtime.errors import OperationError
from runtime.fsio import FileProblem, read_file, write_if_new

_log = structlog.get_logger()
_DIRECTORY_FILE, _ADMISSIONS_FILE = "directory.cbor", "admissions.cbor"
_MAX_POLICY_BYTES = 1 << 20
_MAX_SIGNATURE_BYTES = 4096


class TrustError(OperationError):
    """The directory or the policy that a role was installed with cannot be used."""


def first_form_file(path: Path) -> Path:
    """Return where the first form of the directory lies beside ``path``, which has the newest."""
    return path.with_name(f"{path.stem}-{FIRST}{path.suffix}")


class Trust:
    """Holds the site's directory for all threads; newer ones are taken in and kept on disk.

    What counts is the authority's directory with the registrar's admissions applied to it
    (`protocol.admissions`). Each has its own version, and neither ever goes back; nor does the form
    of the directory (`protocol.directory_forms`).
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
            installed: the file that provisioning wrote; the first form lies beside it.
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
        self._forms = self._read_all(installed)
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
        """The newest directory as the authority signed it, in its second form if that has come."""
        with self._lock:
            return self._forms.newest.signed

    @property
    def signed_form(self) -> int:
        """The form of `signed`."""
        with self._lock:
            return self._forms.newest.directory.form

    def signed_in(self, form: int) -> bytes | None:
        """Return the newest directory of one form as signed; None when none has come."""
        with self._lock:
            return self._forms.signed_in(form)

    def readable_in(self, form: int) -> bytes:
        """Return the newest directory as signed for a machine that reads forms up to ``form``."""
        with self._lock:
            return self._forms.readable_in(form)

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
            before = self._forms.newest.signed
            taken = self._accept_admissions(data) if is_admissions else self._accept_directory(data)
            if not taken:
                return False
            changed = is_admissions or self._forms.newest.signed != before
            if changed:
                self._directory = self._effective()
            directory = self._directory
            version = self._admissions.version if self._admissions else 0
        _log.info(
            "directory_accepted",
            version=directory.version,
            form=directory.form,
            admissions=version,
        )
        for tell in self._listeners:
            tell(directory)
        self._keep(_ADMISSIONS_FILE if is_admissions else _DIRECTORY_FILE)
        return changed

    def on_change(self, tell: Callable[[Directory], None]) -> None:
        """Have ``tell`` called with every directory that comes into force from now on.

        Also with the same one again, when its other form has come.
        """
        self._listeners.append(tell)

    def reload(self) -> bool:
        """Read the installed file again (SIGHUP); tell whether it was newer.

        Raises:
            TrustError: the file cannot be used.
        """
        forms = self._read_all(self._installed)
        newest = forms.newest
        try:
            changed = self.accept(newest.signed)
        except DirectoryRollback as error:
            raise TrustError(f"{self._installed}: {error}") from error
        for other in forms:
            if other is not newest:
                with suppress(DirectoryRollback):  # left behind, where only the newest was brought
                    changed |= self.accept(other.signed)
        return changed

    def _keep(self, name: str) -> None:
        """Write what is in force **now**: a newer one may have come in another thread."""
        if self._state_dir is None:
            return
        file = self._state_dir / name
        with self._keeping:
            for path, data in self._to_keep(file).items():
                if data is not None:
                    write_if_new(path, data)

    def _to_keep(self, file: Path) -> dict[Path, bytes | None]:
        if file.name == _ADMISSIONS_FILE:
            return {file: self.signed_admissions}
        first, second = self.signed_in(FIRST), self.signed_in(SECOND)
        return {file: first} if second is None else {first_form_file(file): first, file: second}

    def _accept_directory(self, data: bytes) -> bool:
        directory = open_directory(data, self.authority, site=self.site)
        before = self._forms
        try:
            self._forms = before.taking(data, directory)
        except FormsContradict:
            self._contradicted("directory", directory.version, before.newest.signed, data)
        return self._forms is not before

    def _accept_admissions(self, data: bytes, *, kept: bool = False) -> bool:
        listed = self._forms.newest.directory
        admissions = open_admissions(data, listed, newest=self._admissions, kept=kept)
        if self._admissions is not None and admissions.version == self._admissions.version:
            if self._signed_admissions not in {None, data}:
                ours = self._signed_admissions or b""
                self._contradicted("admissions", admissions.version, ours, data)
            return False
        self._signed_admissions, self._admissions = data, admissions
        return True

    def _contradicted(self, what: str, version: int, ours: bytes, theirs: bytes) -> None:
        """Say, once, that two different lists of one version carry the true signature."""
        if theirs in self._contradicting:
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
        listed = self._forms.in_force
        return listed if self._admissions is None else self._admissions.apply(listed)

    def _read_kept(self) -> None:
        if self._state_dir is None:
            return
        kept = self._state_dir / _DIRECTORY_FILE
        for path in (kept, first_form_file(kept)):
            if path.exists():
                self._take_kept(path)
        kept = self._state_dir / _ADMISSIONS_FILE
        if kept.exists():
            try:
                self._accept_admissions(read_file(kept, MAX_MESSAGE_BYTES), kept=True)
            except (FileProblem, ProtocolError) as error:
                _log.warning("received_admissions_unusable", reason=str(error))

    def _take_kept(self, path: Path) -> None:
        try:
            signed, received = self._read(path)
            self._forms = self._forms.taking(signed, received)
        except TrustError as error:
            _log.warning("received_directory_unusable", reason=str(error))
        except DirectoryRollback:
            return  # a newer one has been installed since
        except FormsContradict:  # what was in force before stays so
            installed, self._forms = self._forms, DirectoryForms.of(signed, received)
            theirs = installed.newest.signed
            self._contradicted("directory", received.version, signed, theirs)

    def _read_all(self, path: Path) -> DirectoryForms:
        """Read the directory at ``path`` and its first form beside it, if that is there.

        Raises:
            TrustError: a file cannot be used, or the two contradict one another.
        """
        forms = DirectoryForms.of(*self._read(path))
        first = first_form_file(path)
        if first.exists():
            try:
                forms = forms.taking(*self._read(first))
            except DirectoryRollback:
                pass  # left behind by an update that was stopped, or by older software
            except FormsContradict as error:
                raise TrustError(f"{path} and {first.name}: {error}; install both again") from error
        return forms

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
