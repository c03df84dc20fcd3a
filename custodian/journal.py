"""Writes this custodian's audit log: what it does is durable there before it takes effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from custodian.store import Store
from custodian.trust import Site
from protocol import hpke
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

    @property
    def auditors(self) -> Mapping[str, hpke.PublicKey]:
        """To whom entries are sealed."""
        return self._log.auditors

    def note_site(self, site: Site) -> None:
        """Seal to the auditors in force from now on; log directory and policy if they are new."""
        self._log.auditors = site.auditors()
        directory: dict[str, object] = {
            "version": site.directory.version,
            "digest": site.directory_digest,
            "form": site.directory_form,
        }
        known = site.directory_digest.hex()
        if site.admissions_digest is not None:
            directory["admissions_version"] = site.admissions_version
            directory["admissions_digest"] = site.admissions_digest
            known += f" {site.admissions_digest.hex()}"
        policy = {"version": site.policy.version, "digest": site.policy.digest}
        for kind, fact, body, state in (
            ("directory", _LOGGED_DIRECTORY, directory, known),
            ("policy", _LOGGED_POLICY, policy, site.policy.digest.hex()),
        ):
            if self._store.fact(fact) != state:
                self.write(kind, body)
                self._store.set_fact(fact, state)
