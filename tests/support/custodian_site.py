"""A small site with custodians on disk, and what an aggregator would ask of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Unpack

import protocol_samples as s
from throwaway_ca import ThrowawayCa

from custodian.custodian import Custodian
from protocol import hpke
from protocol.about_queries import Approval, MatcherKey
from protocol.auditlog import Entry
from protocol.daykeys import DAY_KEYS_KIND, DayKeys
from protocol.directory import Directory
from protocol.epoch import CAMERA_NOW, Announcement, announce, excluded_subsets
from protocol.grant import GRANT_KIND, Grant, GrantRequest
from protocol.names import CameraAddress, epoch_of
from protocol.policy import sign_policy
from protocol.signing import Signed, SigningKey
from runtime.clock import MachineClocks
from runtime.keyfiles import Cost, write_secret

PASSPHRASE = b"correct horse battery"
CHEAP = Cost(memory_kib=8)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass
class Time:
    """A machine's clocks in the hands of a test: ``ms`` is the true time, which only passes.

    ``set_by`` is by how much somebody has set the machine's clock wrong; ``restart`` is a restart
    of the machine, after which its other clocks begin anew; ``paused`` is time that passed while
    the whole virtual machine stood still.
    """

    ms: int = s.NOW_MS
    set_by: int = 0
    started_ms: int = s.NOW_MS - HOUR_MS
    boots: int = 1

    def restart(self, *, off_ms: int = 0) -> None:
        self.ms += off_ms
        self.started_ms = self.ms
        self.boots += 1

    def pause(self, ms: int) -> None:
        self.ms += ms
        self.started_ms += ms

    @property
    def clocks(self) -> MachineClocks:
        return MachineClocks(
            wall_ms=lambda: self.ms + self.set_by,
            since_boot_ms=lambda: self.ms - self.started_ms,
            running_ms=lambda: self.ms - self.started_ms,
            boot_id=lambda: f"boot-{self.boots}",
        )


@cache
def _signature_of(policy: bytes) -> bytes:
    """Sign a policy once: it is read for that, and each custodian has it."""
    return sign_policy(policy, s.authority())


def write_config(
    folder: Path,
    name: str,
    ca: ThrowawayCa,
    *,
    directory: Directory | None = None,
    policy: bytes = s.POLICY_TEXT,
    port: int = 0,
    extra: str = "",
) -> Path:
    """Write a custodian's folder as provisioning would; return its custodian.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    write_secret(
        folder / "identity.secret", s.signing_key(name).seed, PASSPHRASE, "identity", cost=CHEAP
    )
    authority = s.authority()
    listed = directory or s.directory()
    signed = listed.sign(authority, listed.form)
    (folder / "directory.cbor").write_bytes(signed.to_bytes())
    (folder / "policy.toml").write_bytes(policy)
    (folder / "policy.toml.sig").write_bytes(_signature_of(policy))
    tls = ca.issue(name)
    path = folder / "custodian.toml"
    path.write_text(
        f"site = {json.dumps(s.SITE)}\nname = {json.dumps(name)}\n"
        f'authority = "{authority.verify_key.raw.hex()}"\n{extra}\n'
        f"[http]\nport = {port}\n"
        f"[tls]\nca = {json.dumps(str(tls.ca))}\n"
        f"certificate = {json.dumps(str(tls.certificate))}\n"
        f"private_key = {json.dumps(str(tls.private_key))}\n"
        '[log]\nformat = "json"\n'
    )
    return path


