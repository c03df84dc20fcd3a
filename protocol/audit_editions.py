"""Audit which directory, admissions and policy the roles went by: one of each version, for all.

Part of :mod:`protocol.audit`. Each role logs version and digest of what comes into force. Two
digests of one version say that the authority (or registrar) signed two, or that a role lies: one
of them may list officers whom nobody else has ever heard of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocol.audit_queries import BAD_BODY, OpenedEntry, QueryAudit, octets
from protocol.findings import FindingKind
from protocol.policy import Policy

DIRECTORY, ADMISSIONS, POLICY = "directory", "admissions", "policy"
Editions = Mapping[tuple[str, int], bytes]
"""Kind and version to the SHA-256 of the signed bytes (of a policy: its digest)."""


class EditionAudit:
    """Compares the digests of one version across all logs and with what is at hand."""

    def __init__(
        self, queries: QueryAudit, policies: Mapping[bytes, Policy], at_hand: Editions
    ) -> None:
        self._known = queries
        self._seen: dict[tuple[str, int], dict[bytes, list[str]]] = {}
        self._first: dict[tuple[str, int, bytes], OpenedEntry] = {}
        for digest, policy in policies.items():
            self._note(POLICY, policy.version, digest, "your own copy")
        for (kind, version), digest in at_hand.items():
            self._note(kind, version, digest, "your own copy")

    def run(self, opened: Sequence[OpenedEntry]) -> None:
        """Read the entries about directory and policy, then report contradictions."""
        for item in opened:
            if item.body is None or item.entry.kind not in {DIRECTORY, POLICY}:
                continue
            try:
                self._read(item, item.body)
            except BAD_BODY as error:
                self._known.unreadable(item, error)
        for (kind, version), digests in sorted(self._seen.items()):
            if len(digests) > 1:
                self._report(kind, version, digests)

    def _read(self, item: OpenedEntry, body: Mapping[str, object]) -> None:
        told = [(item.entry.kind, body["version"], octets(body, "digest"))]
        if item.entry.kind == DIRECTORY and "admissions_digest" in body:
            told.append((ADMISSIONS, body["admissions_version"], octets(body, "admissions_digest")))
        for kind, version, digest in told:
            if not isinstance(version, int) or not 0 <= version < 1 << 63:
                raise TypeError("a version is a number of at most 63 bits")
            self._note(kind, version, digest, f"the log of '{item.actor}'")
            self._first.setdefault((kind, version, digest), item)

    def _note(self, kind: str, version: int, digest: bytes, where: str) -> None:
        places = self._seen.setdefault((kind, version), {}).setdefault(digest, [])
        if where not in places:
            places.append(where)

    def _report(self, kind: str, version: int, digests: Mapping[bytes, Sequence[str]]) -> None:
        told = "; ".join(
            f"{digest.hex()[:16]} in {', '.join(places)}" for digest, places in digests.items()
        )
        entries = [self._first.get((kind, version, digest)) for digest in digests]
        item = next((entry for entry in reversed(entries) if entry is not None), None)
        message = f"there are {len(digests)} different {kind} of version {version}: {told}"
        self._known.find(FindingKind.EDITION_CONTRADICTED, item, message)
