"""Logs of the sample site in the making: entries, checkpoints, witnesses; and an auditor's copy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import protocol_samples as s
from audit_samples import QUERY_ID, grant_body, match_body, received_body

from officers.desk.audit_copy import DIRECTORY_FILE, LOGS, POLICIES, SITE_FILE
from officers.desk.audit_witnessed import WITNESSED
from protocol.audit import AuditorKey, LogCopy, audit
from protocol.auditlog import Checkpoint, cosign, origin_of, root_of, seal_entry, sign_checkpoint
from protocol.directory import Directory
from protocol.findings import Report
from protocol.names import SLOT_MS
from protocol.policy import sign_policy
from protocol.results import Decision
from runtime.logcopy import write_copy

ROLES = (*s.CUSTODIANS, "aggregator")
EVE = AuditorKey("eve", s.sealing_key("eve"))


@dataclass
class LogInMaking:
    """A log in the making."""

    actor: str
    entries: list[bytes] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    time_ms: int = s.NOW_MS

    @property
    def origin(self) -> str:
        return origin_of(s.SITE, self.actor)

    def add(
        self,
        kind: str,
        body: Mapping[str, object],
        *,
        query_id: bytes | None = QUERY_ID,
        **more: int,
    ) -> None:
        self.time_ms += 1000
        entry = seal_entry(
            kind,
            body,
            time_ms=more.get("time_ms", self.time_ms),
            actor=self.actor,
            query_id=query_id,
            auditors={"eve": s.sealing_key("eve").public},
        )
        self.entries.append(entry.to_bytes())

    def sign(self, *, witnesses: tuple[str, ...] = ROLES, size: int | None = None) -> None:
        held = self.entries[:size]
        checkpoint = Checkpoint(self.origin, len(held), root_of(held))
        text = sign_checkpoint(checkpoint, s.signing_key(self.actor))
        for witness in witnesses:
            if witness != self.actor:
                text += cosign(
                    checkpoint,
                    witness=origin_of(s.SITE, witness),
                    key=s.signing_key(witness),
                    time_s=self.time_ms // 1000,
                )
        self.checkpoints.append(text)

    def copy(self) -> LogCopy:
        return LogCopy(self.origin, tuple(self.entries), tuple(self.checkpoints))


class LoggedSite:
    """The logs of a site in which one query ran: filed, approved, granted by two, matched."""

    def __init__(self) -> None:
        self.case = s.case()
        self.logs = {role: LogInMaking(role) for role in ROLES}
        self.directory = s.directory()
        self.policies = {s.POLICY.digest: s.POLICY}
        for log in self.logs.values():
            log.add("started", {"version": "1"}, query_id=None)
            log.add("policy", {"version": 1, "digest": s.POLICY.digest}, query_id=None)
        self.aggregator = self.logs["aggregator"]
        self.c1 = self.logs["c1"]

    def file(self) -> LoggedSite:
        self.aggregator.add("query-filed", {"query": self.case.query.to_bytes()})
        for approval in self.case.approvals:
            self.aggregator.add("approval", {"approval": approval.to_bytes()})
        return self

    def grant(self, custodian: str, **changes: object) -> LoggedSite:
        log = self.logs[custodian]
        log.time_ms = max(log.time_ms, self.aggregator.time_ms)
        log.add("grant", grant_body(self.case, custodian, **changes))
        return self

    def receive(self, custodian: str, **changes: object) -> LoggedSite:
        self.aggregator.add("grant-received", received_body(self.case, custodian, **changes))
        return self

    def match(self, *custodians: str) -> LoggedSite:
        self.aggregator.add("match", match_body(self.case, custodians or ("c1", "c3")))
        return self

    def whole(self) -> LoggedSite:
        self.file()
        for custodian in ("c1", "c3"):
            self.grant(custodian).receive(custodian)
        self.match()
        decision = Decision(self.case.query.digest, s.fixed("candidate", 16), "confirmed", s.NOW_MS)
        self.aggregator.add(
            "decision", {"decision": decision.sign(s.signing_key("ana")).to_bytes()}
        )
        self.aggregator.add("result-read", {"query_digest": self.case.query.digest})
        return self

    def signed(self) -> LoggedSite:
        for log in self.logs.values():
            log.sign()
        return self

    def audit(
        self,
        *,
        auditor: AuditorKey | None = EVE,
        late: bool = False,
        former: Sequence[Directory] = (),
    ) -> Report:
        return audit(
            [log.copy() for log in self.logs.values()],
            directory=self.directory,
            policies=self.policies,
            now_ms=s.NOW_MS + (100 * SLOT_MS if late else 60_000),
            auditor=auditor,
            former=former,
        )

    def write(self, folder: Path, *, fetched_ms: int = s.NOW_MS + 60_000) -> Path:
        """Write the folder that an auditor would have fetched."""
        for part in (POLICIES, LOGS):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for log in self.logs.values():
            write_copy(folder / LOGS / log.actor, log.copy())
            for role in ROLES:
                place = folder / WITNESSED / role
                place.mkdir(parents=True, exist_ok=True)
                cosigned = f" {origin_of(s.SITE, role)} "
                if role != log.actor and log.checkpoints and cosigned in log.checkpoints[-1]:
                    size = len(log.entries)
                    (place / f"{log.actor}-{size:010d}.txt").write_text(log.checkpoints[-1])
        policy = folder / POLICIES / f"{s.POLICY.digest.hex()}.toml"
        policy.write_bytes(s.POLICY_TEXT)
        policy.with_suffix(".sig").write_bytes(sign_policy(s.POLICY_TEXT, s.authority()))
        signed = self.directory.sign(s.authority()).to_bytes()
        (folder / DIRECTORY_FILE).write_bytes(signed)
        site = {
            "site": s.SITE,
            "authority": s.authority().verify_key.raw.hex(),
            "fetched_ms": fetched_ms,
        }
        (folder / SITE_FILE).write_text(json.dumps(site))
        return folder
