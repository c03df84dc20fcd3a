"""Writes this custodian's audit log: what it does is durable there before it takes effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from custodian.store import Store
from custodian.trust import Site
from runtime.auditlog import AuditLog

_LOGGED_DIRECTORY = "logged_directory"
_LOGGED_POLICY = "logged_policy"


class Journal:
    """The audit log with this custodian's name and time filled in."""

    def __init__(
        self, log: AuditLog, store: Store, *, actor: str, now_ms: Callable[[], int]
    ) -> None:
        self._log = log
        self._store = store
        self._actor = actor
        self._now_ms = now_ms

    def write(
        self,
        kind: str,
        body: Mapping[str, object],
        *,
        query_id: bytes | None = None,
        time_ms: int | None = None,
    ) -> int:
        """Append an entry; return its index. When this returns, the entry is durable.

        Raises:
            StorageFull, StorageError: it is not in the log: what it records must not happen.
        """
        at_ms = self._now_ms() if time_ms is None else time_ms
        return self._log.append(kind, at_ms, self._actor, query_id, body)

    def note_site(self, site: Site) -> None:
        """Seal to the auditors in force from now on; log directory and policy if they are new."""
        self._log.auditors = site.auditors()
        for kind, fact, version, digest in (
            ("directory", _LOGGED_DIRECTORY, site.directory.version, site.directory_digest),
            ("policy", _LOGGED_POLICY, site.policy.version, site.policy.digest),
        ):
            if self._store.fact(fact) != digest.hex():
                self.write(kind, {"version": version, "digest": digest})
                self._store.set_fact(fact, digest.hex())