@dataclass
class Asked:
    """What the aggregator would send: a query's case, a matcher, announcements; all changeable."""

    case: s.Case
    announcements: Sequence[bytes]
    now_ms: int
    matcher: hpke.PrivateKey = field(default_factory=hpke.PrivateKey.generate)
    withdrawals: Sequence[Signed] = ()
    signer: SigningKey = field(default_factory=lambda: s.signing_key("aggregator"))
    matcher_key: bytes | None = None

    def request(self) -> GrantRequest:
        key = MatcherKey(self.case.query.digest, self.matcher.public, self.now_ms)
        return GrantRequest(
            query=self.case.query.to_bytes(),
            approvals=tuple(a.to_bytes() for a in self.case.approvals),
            withdrawals=tuple(w.to_bytes() for w in self.withdrawals),
            matcher_key=self.matcher_key or key.sign(s.signing_key("aggregator")).to_bytes(),
            announcements=tuple(self.announcements),
            requested_at_ms=self.now_ms,
        )

    def to_bytes(self) -> bytes:
        return self.request().sign(self.signer).to_bytes()


def make_announcement(
    custodians: Sequence[Custodian],
    *,
    now_ms: int = s.NOW_MS,
    epoch: int | None = None,
    box: str = "box-1",
    camera: str = "cam-1",
    generation: int = 1,
    roots: Sequence[bytes] = (),
    signer: SigningKey | None = None,
    threshold: int = 2,
    among: Sequence[str] = s.CUSTODIANS,
    version: int = 1,
    origin: str = CAMERA_NOW,
) -> tuple[Announcement, bytes]:
    """Announce a camera's day to the day keys of ``custodians``, and to c3 in any case.

    Honest boards share among all three so that two must agree.
    """
    day = epoch_of(now_ms) if epoch is None else epoch
    day_keys = {name: s.day_key(name).public for name in {*among} - {"c1", "c2"}}
    day_keys |= {c.config.name: c.ring.private(day).public for c in custodians}
    subsets = excluded_subsets(among, threshold)
    made = announce(
        roots or [s.fixed(f"root {number}", 32) for number in range(len(subsets))],
        address=CameraAddress(s.SITE, box, camera),
        epoch=day,
        generation=generation,
        sequence=0,
        threshold=threshold,
        custodians=among,
        day_keys=day_keys,
        models={"face": s.MODEL},
        announced_at_ms=now_ms,
        version=version,
        origin=origin,
    )
    return made, made.sign(signer or s.signing_key(box)).to_bytes()


def day_keys_of(custodian: Custodian, *, form: int = 1) -> dict[int, hpke.PublicKey]:
    rounds = custodian.rounds
    data = rounds.day_keys if form == 1 else rounds.day_keys_2
    signed = Signed.parse(data, kind=DAY_KEYS_KIND)
    payload = signed.verify(lambda name: s.signing_key(name).verify_key)
    read = DayKeys.parse(payload, custodian=signed.signer)
    assert read.form == form
    return dict(read.keys)


def read_grant(data: bytes, custodian: str) -> Grant:
    signed = Signed.parse(data, kind=GRANT_KIND)
    assert signed.signer == custodian
    return Grant.parse(signed.verify(lambda name: s.signing_key(name).verify_key))


def opened_log(custodian: Custodian) -> list[tuple[str, dict[str, object]]]:
    """Return kind and body of every entry of a custodian's log, as the auditor reads them."""
    found = []
    for data in custodian.log.entries():
        entry = Entry.parse(data)
        found.append((entry.kind, entry.open("eve", s.sealing_key("eve"))))
    return found


def close(custodian: Custodian) -> None:
    """Close a custodian, also when a test has closed it already."""
    try:
        custodian.close()
    except OSError:
        return


def approved(
    now_ms: int, *, approvers: tuple[str, ...] = ("bo", "cy"), **changes: Unpack[s.QueryChanges]
) -> s.Case:
    """A query as of ``now_ms`` with its approvals; the sample's window lies around `s.NOW_MS`."""
    shift = now_ms - s.NOW_MS
    base = s.query()
    moved: s.QueryChanges = {
        "requested_at_ms": base.requested_at_ms + shift,
        "not_after_ms": base.not_after_ms + shift,
    }
    query = replace(base, **(moved | changes))
    signed = query.sign(s.signing_key("ana"))
    approvals = [
        Approval(signed.digest, s.POLICY.digest, now_ms).sign(s.signing_key(name))
        for name in approvers
    ]
    return s.Case(signed, approvals)


Make = Callable[..., Custodian]
