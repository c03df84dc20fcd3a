"""Whom this custodian believes: the newest signed directory it has seen, and a policy of its own.

Both count only under the site authority's signature, and never in an older version than was seen
before. A newer directory may come over HTTP; the policy only as a file on this machine.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from custodian.config import CustodianConfig
from custodian.errors import TrustError
from custodian.store import Store
from protocol import hpke
from protocol.directory import AUDITOR, BOX, CUSTODIAN, Directory, Principal, open_directory
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import PrincipalRevoked, ProtocolError, UnknownSigner
from protocol.policy import Policy, open_policy
from protocol.signing import VerifyKey
from runtime.fsio import FileProblem, atomic_write, read_file

DIRECTORY_FILE = "directory.cbor"
_POLICY_VERSION = "policy_version"
_DIRECTORY_VERSION = "directory_version"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Site:
    """What counts at one moment: directory, policy, and which box in force speaks for a camera."""

    directory: Directory
    directory_digest: bytes
    policy: Policy
    boxes: Mapping[str, Principal]

    def auditors(self) -> dict[str, hpke.PublicKey]:
        """Return the auditors in force, to whom log entries are sealed."""
        return {
            p.name: p.seal_key for p in self.directory.with_duty(AUDITOR) if p.seal_key is not None
        }


class Trust:
    """Holds the directory and the policy for all threads; takes in newer ones."""

    def __init__(self, config: CustodianConfig, store: Store, key: VerifyKey) -> None:
        """Read both as installed, and the directory as received since if that is newer.

        Raises:
            TrustError: the directory or the policy cannot be believed (altered, older than seen
                before), or the directory does not know this custodian under ``key``.
        """
        self._config = config
        self._store = store
        self._key = key
        self._lock = threading.Lock()
        raw, directory = self._installed_directory()
        received = config.state_dir / DIRECTORY_FILE
        if received.exists():
            later_raw, later = self._read_directory(received)
            if later.version > directory.version:
                raw, directory = later_raw, later
        seen = int(store.fact(_DIRECTORY_VERSION) or 0)
        if directory.version < seen:
            raise TrustError(
                f"{config.directory}: version {directory.version} of the directory is older than "
                f"version {seen}, which was in force here; install the newest one"
            )
        self._site = self._joined(raw, directory, self._read_policy())
        self._remember()

    @property
    def site(self) -> Site:
        """What counts now."""
        with self._lock:
            return self._site

    def accept_directory(self, data: bytes) -> bool:
        """Take in a signed directory; tell whether it was newer, and so is now in force.

        Raises:
            SignatureInvalid, MalformedMessage: it is not a directory of this site.
            DirectoryRollback: it is older than the one in force.
            TrustError: it lists no auditor.
            FileProblem, StorageError: it cannot be kept; the earlier one stays in force.
        """
        with self._lock:
            directory = open_directory(
                data,
                self._config.authority_key,
                site=self._config.site,
                newest=self._site.directory,
            )
            if directory.version == self._site.directory.version:
                return False
            site = self._joined(data, directory, self._site.policy, must_know_us=False)
            atomic_write(self._config.state_dir / DIRECTORY_FILE, data)
            self._site = site
            self._remember()
        _log.info("directory_accepted", version=directory.version)
        return True

    def reload(self) -> bool:
        """Read the installed files again (SIGHUP); tell whether anything changed.

        Raises:
            TrustError: a file cannot be believed; what was in force stays in force.
        """
        raw, directory = self._installed_directory()
        changed = False
        if directory.version > self.site.directory.version:
            changed = self.accept_directory(raw)
        policy = self._read_policy()
        with self._lock:
            if policy.digest != self._site.policy.digest:
                site = self._site
                self._site = Site(site.directory, site.directory_digest, policy, site.boxes)
                self._remember()
                changed = True
                _log.info("policy_accepted", version=policy.version)
        return changed

    def require_us(self) -> None:
        """Check that the directory in force still lists this custodian under its key.

        Raises:
            UnknownSigner, PrincipalRevoked: it does not.
        """
        _require_us(self.site.directory, self._config.name, self._key)

    def _installed_directory(self) -> tuple[bytes, Directory]:
        return self._read_directory(self._config.directory)

    def _read_directory(self, path: Path) -> tuple[bytes, Directory]:
        try:
            raw = read_file(path, MAX_MESSAGE_BYTES)
            return raw, open_directory(raw, self._config.authority_key, site=self._config.site)
        except FileProblem as error:
            raise TrustError(f"the site's directory: {error}") from error
        except ProtocolError as error:
            raise TrustError(
                f"{path} is not this site's directory: {error}; install the one that the site's "
                "authority signed, and the authority's key in custodian.toml"
            ) from error

    def _read_policy(self) -> Policy:
        config = self._config
        try:
            policy = open_policy(
                read_file(config.policy, MAX_MESSAGE_BYTES),
                read_file(config.policy_signature, 4096),
                config.authority_key,
                site=config.site,
            )
        except FileProblem as error:
            raise TrustError(f"the site's policy: {error}") from error
        except ProtocolError as error:
            raise TrustError(
                f"{config.policy} cannot be believed: {error}; it was altered, or signed for "
                "another site: install the signed policy again"
            ) from error
        seen = int(self._store.fact(_POLICY_VERSION) or 0)
        if policy.version < seen:
            raise TrustError(
                f"{config.policy}: version {policy.version} of the policy is older than version "
                f"{seen}, which was in force here; install the newest one"
            )
        return policy

    def _joined(
        self, raw: bytes, directory: Directory, policy: Policy, *, must_know_us: bool = True
    ) -> Site:
        if must_know_us:
            try:
                _require_us(directory, self._config.name, self._key)
            except ProtocolError as error:
                raise TrustError(
                    f"{error}; install this custodian's own identity and the newest directory"
                ) from error
        boxes = {camera: box for box in directory.with_duty(BOX) for camera in box.cameras}
        site = Site(directory, hashlib.sha256(raw).digest(), policy, boxes)
        if not site.auditors():
            raise TrustError(
                "the directory lists no auditor in force: nobody could read this custodian's log; "
                "add one (`sealtrace site`)"
            )
        return site

    def _remember(self) -> None:
        self._store.set_fact(_DIRECTORY_VERSION, str(self._site.directory.version))
        self._store.set_fact(_POLICY_VERSION, str(self._site.policy.version))


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
