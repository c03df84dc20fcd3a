"""Who works on what, when several processes share one ledger: leases with fencing numbers.

Part of `aggregator.store.ledger`. A lease is one row: a kind, a number of that kind, who holds it
and until when, by the store's clock. Whoever loses one may not have noticed yet (a process that
was stopped for a while): so each taking has a higher **fence** than any before, and a transaction
that must not come too late asks for its lease first (`LeasesWriting.check_leases`), which also
keeps others from taking it until that transaction has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.errors import OperationError

PARTITION, QUERY, DUTY = "partition", "query", "duty"
"""Kinds: boxes' streams by partition, queries by share, and what one process alone may do."""
PROCESS = "process"
"""A process that runs (`aggregator.processes.members`)."""


class LeaseLost(OperationError):
    """Another process holds the lease by now: what was to be written under it was not."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(
            f"{lease.kind} {lease.number} has passed to another process, which goes on with it; "
            "nothing was written here"
        )
        self.lease = lease


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it was taken.

    Args:
        kind: of what.
        number: which of that kind.
        holder: whose.
        fence: higher than of any who held it before.
    """

    kind: str
    number: int
    holder: str
    fence: int


class LeasesReading(Protocol):
    """Who holds what, and how far the audit log has come."""

    def held(self, kind: str) -> Sequence[Lease]:
        """Return the leases of a kind that have not run out, by number."""

    def site_papers(self) -> Mapping[str, bytes]:
        """Return by name the SHA-256 of what the site's authority signed and processes share."""

    def site_paper(self, name: str) -> bytes | None:
        """Return one of them as it was signed; None when nobody has brought it."""

    def log_size(self) -> int:
        """Return how many entries the audit log had at least, as its writer noted; 0 at first."""


class LeasesWriting(LeasesReading, Protocol):
    """Takes, renews and gives back leases."""

    def take_lease(self, kind: str, number: int, holder: str, *, for_ms: int) -> Lease | None:
        """Take a lease that nobody holds, or that has run out; None when another holds it.

        Who holds it already has it anew, with a higher fence.
        """

    def renew_leases(self, leases: Iterable[Lease], *, for_ms: int) -> list[Lease]:
        """Have leases run for so long from now; return those that are still ours."""

    def release_leases(self, leases: Iterable[Lease]) -> None:
        """Give leases back; those that are another's by now stay as they are."""

    def check_leases(self, leases: Iterable[Lease]) -> None:
        """Hold leases until this transaction ends: nobody takes them meanwhile.

        Raises:
            LeaseLost: one is another's by now; end the transaction without writing.
        """

    def put_site_paper(self, name: str, signed: bytes) -> None:
        """Keep what a process was brought, for the others."""

    def note_log_size(self, size: int) -> None:
        """Note that the audit log has so many entries; less than before changes nothing."""
