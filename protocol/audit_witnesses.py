"""Audit who stands behind a log: its witnesses' cosignatures, and what they say that they saw.

Part of :mod:`protocol.audit`. The number that it takes is that of :mod:`protocol.quorum`: below it,
somebody else may have been shown another history of the same log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from protocol.audit_queries import OpenedEntry
from protocol.auditlog import (
    Checkpoint,
    origin_of,
    parse_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from protocol.directory import AGGREGATOR, CUSTODIAN, Directory
from protocol.errors import CheckpointInvalid, UnknownSigner
from protocol.findings import Finding, FindingKind, Severity
from protocol.quorum import cosigning_quorum, distinct_reach
from protocol.signing import VerifyKey

COSIGNING_DELAY_MS = 15 * 60_000
COSIGNING_LIMIT_MS = 72 * 3_600_000
"""A role that is away may keep entries from being covered; after a weekend it fails the audit."""

Cosignature = tuple[int, str, int]
"""Size, witness and time (ms) of a true cosignature on a true checkpoint."""


@dataclass(frozen=True, slots=True)
class Cover:
    """How far ``quorum`` others stand behind a log, and since when not behind the rest of it."""

    quorum: int
    size: int
    since_ms: int | None


def historic_keeper_key(directory: Directory, origin: str) -> VerifyKey:
    """Return the key of whoever keeps the log ``origin``, in force or revoked.

    Raises:
        UnknownSigner: the directory knows no such role.
    """
    actor = origin.rpartition("/")[2]
    principal = directory.principals.get(actor)
    if (
        principal is None
        or not principal.duties & {CUSTODIAN, AGGREGATOR}
        or origin != origin_of(directory.site, actor)
    ):
        raise UnknownSigner(f"the directory knows nobody who keeps the log '{origin}'")
    return principal.verify_key


class WitnessAudit:
    """Checks who cosigned one log, and how far.

    Args:
        root_at: the root over so many of the entries that are held.
    """

    def __init__(
        self,
        origin: str,
        directory: Directory,
        findings: list[Finding],
        *,
        root_at: Callable[[int], bytes],
    ) -> None:
        self._origin = origin
        self._actor = origin.rpartition("/")[2]
        self._directory = directory
        self._findings = findings
        self._root_at = root_at

    def cosignatures(self, genuine: Sequence[tuple[Checkpoint, str]]) -> Iterator[Cosignature]:
        """Yield every true cosignature on the log's own true checkpoints; report false ones."""
        for checkpoint, text in genuine:
            for name, _ in parse_checkpoint(text)[1]:
                if name == self._origin:
                    continue
                try:
                    key = historic_keeper_key(self._directory, name)
                    time_s = verify_cosignature(text, witness=name, key=key)
                except (CheckpointInvalid, UnknownSigner) as error:
                    self._find(FindingKind.CHECKPOINT_INVALID, Severity.WRONG, str(error))
                    continue
                yield checkpoint.size, name.rpartition("/")[2], time_s * 1000

    def statements(
        self, witnessed: Mapping[str, Sequence[str]], key: VerifyKey | None, *, held: int
    ) -> Iterator[Cosignature]:
        """Hold what each witness says that it cosigned of this log against the copy.

        Args:
            key: the log's own, None if it is nobody's.
            held: how many entries the copy has.
        """
        ahead: dict[str, int] = {}
        for witness, texts in sorted(witnessed.items()):
            for text in texts:
                if key is None or not self._concerns(text, witness):
                    continue
                try:
                    checkpoint = verify_checkpoint(text, origin=self._origin, key=key)
                    name = origin_of(self._directory.site, witness)
                    known = historic_keeper_key(self._directory, name)
                    time_s = verify_cosignature(text, witness=name, key=known)
                except (CheckpointInvalid, UnknownSigner) as error:
                    message = f"what '{witness}' says that it saw does not verify: {error}"
                    self._find(FindingKind.CHECKPOINT_INVALID, Severity.WRONG, message)
                    continue
                if checkpoint.size > held:
                    ahead[witness] = max(checkpoint.size, ahead.get(witness, 0))
                elif self._root_at(checkpoint.size) != checkpoint.root:
                    self._find(
                        FindingKind.LOG_FORKED,
                        Severity.WRONG,
                        f"'{witness}' was shown another history of {checkpoint.size} entries than "
                        f"this one, under the signature of '{self._actor}': the log has two",
                    )
                else:
                    yield checkpoint.size, witness, time_s * 1000
        if ahead:
            witness, size = max(ahead.items(), key=lambda item: item[1])
            self._find(
                FindingKind.COPY_BEHIND,
                Severity.WARNING,
                f"'{witness}' has cosigned {size} entries, the copy has {held}: fetch again",
            )

    def _concerns(self, text: str, witness: str) -> bool:
        """Tell whether a statement is about this log; what is about none counts to its maker's."""
        try:
            return parse_checkpoint(text)[0].origin == self._origin
        except CheckpointInvalid:
            return witness == self._actor

    def check_cover(
        self,
        cosigned: Sequence[Cosignature],
        opened: Sequence[OpenedEntry],
        signed_size: int,
        *,
        now_ms: int,
    ) -> Cover:
        """Report the entries that fewer others than the quorum stand behind."""
        quorum = cosigning_quorum(self._directory, self._actor)
        behind = dict.fromkeys(quorum.witnesses, 0)
        for size, witness, _ in cosigned:
            if witness in behind:  # who was revoked stands behind nothing any more
                behind[witness] = max(behind[witness], size)
        reach = distinct_reach(behind, self._directory.principals, self._actor)
        covered = _reached(reach, quorum.needed)
        rest = [o for o in opened if covered <= o.index < signed_size]
        since_ms = min((o.entry.time_ms for o in rest), default=None)
        if covered < signed_size and quorum.witnesses:
            self._report(quorum.needed, behind, reach, signed_size, rest, now_ms=now_ms)
        for witness, size in sorted(behind.items()):
            if size < signed_size <= covered:
                self._find(
                    FindingKind.COSIGNATURES_MISSING,
                    Severity.NOTE,
                    f"'{witness}' has cosigned the first {size} of {signed_size} entries",
                )
        return Cover(quorum.needed, covered, since_ms)

    def _report(
        self,
        needed: int,
        behind: Mapping[str, int],
        reach: Sequence[int],
        signed_size: int,
        rest: Sequence[OpenedEntry],
        *,
        now_ms: int,
    ) -> None:
        """Report entries without a quorum: a state at first, a violation when it stays so."""
        # As few as this were never enough: the custodians who must agree could be all of them.
        least = min(self._directory.threshold, len(behind))
        bare_from = _reached(reach, least)
        age_ms = max((now_ms - o.entry.time_ms for o in rest), default=0)
        bare_ms = max((now_ms - o.entry.time_ms for o in rest if o.index >= bare_from), default=0)
        kept_by = self._directory.principals.get(self._actor)
        in_force = kept_by is not None and kept_by.revoked_at_ms is None
        waiting = ", ".join(
            f"'{name}'" for name, size in sorted(behind.items()) if size < signed_size
        )
        by = sum(size >= signed_size for size in reach)
        kind, severity = FindingKind.NOT_YET_COSIGNED, Severity.NOTE
        if bare_ms > COSIGNING_DELAY_MS or (in_force and age_ms > COSIGNING_LIMIT_MS):
            kind, severity = FindingKind.COSIGNATURES_MISSING, Severity.WRONG
        elif age_ms > COSIGNING_DELAY_MS:
            severity = Severity.WARNING
        first = _reached(reach, needed)
        self._find(
            kind,
            severity,
            f"from entry {first} on cosigned by {by} of the {needed} others that it takes, for "
            f"{_duration(age_ms)} now (not by {waiting}): somebody else may have been shown "
            "another history",
            index=first,
        )

    def _find(
        self, kind: FindingKind, severity: Severity, message: str, *, index: int | None = None
    ) -> None:
        self._findings.append(Finding(kind, severity, self._origin, message, index))


def _reached(reach: Sequence[int], needed: int) -> int:
    """Return up to which size ``needed`` witnesses have cosigned; ``reach`` is furthest first."""
    return reach[needed - 1] if 0 < needed <= len(reach) else 0


def _duration(age_ms: int) -> str:
    for unit, size_ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if age_ms >= 2 * size_ms:
            return f"{age_ms // size_ms} {unit}"
    return f"{max(0, age_ms) // 1000} s"
