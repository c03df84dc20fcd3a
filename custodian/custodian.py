"""A custodian's parts, opened from its configuration and wired together."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import structlog

from custodian.answering import Desk
from custodian.clock import Clock
from custodian.config import CustodianConfig
from custodian.errors import CustodianError
from custodian.evidence import EvidenceDesk
from custodian.grants import Granter
from custodian.journal import Journal
from custodian.keystore import KeyRing
from custodian.rounds import TICK_S, Rounds
from custodian.rows import RowOpener
from custodian.store import Store
from custodian.tally import Tally
from custodian.trust import Trust
from custodian.withdrawals import Withdrawals
from protocol.auditlog import origin_of
from protocol.directory import AUTHORITY
from protocol.errors import MalformedMessage
from protocol.names import EPOCH_MS
from protocol.policy import SCHEMA
from protocol.signing import SigningKey
from runtime.auditlog import AuditLog
from runtime.clock import MachineClocks
from runtime.errors import OperationError
from runtime.fsio import private_folder
from runtime.keyfiles import DEFAULT_COST, Cost, is_sealed, read_secret
from runtime.lifecycle import FolderLock, Stop
from runtime.witness import Witness

IDENTITY = "identity"
_VERSION = version("sealtrace")
_log = structlog.get_logger()


def read_identity(path: Path, name: str, passphrase: bytes) -> SigningKey:
    """Return the signing key in the file at ``path`` (sealed, or unprotected where so made).

    Raises:
        KeyFileError, FileProblem: it cannot be opened.
        CustodianError: it holds no signing key.
    """
    seed = read_secret(path, passphrase if is_sealed(path) else None, IDENTITY)
    try:
        return SigningKey(name, seed)
    except MalformedMessage as error:
        raise CustodianError(f"{path} holds no signing key: {error}") from error


class Custodian:
    """All parts of one custodian, opened and wired together."""

    def __init__(
        self,
        config: CustodianConfig,
        passphrase: bytes,
        *,
        machine: MachineClocks | None = None,
        cost: Cost = DEFAULT_COST,
    ) -> None:
        """Open identity, state, directory and policy; make the first day keys.

        Args:
            config: as read from custodian.toml.
            passphrase: of the identity and of the day keys.
            machine: the machine's clocks; None: this one's.
            cost: of sealing the day keys (lower in tests only).

        Raises:
            OperationError: something is not as it should be; nothing has been served yet.
        """
        self.config = config
        self.key = read_identity(config.identity, config.name, passphrase)
        private_folder(config.state_dir)
        self._lock = FolderLock(config.state_dir)
        self.store = Store(config.database)
        self.ring = KeyRing.open(
            config.key_file, passphrase, site=config.site, custodian=config.name, cost=cost
        )
        held = self.ring.epochs()
        self.clock = Clock(
            self.store, machine=machine, unknown_ms=held[0] * EPOCH_MS if held else None
        )
        self.trust = Trust(config, self.store, self.key.verify_key, now_ms=self.clock.now_ms)
        origin = origin_of(config.site, config.name)
        site = self.trust.site
        self.log = AuditLog(config.state_dir / "audit.db", origin, self.key, site.auditors())
        self.witness = Witness(config.state_dir / "witness.db", origin, self.key)
        self.journal = Journal(self.log, self.store, actor=config.name, now_ms=self.clock.now_ms)
        self.withdrawals = Withdrawals(self.store, self.journal, now_ms=self.clock.now_ms)
        desk = Desk(
            key=self.key,
            trust=self.trust,
            ring=self.ring,
            journal=self.journal,
            withdrawals=self.withdrawals,
            now_ms=self.clock.now_ms,
            clock_skew_ms=config.limits.clock_skew_s * 1000,
            heard=self.clock.heard,
        )
        tally = Tally(self.store, self.log, self.key)
        self.granter = Granter(desk)
        self.rows = RowOpener(desk, tally, self.store)
        self.evidence = EvidenceDesk(desk, tally)
        self.rounds = Rounds(
            clock=self.clock,
            ring=self.ring,
            journal=self.journal,
            store=self.store,
            trust=self.trust,
            key=self.key,
            days_ahead=config.days_ahead,
        )
        self.journal.write("started", {"version": _VERSION})
        self.journal.note_site(site)
        self.withdrawals.log_pending()
        self.rounds.go()

    def close(self) -> None:
        """Close every file."""
        self.witness.close()
        self.log.close()
        self.store.close()
        self._lock.close()

    @property
    def databases(self) -> tuple[Path, ...]:
        """The database files that must be whole."""
        state = self.config.state_dir
        return self.config.database, state / "audit.db", state / "witness.db"

    def accept_directory(self, data: bytes) -> bool:
        """Take in a newer signed directory; tell whether it changed anything."""
        with self.withdrawals.gate:  # no grant by the former one is written after this
            changed = self.trust.accept_directory(data)
            if changed:
                self.journal.note_site(self.trust.site)
                self.clock.heard(AUTHORITY, self.trust.site.directory.issued_at_ms)
        return changed

    def cosigned(self, witness: str, time_s: int) -> None:
        """Note at which time another role says that it cosigned our log."""
        self.clock.heard(witness, time_s * 1000)

    def reload(self) -> None:
        """Read directory and policy again (SIGHUP); what cannot be believed changes nothing."""
        with self.withdrawals.gate:
            try:
                self.trust.reload()
            except OperationError as error:
                _log.error("reload_refused", reason=str(error))
            self.journal.note_site(self.trust.site)
        self.go_round()

    def go_round(self) -> None:
        """Go round once; what fails is logged and tried again at the next round."""
        try:
            with self.withdrawals.gate:  # what the log should have told when its disk was full
                self.journal.note_site(self.trust.site)
                self.withdrawals.log_pending()
            self.rounds.go()
        except OperationError as error:
            _log.error("round_failed", reason=str(error))

    def keep_going_round(self, stop: Stop) -> None:
        """Go round every minute until ``stop`` is set."""
        while not stop.wait(TICK_S):
            self.go_round()

    def status(self) -> dict[str, object]:
        """Return what `sealtrace custodian status` shows."""
        site = self.trust.site
        epochs = self.ring.epochs()
        return {
            "site": site.directory.site,
            "name": self.config.name,
            "version": _VERSION,
            "time_ms": self.clock.now_ms(),
            "clock_in_doubt": self.clock.in_doubt,
            "clock_known_ms": self.clock.believed_ms,
            "to_be_destroyed": [
                {"epoch": epoch, "in_ms": left} for epoch, left in self.rounds.waiting.items()
            ],
            "directory_version": site.directory.version,
            "threshold": site.directory.threshold,
            "policy_version": site.policy.version,
            "policy_digest": site.policy.digest.hex(),
            "policy_schema": site.policy.schema,
            "reads_policy_schema": SCHEMA,
            "retention_days": site.policy.retention_days,
            "programme_ends_ms": site.policy.programme_ends_ms,
            "day_keys": {"count": len(epochs), "first": epochs[0], "last": epochs[-1]}
            if epochs
            else {"count": 0, "first": None, "last": None},
            "destroyed_before": self.ring.destroyed_before,
            "log_entries": self.log.size,
            "withdrawals": self.store.count_withdrawals(),
        }
