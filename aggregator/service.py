"""The aggregator as one process: parts put together, threads started, stopped in good order.

Threads: ``mqtt`` (the broker's connection), ``ingest`` (stores what comes), ``upkeep`` (receipts,
gaps, retention), ``relay`` (day keys and the directory to the boxes), ``queries`` (grants and
matching), ``witness`` (checkpoints between the roles); the main thread serves ``/v1``, and beside
it are those of every role (`runtime.serving`). Large scopes are matched in worker processes
``matcher-N``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI

from aggregator.api import Parts, make_app
from aggregator.config import AggregatorConfig
from aggregator.grants import Custodians
from aggregator.hours import HourTeller
from aggregator.ingest.floods import Floods
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Batch
from aggregator.ingest.receipts import Receipts
from aggregator.ingest.subscriber import Subscriber
from aggregator.matching.pool import Matcher
from aggregator.notices import NoticeMaker, SitePolicy
from aggregator.places import PlacesShelf
from aggregator.queries import QueryDesk
from aggregator.records import Records
from aggregator.relay import Relay
from aggregator.row_requests import RowRequests
from aggregator.runner import QueryRunner
from aggregator.store import Store, open_store
from aggregator.upkeep import Upkeep
from aggregator.witnessing import Witnessing
from protocol.auditlog import origin_of
from protocol.directory import AGGREGATOR
from protocol.policy import Policy
from protocol.signing import SigningKey
from runtime.auditlog import AuditLog
from runtime.bundle import Bundle, load_bundle
from runtime.calibration import Calibration, calibrations_of
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.fsio import private_folder, read_file
from runtime.lifecycle import FolderLock, Stop
from runtime.serving import Interface, Work, serve_until_stopped
from runtime.trust import Trust, read_policy
from runtime.witness import Witness


class WrongIdentity(OperationError):
    """The directory does not know this aggregator by the key that it was given."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What an aggregator was installed with, opened and verified."""

    key: SigningKey
    trust: Trust
    policy: Policy
    bundle: Bundle | None


def read_installed(
    config: AggregatorConfig, identity: bytes, *, keep_state: bool = True
) -> Installed:
    """Open what the configuration names; with ``keep_state`` false nothing is written.

    Raises:
        TrustError, WrongIdentity, BundleError: it does not fit together.
    """
    key = SigningKey(config.name, identity)
    trust = Trust(
        site=config.site,
        authority=config.authority_key,
        installed=config.directory,
        state_dir=config.state_dir if keep_state else None,
    )
    if trust.directory.require(config.name, AGGREGATOR).verify_key != key.verify_key:
        raise WrongIdentity(
            f"the directory lists '{config.name}' with another key than {config.identity}; "
            "install the identity and directory of one and the same site"
        )
    policy = read_policy(
        config.policy,
        config.policy_signature,
        authority=config.authority_key,
        site=config.site,
    )
    return Installed(key, trust, policy, _bundle_of(config))


