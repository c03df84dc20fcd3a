"""Whom this custodian believes: the newest signed directory it has seen, and a policy of its own.

Both count only under the site authority's signature, and never in an older version than was seen
before. A newer directory may come over HTTP; the policy only as a file on this machine.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

import runtime.trust
from custodian.config import CustodianConfig
from custodian.errors import TrustError
from custodian.history import SharingHistory
from custodian.rights import FormerRights, RightsHistory
from custodian.store import Store
from protocol import hpke
from protocol.directory import CUSTODIAN, Directory
from protocol.errors import (
    DirectoryRollback,
    NotAuthorized,
    PrincipalRevoked,
    ProtocolError,
    UnknownSigner,
)
from protocol.policy import Policy
from protocol.sharing import SharingRule
from protocol.signing import VerifyKey
from runtime.clock import system_ms

_POLICY_VERSION = "policy_version"
_DIRECTORY_VERSION = "directory_version"
_ADMISSIONS_VERSION = "admissions_version"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Site:
    """What counts at one moment: directory, policy, how keys were shared, which box might speak."""

    directory: Directory
    directory_digest: bytes
    policy: Policy
    sharing: tuple[SharingRule, ...]
    admissions_version: int = 0
    admissions_digest: bytes | None = None
    former_rights: FormerRights = field(default_factory=FormerRights)
    directory_form: int = 1

    def auditors(self) -> dict[str, hpke.PublicKey]:
        """Return the auditors in force, to whom log entries are sealed."""
        return self.directory.auditors()


class Trust:
    """Holds the directory and the policy for all threads; takes in newer ones.

    The directory is `runtime.trust.Trust`'s: the authority's, with the registrar's admissions. On
    top of it the versions that were once in force are remembered in the database, so that files
    put back from an old backup are noticed, and the policy is held as a file of our own.
    """

    def __init__(
        self,
        config: CustodianConfig,
        store: Store,
        key: VerifyKey,
        *,
        now_ms: Callable[[], int] = system_ms,
    ) -> None:
        """Read both as installed, and the directory and admissions as received since.

        Raises:
            TrustError: the directory or the policy cannot be believed (altered, older than seen
                before), or the directory does not know this custodian under ``key``.
        """
        self._config = config
        self._store = store
        self._key = key
        self._now_ms = now_ms
        self._history = SharingHistory(store, config.authority_key, site=config.site)
        self._rights = RightsHistory(store)
        self._lock = threading.Lock()
        with _as_ours():
            self._trust = runtime.trust.Trust(
                site=config.site,
                authority=config.authority_key,
                installed=config.directory,
                state_dir=config.state_dir,
            )
        directory = self._trust.directory
        self._require_not_older(
            _DIRECTORY_VERSION, directory.version, f"{config.directory}: version", "the directory"
        )
        self._require_not_older(
            _ADMISSIONS_VERSION,
            self._trust.admissions_version,
            f"{config.state_dir / 'admissions.cbor'}: version",
            "the registrar's admissions",
        )
        try:
            _require_us(directory, config.name, key)
        except ProtocolError as error:
            raise TrustError(
                f"{error}; install this custodian's own identity and the newest directory"
            ) from error
        self._site = self._joined(self._read_policy())
        self._remember()

    @property
    def site(self) -> Site:
        """What counts now."""
        with self._lock:
            return self._site

    @property
    def directory(self) -> Directory:
        """The directory that counts now."""
        return self.site.directory

    @property
    def signed(self) -> bytes:
        """The directory in force, as the authority signed it."""
        return self._trust.signed

    def readable_in(self, form: int) -> bytes:
        """Return the directory in force, as signed, for a machine that reads up to ``form``."""
        return self._trust.readable_in(form)

    @property
    def signed_admissions(self) -> bytes | None:
        """The admissions in force, as the registrar signed them; None when there are none."""
        return self._trust.signed_admissions

    def accept_directory(self, data: bytes) -> bool:
        """Take in a signed directory or admissions; tell whether they were newer, so in force.

        Raises:
            SignatureInvalid, MalformedMessage: they are not of this site.
            DirectoryRollback: they are older than those in force.
            FileProblem, StorageError: they cannot be kept (they are in force all the same).
        """
        with self._lock, _as_ours():
            try:
                return self._trust.accept(data)
            finally:
                self._refresh()

    def reload(self) -> bool:
        """Read the installed files again (SIGHUP); tell whether anything changed.

        Raises:
            TrustError: a file cannot be believed; what was in force stays in force.
        """
        with self._lock, _as_ours():
            try:
                changed = self._trust.reload()
            except runtime.trust.TrustError as error:
                if not isinstance(error.__cause__, DirectoryRollback):
                    raise
                changed = False  # the one received since is newer
            finally:
                self._refresh()
        policy = self._read_policy()
        with self._lock:
            if policy.digest != self._site.policy.digest:
                self._site = self._joined(policy)
                self._remember()
                changed = True
                _log.info("policy_accepted", version=policy.version)
        return changed

    def require_fit_to_grant(self) -> None:
        """Check that this custodian may grant at all, whatever is asked.

        Raises:
            UnknownSigner, PrincipalRevoked: the directory no longer lists it under its key.
            NotAuthorized: no auditor is in force, so nobody could read what was granted.
        """
        site = self.site
        _require_us(site.directory, self._config.name, self._key)
        if not site.auditors():
            raise NotAuthorized(
                "the directory lists no auditor in force: nothing is granted while nobody could "
                "read this custodian's log; add an auditor (`sealtrace site`)"
            )

    def _read_policy(self) -> Policy:
        config = self._config
        with _as_ours():
            policy = runtime.trust.read_policy(
                config.policy,
                config.policy_signature,
                authority=config.authority_key,
                site=config.site,
            )
        seen = int(self._store.fact(_POLICY_VERSION) or 0)
        if policy.version < seen:
            raise TrustError(
                f"{config.policy}: version {policy.version} of the policy is older than version "
                f"{seen}, which was in force here; install the newest one"
            )
        return policy

    def _require_not_older(self, fact: str, version: int, where: str, what: str) -> None:
        seen = int(self._store.fact(fact) or 0)
        if version < seen:
            raise TrustError(
                f"{where} {version} of {what} is older than version {seen}, which was in force"
                " here; install the newest one"
            )

    def _refresh(self) -> None:
        """Go by the directory that is in force now; the lock is held."""
        if self._trust.directory is not self._site.directory:
            self._site = self._joined(self._site.policy)
            self._remember()

    def _joined(self, policy: Policy) -> Site:
        trust = self._trust
        directory, admissions = trust.directory, trust.signed_admissions
        now_ms = self._now_ms()
        self._history.note(directory, trust.signed, now_ms=now_ms)
        former_rights = self._rights.note(directory, now_ms=now_ms)
        if not directory.auditors():
            _log.error("no_auditor_in_force", effect="nothing is granted until there is one")
        return Site(
            directory=directory,
            directory_digest=hashlib.sha256(trust.signed).digest(),
            policy=policy,
            sharing=self._history.rules(directory),
            directory_form=trust.signed_form,
            admissions_version=trust.admissions_version,
            admissions_digest=None if admissions is None else hashlib.sha256(admissions).digest(),
            former_rights=former_rights,
        )

    def _remember(self) -> None:
        site = self._site
        self._history.keep()
        self._rights.keep()
        self._store.set_fact(_DIRECTORY_VERSION, str(site.directory.version))
        self._store.set_fact(_ADMISSIONS_VERSION, str(site.admissions_version))
        self._store.set_fact(_POLICY_VERSION, str(site.policy.version))


@contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except TrustError:
        raise
    except runtime.trust.TrustError as error:
        raise TrustError(str(error)) from error


def _require_us(directory: Directory, name: str, key: VerifyKey) -> None:
    principal = directory.principals.get(name)
    if principal is None or CUSTODIAN not in principal.duties:
        raise UnknownSigner(f"the directory lists no custodian '{name}'")
    if principal.revoked_at_ms is not None:
        raise PrincipalRevoked(f"the custodian '{name}' has been revoked")
    if principal.verify_key != key:
        raise UnknownSigner(
            f"the directory knows '{name}' by the key {principal.verify_key.fingerprint}, "
            f"this custodian has {key.fingerprint}"
        )
