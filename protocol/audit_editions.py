"""Audit which directory, admissions and policy the roles went by: one of each version, for all.

Part of :mod:`protocol.audit`. Each role logs version and digest of what comes into force. Two
digests of one version say that the authority (or registrar) signed two, or that a role lies: one
of them may list officers whom nobody else has ever heard of. A directory goes out in two forms
under one version; an entry says which it is of, and only digests of one form must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocol.audit_queries import BAD_BODY, OpenedEntry, QueryAudit, octets
from protocol.findings import FindingKind
from protocol.policy import Policy

DIRECTORY, ADMISSIONS, POLICY = "directory", "admissions", "policy"
FIRST = 1
"""The form of what says none: of all logs older than the second, and of all but directories."""
Editions = Mapping[tuple[str, int, int], bytes]
"""Kind, version and form to the SHA-256 of the signed bytes (of a policy: its digest)."""


class EditionAudit:
    """Compares the digests of one version across all logs and with what is at hand."""

    def __init__(
        self, queries: QueryAudit, policies: Mapping[bytes, Policy], at_hand: Editions
    ) -> None:
        self._known = queries
        self._seen: dict[tuple[str, int, int], dict[bytes, list[str]]] = {}
        self._first: dict[tuple[tuple[str, int, int], bytes], OpenedEntry] = {}
        for digest, policy in policies.items():
            self._note((POLICY, policy.version, FIRST), digest, "your own copy")
        for edition, digest in at_hand.items():
            self._note(edition, digest, "your own copy")

    def run(self, opened: Sequence[OpenedEntry]) -> None:
        """Read the entries about directory and policy, then report contradictions."""
        for item in opened:
            if item.body is None or item.entry.kind not in {DIRECTORY, POLICY}:
                continue
            try:
                self._read(item, item.body)
            except BAD_BODY as error:
                self._known.unreadable(item, error)
        for edition, digests in sorted(self._seen.items()):
            if len(digests) > 1:
                self._report(edition, digests)

    def _read(self, item: OpenedEntry, body: Mapping[str, object]) -> None:
        form = body.get("form", FIRST) if item.entry.kind == DIRECTORY else FIRST
        told = [((item.entry.kind, body["version"], form), octets(body, "digest"))]
        if item.entry.kind == DIRECTORY and "admissions_digest" in body:
            admitted = (ADMISSIONS, body["admissions_version"], FIRST)
            told.append((admitted, octets(body, "admissions_digest")))
        for (kind, version, of_form), digest in told:
            edition = (kind, _number(version), _number(of_form))
            self._note(edition, digest, f"the log of '{item.actor}'")
            self._first.setdefault((edition, digest), item)

    def _note(self, edition: tuple[str, int, int], digest: bytes, where: str) -> None:
        places = self._seen.setdefault(edition, {}).setdefault(digest, [])
        if where not in places:
            places.append(where)

    def _report(
        self, edition: tuple[str, int, int], digests: Mapping[bytes, Sequence[str]]
    ) -> None:
        kind, version, form = edition
        told = "; ".join(
            f"{digest.hex()[:16]} in {', '.join(places)}" for digest, places in digests.items()
        )
        entries = [self._first.get((edition, digest)) for digest in digests]
        item = next((entry for entry in reversed(entries) if entry is not None), None)
        shape = f" in form {form}" if form > FIRST else ""
        message = f"there are {len(digests)} different {kind} of version {version}{shape}: {told}"
        self._known.find(FindingKind.EDITION_CONTRADICTED, item, message)


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise TypeError("a version and a form are numbers of at most 63 bits")
    return value