class Aggregator:
    """One aggregator, from its configuration and its opened identity.

    Raises:
        TrustError, WrongIdentity, BundleError, StorageError: it cannot work as installed.
        FolderInUse: it runs already.
    """

    def __init__(self, config: AggregatorConfig, identity: bytes) -> None:
        self._config = config
        state = private_folder(config.state_dir)
        self._lock = FolderLock(state)
        installed = read_installed(config, identity)
        self._key, self.trust, self.policy = installed.key, installed.trust, installed.policy
        bundle = installed.bundle
        self.calibrations: dict[str, Calibration] = (
            {} if bundle is None else calibrations_of(bundle.manifest)
        )
        self.store: Store = open_store(config.database)
        self.log = AuditLog(
            state / "audit.db",
            origin_of(config.site, config.name),
            self._key,
            self.trust.directory.auditors(),
        )
        self.witness = Witness(state / "witness.db", origin_of(config.site, config.name), self._key)
        self.records = Records(self.store, self.log, config.name)
        self.records.flush()
        self.intake = Intake(
            self.store,
            site=config.site,
            directory=lambda: self.trust.directory,
            limits=config.limits,
            retention_days=lambda: self.policy.retention_days,
            now_ms=system_ms,
            audit=lambda kind, body: self.records.note(kind, None, body),
        )
        self.desk = QueryDesk(
            self.store,
            self.trust,
            self.policy,
            self.log,
            self._key,
            calibrations=self.calibrations,
        )
        self.matcher = Matcher(
            self.store.segments,
            calibrations=self.calibrations,
            processes=config.matching.processes,
            pool_from_envelopes=config.matching.pool_from_envelopes,
        )
        self.witnessing = Witnessing(self.log, self.witness, self.trust, config.tls)
        self.runner = QueryRunner(
            desk=self.desk,
            store=self.store,
            trust=self.trust,
            policy=self.policy,
            custodians=Custodians(self.store, self.trust, self.log, self._key, config.tls),
            rows=RowRequests(self.trust, self._key, config.tls),
            matcher=self.matcher,
            log=self.log,
            actor=config.name,
        )
        self._thresholds = {} if bundle is None else _default_thresholds(bundle)
        self._noted: dict[str, object] = {}

    def run(self) -> int:
        """Serve until a signal; return the exit code."""
        config, stop = self._config, Stop()
        with closing(self):
            self._note_start()
            self.desk.interrupt_open_queries()
            return serve_until_stopped(
                Interface(self._app(), config.http, config.tls),
                site=config.site,
                name=config.name,
                what=f"serving site {config.site}",
                threads=self._threads(stop),
                databases=self._databases(),
                on_reload=self.trust.reload,
                stop=stop,
            )

    def _threads(self, stop: Stop) -> dict[str, Work]:
        """Put together what takes in and hands on; return what each thread does."""
        config = self._config
        receipts = Receipts(self.intake, aggregator=self._key, now_ms=system_ms)

        def stored(batch: Batch) -> None:
            receipts.note(batch.changed)
            self.desk.changed.set()

        def connected() -> None:
            receipts.note_all()
            relay.poke()

        subscriber = Subscriber(
            config.mqtt,
            site=config.site,
            client_id=config.name,
            intake=self.intake,
            floods=Floods(config.limits.box_mb_per_minute << 20),
            settings=config.ingest,
            on_stored=stored,
            on_connected=connected,
            on_crash=lambda error: stop.set(f"mqtt: {error}", exit_code=1),
            now_ms=system_ms,
        )
        relay = Relay(
            site=config.site,
            trust=self.trust,
            session=subscriber.session,
            tls=config.tls,
            poll_s=config.ingest.day_key_poll_s,
            notices=self._notice_maker(),
            hours=HourTeller(
                self.store,
                site=config.site,
                directory=lambda: self.trust.directory,
                key=self._key,
                retention_days=lambda: self.policy.retention_days,
            ),
        )
        upkeep = Upkeep(
            store=self.store,
            intake=self.intake,
            receipts=receipts,
            session=subscriber.session,
            retention_days=lambda: self.policy.retention_days,
            receipt_interval_s=config.ingest.receipt_interval_ms / 1000,
            now_ms=system_ms,
        )
        self.trust.on_change(lambda _: self._new_directory(relay))
        return {
            "ingest": subscriber.run,
            "upkeep": upkeep.run,
            "relay": relay.run,
            "queries": self.runner.run,
            "witness": self.witnessing.run,
        }

    def _notice_maker(self) -> NoticeMaker:
        config = self._config
        return NoticeMaker(
            site=config.site,
            key=self._key,
            trust=self.trust,
            policy=SitePolicy(
                self.policy,
                read_file(config.policy, 1 << 20),
                read_file(config.policy_signature, 1 << 20),
            ),
            desk=self.desk,
            file=config.state_dir / "notice.cbor",
        )

    def close(self) -> None:
        """Close the files and end the worker processes."""
        self.matcher.close()
        self.witness.close()
        self.log.close()
        self.store.close()
        self._lock.close()

    # ------------------------------------------------------------------ inside

    def _app(self) -> FastAPI:
        config = self._config
        return make_app(
            Parts(
                site=config.site,
                store=self.store,
                trust=self.trust,
                log=self.log,
                witness=self.witness,
                policy=self.policy,
                policy_text=read_file(config.policy, 1 << 20),
                policy_signature=read_file(config.policy_signature, 1 << 20),
                desk=self.desk,
                intake=self.intake,
                calibrations=self.calibrations,
                default_thresholds=self._thresholds,
                clock_skew_ms=config.limits.clock_skew_s * 1000,
                places=PlacesShelf(config.places, config.state_dir, lambda: self.trust.directory),
            )
        )

    def _databases(self) -> tuple[Path, ...]:
        state = self._config.state_dir
        return self._config.database, state / "audit.db", state / "witness.db"

    def _append(self, kind: str, body: Mapping[str, object]) -> None:
        self.log.append(kind, system_ms(), self._config.name, None, body)

    def _note_start(self) -> None:
        self._append("started", {"version": version("sealtrace")})
        self._note_directory()
        policy = {"version": self.policy.version, "digest": self.policy.digest}
        self._append("policy", policy)

    def _note_directory(self) -> None:
        digest = hashlib.sha256(self.trust.signed).digest()
        body: dict[str, object] = {
            "version": self.trust.directory.version,
            "digest": digest,
            "form": self.trust.signed_form,
        }
        admissions = self.trust.signed_admissions
        if admissions is not None:
            body["admissions_version"] = self.trust.admissions_version
            body["admissions_digest"] = hashlib.sha256(admissions).digest()
        if body != self._noted:
            self._append("directory", body)
            self._noted = body

    def _new_directory(self, relay: Relay) -> None:
        self.log.auditors = self.trust.directory.auditors()
        self._note_directory()
        relay.poke()
        self.desk.changed.set()


def _bundle_of(config: AggregatorConfig) -> Bundle | None:
    if config.bundle is None:
        return None
    keys = [config.authority, *config.bundle_keys]
    return load_bundle(config.bundle, [bytes.fromhex(key) for key in keys], roles=())


def _default_thresholds(bundle: Bundle) -> dict[str, float]:
    """Return model id to the comparison threshold that the bundle recommends."""
    return {
        entry.model_id: entry.threshold
        for entry in bundle.embedders()
        if entry.threshold is not None
    }
