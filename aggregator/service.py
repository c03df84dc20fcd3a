"""The aggregator as one process, or as one of several: parts put together, stopped in good order.

Threads: ``mqtt`` (a broker's connection), ``ingest`` (stores what comes), ``upkeep`` (receipts,
gaps, retention), ``relay`` (day keys and the directory to the boxes), ``stills`` (what officers
ask boxes for, and the answers), ``queries`` (grants and matching), ``witness`` (checkpoints between
the roles); the main thread serves ``/v1``, and beside it are those of every role
(`runtime.serving`). Large scopes are matched in worker processes ``matcher-N``. A process with
fewer duties has the threads of those (`aggregator.threads`), and, since others work on its store,
``leases`` (what is its own to do); the one that writes the audit log has ``audit`` (writes what the
others note).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from aggregator.api import Parts, make_app
from aggregator.cluster.joining import workers_of
from aggregator.config import AggregatorConfig
from aggregator.grants import Custodians
from aggregator.ingest.intake import Intake
from aggregator.matching.pool import Matcher
from aggregator.notices import NoticeMaker, SitePolicy
from aggregator.places import PlacesShelf
from aggregator.processes.company import Company, address_of
from aggregator.processes.duties import Duty, words_of
from aggregator.processes.forwarding import Forwarding
from aggregator.processes.logs import NotedLog, WrittenLog
from aggregator.processes.papers import SharedPapers
from aggregator.processes.shares import UPKEEP_NUMBER, share_of_query
from aggregator.processes.standby import wait_for_upkeep
from aggregator.queries import QueryDesk
from aggregator.records import AnyLog, Records
from aggregator.row_requests import RowRequests
from aggregator.runner import QueryRunner
from aggregator.stills import StillDesk
from aggregator.store import Store, open_store
from aggregator.threads import Duties, Materials
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
from runtime.http import Ready
from runtime.lifecycle import FolderLock, Stop, signals
from runtime.serving import Interface, Work, serve_until_stopped
from runtime.trust import Trust, read_policy
from runtime.witness import Witness

if TYPE_CHECKING:
    from runtime.metrics import Metrics


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


class StandbyEnded(OperationError):
    """It was told to stop before it had anything to do."""


class Aggregator:
    """One process of an aggregator, from its configuration and its opened identity.

    Raises:
        TrustError, WrongIdentity, BundleError, StorageError: it cannot work as installed.
        FolderInUse: it runs already.
        LogElsewhere: it is to write the audit log, and has not the newest.
        StandbyEnded: it was told to stop while another process had its duty.
    """

    def __init__(self, config: AggregatorConfig, identity: bytes) -> None:
        self._config = config
        self._duties = frozenset(config.processes.duties)
        state = private_folder(config.state_dir)
        self._lock = FolderLock(state, shared=not config.alone)
        installed = read_installed(config, identity)
        self._key, self.trust, self.policy = installed.key, installed.trust, installed.policy
        bundle = installed.bundle
        self.calibrations: dict[str, Calibration] = (
            {} if bundle is None else calibrations_of(bundle.manifest)
        )
        self.store: Store = open_store(config.store_place)
        self.company = None if config.alone else Company(self.store, self._duties)
        self.log = self._open_log(state)
        self.witness = (
            Witness(state / "witness.db", origin_of(config.site, config.name), self._key)
            if self._writes_log
            else None
        )
        self.records = Records(self.store, self.log, config.name)
        if self._writes_log:
            self.records.flush()
        self.intake = Intake(
            self.store,
            site=config.site,
            directory=lambda: self.trust.directory,
            limits=config.limits,
            retention_days=lambda: self.policy.retention_days,
            now_ms=system_ms,
            audit=lambda kind, body: self.records.note(kind, None, body),
            share=None if self.company is None else self.company.partitions,
        )
        self.desk = QueryDesk(
            self.store,
            self.trust,
            self.policy,
            self.log,
            self._key,
            calibrations=self.calibrations,
        )
        self.stills = StillDesk(
            site=config.site,
            store=self.store,
            trust=self.trust,
            policy=self.policy,
            desk=self.desk,
            records=self.records,
            reject=self.intake.report,
        )
        self.matcher, self.runner = self._make_runner()
        self._thresholds = {} if bundle is None else _default_thresholds(bundle)
        self._noted: dict[str, object] = {}

    @property
    def written_log(self) -> AuditLog:
        """The audit log, of the process that writes it."""
        if not isinstance(self.log, AuditLog):
            raise OperationError("the audit log is written by the process with the duty `upkeep`")
        return self.log

    def run(self) -> int:
        """Serve until a signal; return the exit code."""
        config, stop, ready = self._config, Stop(), Ready()
        with closing(self):
            self._note_start()
            if self.company is None:
                self.desk.interrupt_open_queries()
            duties = self.duties_of(stop)
            return serve_until_stopped(
                Interface(
                    self._app(), config.http, config.tls, shared_port=config.processes.share_port
                ),
                site=config.site,
                name=config.name,
                what=f"serving site {config.site} ({words_of(self._duties)})",
                threads=self._threads(duties, ready),
                databases=self._databases(),
                on_reload=self.trust.reload,
                stop=stop,
                ready=ready,
                metrics=self.metrics(duties) if config.metrics.listen else None,
            )

    def duties_of(self, stop: Stop) -> Duties:
        """Put together what this process does, until ``stop``."""
        return Duties(
            Materials(
                config=self._config,
                key=self._key,
                trust=self.trust,
                policy=self.policy,
                store=self.store,
                intake=self.intake,
                desk=self.desk,
                stills=self.stills,
                runner=self.runner,
                witnessing=self._make_witnessing(),
                notices=self._notice_maker,
                share=None if self.company is None else self.company.partitions,
                member="" if self.company is None else self.company.member.name,
            ),
            stop,
        )

    def _threads(self, duties: Duties, ready: Ready) -> dict[str, Work]:
        """Return what each thread does."""
        threads = duties.threads()
        self.trust.on_change(lambda _: self._new_directory(duties))
        if self.company is not None:
            threads["leases"] = self._keep_leases(self.company, duties, ready)
            if self._writes_log:
                threads["audit"] = self.records.write_noted
        return threads

    def _keep_leases(self, company: Company, duties: Duties, ready: Ready) -> Work:
        """Return the body of the thread ``leases``."""
        config = self._config

        def tick() -> None:
            if isinstance(self.log, WrittenLog):
                self.log.lease = company.upkeep.held().get(UPKEEP_NUMBER, self.log.lease)
            if gained := company.queries_gained():
                self.desk.interrupt_open_queries(lambda one: share_of_query(one) in gained)
            duties.tick()

        return lambda stop: company.run(
            stop,
            ready=ready,
            url_at=address_of(config.http, config.processes.url, encrypted=config.tls is not None),
            papers=SharedPapers(self.store, self.trust),
            on_tick=tick,
        )

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
        if self.matcher is not None:
            self.matcher.close()
        if self.witness is not None:
            self.witness.close()
        if isinstance(self.log, AuditLog):
            self.log.close()
        self.store.close()
        self._lock.close()

    # ------------------------------------------------------------------ inside

    @property
    def _writes_log(self) -> bool:
        return Duty.UPKEEP in self._duties

    def _open_log(self, state: Path) -> AnyLog:
        """Open the audit log for writing, once nobody else writes it; else what notes for it."""
        auditors = self.trust.directory.auditors()
        if not self._writes_log:
            return NotedLog(self.store, auditors)
        lease = None
        if self.company is not None:
            stop = Stop()
            with signals(stop):
                lease = wait_for_upkeep(self.store, self.company.member, stop)
            if lease is None:
                raise StandbyEnded("told to stop while another process had the duty `upkeep`")
            self.company.hold_upkeep(lease)
        origin = origin_of(self._config.site, self._config.name)
        return WrittenLog(
            state / "audit.db", origin, self._key, auditors, store=self.store, lease=lease
        )

    def _make_runner(self) -> tuple[Matcher | None, QueryRunner | None]:
        config = self._config
        if Duty.QUERIES not in self._duties:
            return None, None
        matcher = Matcher(
            self.store.segments,
            calibrations=self.calibrations,
            processes=config.matching.processes,
            pool_from_envelopes=config.matching.pool_from_envelopes,
            workers=workers_of(config.cluster, self.calibrations),
        )
        return matcher, QueryRunner(
            desk=self.desk,
            store=self.store,
            trust=self.trust,
            policy=self.policy,
            custodians=Custodians(self.store, self.trust, self.log, self._key, config.tls),
            rows=RowRequests(self.trust, self._key, config.tls),
            matcher=matcher,
            log=self.log,
            actor=config.name,
            mine=None if self.company is None else self.company.has_query,
        )

    def _make_witnessing(self) -> Witnessing | None:
        if self.witness is None or not isinstance(self.log, AuditLog):
            return None
        return Witnessing(self.log, self.witness, self.trust, self._config.tls)

    def _app(self) -> ASGIApp:
        config, company = self._config, self.company
        app = make_app(
            Parts(
                site=config.site,
                store=self.store,
                trust=self.trust,
                log=self.log if isinstance(self.log, AuditLog) else None,
                witness=self.witness,
                policy=self.policy,
                policy_text=read_file(config.policy, 1 << 20),
                policy_signature=read_file(config.policy_signature, 1 << 20),
                desk=self.desk,
                stills=self.stills,
                intake=self.intake,
                calibrations=self.calibrations,
                default_thresholds=self._thresholds,
                clock_skew_ms=config.limits.clock_skew_s * 1000,
                places=PlacesShelf(config.places, config.state_dir, lambda: self.trust.directory),
            )
        )
        if company is None:
            return app
        return Forwarding(
            app,
            ledger=self.store.ledger,
            member=lambda: company.member,
            name=config.name,
            tls=config.tls,
        )

    def _databases(self) -> tuple[Path, ...]:
        state = self._config.state_dir
        own = (state / "audit.db", state / "witness.db") if self._writes_log else ()
        return own if self._config.store.url else (self._config.database, *own)

    def metrics(self, duties: Duties) -> Metrics:
        """Return what this process tells monitoring, wherever that is asked for."""
        from aggregator.metrics import Parts as Counted  # noqa: PLC0415 - only where asked for
        from aggregator.metrics import metrics_of  # noqa: PLC0415 - goes with it

        company = self.company
        return metrics_of(
            Counted(
                config=self._config,
                trust=self.trust,
                policy=self.policy,
                store=self.store,
                duties=duties,
                matcher=self.matcher,
                log=self.log if isinstance(self.log, AuditLog) else None,
                databases=self._databases(),
                partitions=None if company is None else (lambda: len(company.partitions.held())),
            )
        )

    def _append(self, kind: str, body: Mapping[str, object]) -> None:
        """Tell the log; where another process writes it, without waiting for that."""
        if isinstance(self.log, NotedLog):
            self.records.note(kind, None, body)
        else:
            self.log.append(kind, system_ms(), self._config.name, None, body)

    def _note_start(self) -> None:
        self._append("started", {"version": version("sealtrace")})
        if self._writes_log:
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

    def _new_directory(self, duties: Duties) -> None:
        self.log.auditors = self.trust.directory.auditors()
        if self._writes_log:
            self._note_directory()
        duties.new_directory()


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
