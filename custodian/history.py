"""The directories that changed among whom keys are to be shared: the present one and those before.

Kept as the authority signed them, since an announcement is held against the directory of its own
time (`protocol.sharing`). A database of the former version holds none: then the present one counts.
"""

from __future__ import annotations

import structlog

from custodian.store import Store
from protocol.directory import Directory, open_directory
from protocol.errors import ProtocolError
from protocol.sharing import SharingRule
from protocol.signing import VerifyKey

_log = structlog.get_logger()


class SharingHistory:
    """The rules by which boards have had to share their keys, the one in force last."""

    def __init__(self, store: Store, authority: VerifyKey, *, site: str) -> None:
        """Read what is kept; what the authority did not sign does not count.

        Raises:
            StorageError: it cannot be read.
        """
        self._store = store
        self._rules: list[SharingRule] = []
        self._to_keep: list[tuple[int, bytes, int]] = []
        for version, signed, until_ms in store.directories():
            try:
                directory = open_directory(signed, authority, site=site)
            except ProtocolError as error:
                _log.error("kept_directory_unusable", version=version, reason=str(error))
                continue
            self._rules.append(SharingRule.of(directory, until_ms=until_ms))

    def note(self, directory: Directory, signed: bytes, *, now_ms: int) -> None:
        """Go by ``directory`` from now on; `keep` writes it down."""
        rule = SharingRule.of(directory)
        if rule in self._rules:
            return
        self._rules = [
            SharingRule(r.threshold, r.custodians, now_ms if r.until_ms is None else r.until_ms)
            for r in self._rules
        ]
        self._rules.append(rule)
        self._to_keep.append((directory.version, signed, now_ms))

    def keep(self) -> None:
        """Write down what was noted.

        Raises:
            StorageError: it cannot be kept; it counts all the same, and is kept the next time.
        """
        while self._to_keep:
            version, signed, now_ms = self._to_keep[0]
            self._store.add_directory(version, signed, now_ms=now_ms)
            del self._to_keep[0]

    def rules(self, directory: Directory) -> tuple[SharingRule, ...]:
        """Return the rules that count while ``directory`` is in force."""
        present = SharingRule.of(directory)
        return (*(rule for rule in self._rules if rule.until_ms is not None), present)
