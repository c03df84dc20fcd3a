"""Which processes of the aggregator run, what they do, and where the others reach them.

Each holds a lease of the kind ``process`` whose holder says all that: others count who shares a
duty, and find who has what is asked for. It is no secret and no authority: whoever can write the
ledger can do worse than to name a process.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace

from aggregator.processes.duties import Duty, words_of
from aggregator.store import Ledger, LedgerReading
from aggregator.store.leases import PROCESS, Lease

MOST = 256
"""So many processes may run at once."""


@dataclass(frozen=True, slots=True)
class Member:
    """One process.

    Args:
        name: its own, and of no other process ever.
        duties: what it does.
        url: where it answers the others; empty when it does not (yet).
    """

    name: str
    duties: frozenset[Duty]
    url: str = ""

    @classmethod
    def new(cls, duties: frozenset[Duty]) -> Member:
        """Return this process, not yet reachable."""
        return cls(f"{os.getpid()}-{secrets.token_hex(6)}", duties)

    def at(self, url: str) -> Member:
        """Return the same process, reachable."""
        return replace(self, url=url)

    @property
    def told(self) -> str:
        """How it stands in its lease."""
        return f"{self.name} {words_of(self.duties)} {self.url}"

    @classmethod
    def read(cls, told: str) -> Member | None:
        """Return who stands in a lease; None for what a later version may write there."""
        name, _, rest = told.partition(" ")
        duties, _, url = rest.partition(" ")
        known = {str(duty) for duty in Duty}
        listed = frozenset(Duty(word) for word in duties.split(",") if word in known)
        return cls(name, listed, url) if name and listed else None


def members(ledger: LedgerReading) -> list[Member]:
    """Return the processes that run."""
    read = (Member.read(lease.holder) for lease in ledger.held(PROCESS))
    return [member for member in read if member is not None]


def register(ledger: Ledger, member: Member, *, for_ms: int) -> Lease | None:
    """Add a process to those that run; None when there are ``MOST`` already."""
    taken = {lease.number for lease in ledger.held(PROCESS)}
    for number in range(MOST):
        if number not in taken:
            lease = ledger.take_lease(PROCESS, number, member.told, for_ms=for_ms)
            if lease is not None:
                return lease
    return None
