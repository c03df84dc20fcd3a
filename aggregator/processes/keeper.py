"""Keep this process's leases: its fair share of each kind, renewed every second.

The body of the thread ``leases``. Processes of one duty share its numbers evenly: who has more than
that gives some back, who has fewer takes free ones. A process that dies renews nothing, and its
leases run out within `LEASE_MS`. What is held is a snapshot (`Shared.held`); work that must not be
done twice asks the ledger within its own transaction (`aggregator.store.leases`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from aggregator.processes.duties import Duty
from aggregator.processes.members import Member, members, register
from aggregator.store import Ledger, Store
from aggregator.store.leases import Lease
from runtime.database import StorageError
from runtime.lifecycle import Stop

_log = structlog.get_logger()
LEASE_MS = 4_000
RENEW_S = 1.0


class Shared:
    """The numbers of one kind, shared among the processes of a duty; safe to read anywhere.

    Args:
        kind: of the leases.
        count: the numbers are ``0..count-1``.
        duty: whose processes share them.

    ``busy`` gives the numbers that are not to be given back although others would like them.
    """

    def __init__(self, kind: str, count: int, duty: Duty) -> None:
        self.kind = kind
        self.count = count
        self.duty = duty
        self.busy: Callable[[], Collection[int]] = tuple
        self._held: Mapping[int, Lease] = {}

    def held(self) -> Mapping[int, Lease]:
        """Return what is ours by number: a snapshot, the same object while nothing changes."""
        return self._held

    def lose(self, lease: Lease) -> None:
        """Note that a lease has passed to another process."""
        if self._held.get(lease.number) == lease:
            self._held = {n: one for n, one in self._held.items() if n != lease.number}

    def hold(self, leases: Sequence[Lease]) -> None:
        """Hold exactly these."""
        held = {lease.number: lease for lease in leases}
        if held != self._held:
            self._held = held


class Keeper:
    """Registers this process, and keeps its shares.

    Args:
        store: where the leases are.
        member: this process.
        shares: what it shares with others of its duties.
        on_tick: called after each round, in the thread ``leases``, whether or not anything changed.
    """

    def __init__(
        self,
        store: Store,
        member: Member,
        shares: Sequence[Shared],
        *,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._member = member
        self._shares = [one for one in shares if one.duty in member.duties]
        self._on_tick = on_tick
        self._ourselves: Lease | None = None
        self._failing = ""

    def run(self, stop: Stop) -> None:
        """Keep the leases until ``stop``, then give them back so that others go on at once."""
        try:
            while True:
                self.tick()
                if stop.wait(RENEW_S):
                    return
        finally:
            self._release()

    def tick(self) -> None:
        """Make one round; what the store cannot do now is done in the next."""
        try:
            with self._store.writing(beside=True) as unit:
                self._register(unit.ledger)
                found = {share.kind: self._keep(unit.ledger, share) for share in self._shares}
        except StorageError as error:
            if str(error) != self._failing:
                _log.error("leases_not_renewed", reason=str(error))
            self._failing = str(error)
            return
        self._failing = ""
        for share in self._shares:
            share.hold(found[share.kind])
        try:
            self._on_tick()
        except StorageError as error:  # it went away meanwhile: the next round looks again
            _log.error("changes_not_read", reason=str(error))

    def _register(self, ledger: Ledger) -> None:
        ours = self._ourselves
        if ours is not None and not ledger.renew_leases([ours], for_ms=LEASE_MS):
            ours = None
        if ours is None:
            ours = register(ledger, self._member, for_ms=LEASE_MS)
            if ours is None and self._ourselves is not None:
                _log.error("too_many_processes")
        self._ourselves = ours

    def _keep(self, ledger: Ledger, share: Shared) -> list[Lease]:
        """Renew a share, give back or take what makes it fair; return what is ours then."""
        ours = ledger.renew_leases(share.held().values(), for_ms=LEASE_MS)
        gone = len(share.held()) - len(ours)
        peers = sum(share.duty in member.duties for member in members(ledger))
        fair = -(-share.count // max(1, peers))
        if len(ours) > fair:
            busy = share.busy()
            surplus = [lease for lease in ours[fair:] if lease.number not in busy]
            if surplus:
                ours = [lease for lease in ours if lease not in surplus]
                # First it is ours no more, for whoever looks; then others may have it.
                share.hold(ours)
                ledger.release_leases(surplus)
                _log.info("leases_given_back", kind=share.kind, count=len(surplus), kept=len(ours))
        elif len(ours) < fair:
            taken = self._take(ledger, share, fair - len(ours))
            if taken:
                _log.info("leases_taken", kind=share.kind, count=len(taken))
            ours += taken
        if gone:
            _log.warning("leases_lost", kind=share.kind, count=gone)
        return ours

    def _take(self, ledger: Ledger, share: Shared, most: int) -> list[Lease]:
        taken_by_others = {lease.number for lease in ledger.held(share.kind)}
        free = [number for number in range(share.count) if number not in taken_by_others]
        random.shuffle(free)  # so that two who look at once do not want the same
        wanted = (
            ledger.take_lease(share.kind, number, self._member.name, for_ms=LEASE_MS)
            for number in free[:most]
        )
        return [lease for lease in wanted if lease is not None]

    def _release(self) -> None:
        leases = [lease for share in self._shares for lease in share.held().values()]
        for share in self._shares:
            share.hold([])
        if self._ourselves is not None:
            leases.append(self._ourselves)
        try:
            with self._store.writing(beside=True) as unit:
                unit.ledger.release_leases(leases)
        except StorageError as error:
            _log.warning("leases_not_given_back", reason=str(error))
