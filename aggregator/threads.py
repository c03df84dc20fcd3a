"""Which threads a process of the aggregator has, by its duties."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aggregator.config import AggregatorConfig
from aggregator.hours import HourTeller
from aggregator.ingest.floods import Floods
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Batch
from aggregator.ingest.partitions import Share
from aggregator.ingest.receipts import Receipts
from aggregator.ingest.subscriber import Subscriber
from aggregator.notices import NoticeMaker
from aggregator.processes.duties import Duty
from aggregator.queries import QueryDesk
from aggregator.relay import Relay
from aggregator.runner import QueryRunner
from aggregator.stills import StillDesk
from aggregator.store import Store
from aggregator.store.packed.packing import Packer
from aggregator.store.packed.store import PackedStore
from aggregator.upkeep import Upkeep
from aggregator.witnessing import Witnessing
from protocol.policy import Policy
from protocol.signing import SigningKey
from runtime.clock import system_ms
from runtime.lifecycle import Stop
from runtime.mqtt_brokers import Brokers
from runtime.serving import Work
from runtime.trust import Trust

_QUERIES_S = 2.0
_SESSION_EXPIRY_S = 60
"""Of a session whose client id nobody has again."""


@dataclass(frozen=True, slots=True)
class Materials:
    """What threads are put together from."""

    config: AggregatorConfig
    key: SigningKey
    trust: Trust
    policy: Policy
    store: Store
    intake: Intake
    desk: QueryDesk
    stills: StillDesk
    runner: QueryRunner | None
    witnessing: Witnessing | None
    notices: Callable[[], NoticeMaker]
    share: Share | None
    member: str


class Duties:
    """The threads of this process's duties, and what others tell them.

    Args:
        of: what they are put together from.
        stop: ends them.
    """

    def __init__(self, of: Materials, stop: Stop) -> None:
        self._of = of
        self._stop = stop
        self._duties = frozenset(of.config.processes.duties)
        self._mqtt = of.config.mqtt
        self._client_id = of.config.name
        if of.share is not None:
            self._mqtt = self._mqtt.kept_for(_SESSION_EXPIRY_S)
            self._client_id = f"{of.config.name}-{of.member}"
        self._receipts = (
            Receipts(of.intake, aggregator=of.key, now_ms=system_ms)
            if Duty.INGEST in self._duties
            else None
        )
        self._subscriber = self._make_subscriber() if Duty.INGEST in self._duties else None
        self._relay: Relay | None = None
        self._states: Mapping[bytes, str] = {}
        self._look_again_s = 0.0
        self.came = Batch()
        """What became of all that came since the start, in numbers of messages."""
        self.newest_ms = 0
        """When something was stored last; 0 before the first."""
        self.session: Brokers | None = None
        """The connections with the brokers, once `threads` has made them."""

    def threads(self) -> dict[str, Work]:
        """Return what each thread does, by its name."""
        found: dict[str, Work] = {}
        if self._subscriber is not None:
            self.session = self._subscriber.session
            found["ingest"] = self._subscriber.run
        if Duty.UPKEEP in self._duties:
            found |= self._done_once()
        elif self._subscriber is not None:
            found["upkeep"] = self._upkeep(self._subscriber.session, purges=False).run
        if self._of.runner is not None:
            found["queries"] = self._of.runner.run
        return found

    @property
    def storing_fails(self) -> bool:
        """Whether what comes cannot be stored at the moment."""
        return self._subscriber is not None and bool(self._subscriber.failing)

    def new_directory(self) -> None:
        """Tell whoever follows the directory that there is another."""
        if self._relay is not None:
            self._relay.poke()
        self._of.desk.changed.set()

    def tick(self) -> None:
        """Look at what other processes may have changed; called every second where there are."""
        if self._subscriber is not None and self._subscriber.choose_boxes():
            assert self._receipts is not None  # noqa: S101 - they go together
            self._receipts.note_all()
        if Duty.UPKEEP in self._duties:
            self._look_at_queries()

    # ------------------------------------------------------------------ inside

    def _look_at_queries(self) -> None:
        """Have notices made anew once another process has changed a query; now and then."""
        now_s = time.monotonic()
        if now_s < self._look_again_s:
            return
        self._look_again_s = now_s + _QUERIES_S
        states = {one.digest: one.state for one in self._of.store.ledger.queries()}
        if states != self._states:
            self._states = states
            self._of.desk.look_again()

    def _make_subscriber(self) -> Subscriber:
        of = self._of
        return Subscriber(
            self._mqtt,
            site=of.config.site,
            client_id=self._client_id,
            intake=of.intake,
            floods=Floods(of.config.limits.box_mb_per_minute << 20),
            settings=of.config.ingest,
            on_stored=self._stored,
            on_connected=self._connected,
            on_crash=self._crashed,
            now_ms=system_ms,
            directory=lambda: of.trust.directory,
            share=of.share,
        )

    def _done_once(self) -> Mapping[str, Work]:
        """Return the threads of what one process does for all of them."""
        of, config = self._of, self._of.config
        found: dict[str, Work] = {}
        if self._subscriber is not None:
            session = self._subscriber.session
        else:
            session = Brokers(
                self._mqtt,
                client_id=self._client_id,
                on_connected=lambda _present: self._connected(),
                on_crash=self._crashed,
                fresh=True,
            )
            found["mqtt-relay"] = lambda stop: _keep(session, stop)
        self.session = session
        of.stills.listen(session)
        self._relay = Relay(
            site=config.site,
            trust=of.trust,
            session=session,
            tls=config.tls,
            poll_s=config.ingest.day_key_poll_s,
            notices=of.notices(),
            hours=HourTeller(
                of.store,
                site=config.site,
                directory=lambda: of.trust.directory,
                key=of.key,
                retention_days=lambda: of.policy.retention_days,
            ),
        )
        found["upkeep"] = self._upkeep(session, purges=True).run
        found["relay"] = self._relay.run
        found["stills"] = lambda stop: of.stills.run(stop, session)
        if of.witnessing is not None:
            found["witness"] = of.witnessing.run
        if isinstance(of.store, PackedStore) and config.store_place.objects is not None:
            found["packer"] = Packer(
                of.store,
                config.store_place.objects.open(),
                wait_ms=config.objects.wait_minutes * 60_000,
                now_ms=system_ms,
            ).run
        return found

    def _upkeep(self, session: Brokers, *, purges: bool) -> Upkeep:
        of = self._of
        return Upkeep(
            store=of.store,
            intake=of.intake,
            receipts=self._receipts,
            session=session,
            retention_days=lambda: of.policy.retention_days,
            receipt_interval_s=of.config.ingest.receipt_interval_ms / 1000,
            now_ms=system_ms,
            purges=purges,
        )

    def _stored(self, batch: Batch) -> None:
        self.came.add(batch)
        self.came.changed.clear()
        if batch.stored:
            self.newest_ms = system_ms()
        if self._receipts is not None:
            self._receipts.note(batch.changed)
        self._of.desk.changed.set()

    def _connected(self) -> None:
        if self._receipts is not None:
            self._receipts.note_all()
        if self._relay is not None:
            self._relay.poke()

    def _crashed(self, error: BaseException) -> None:
        self._stop.set(f"mqtt: {error}", exit_code=1)


def _keep(session: Brokers, stop: Stop) -> None:
    """Keep the sessions of a process that takes nothing in; the body of ``mqtt-relay``."""
    with session:
        stop.wait()
