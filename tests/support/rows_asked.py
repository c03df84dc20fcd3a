"""What is asked of a custodian about single sightings of version 2: rows, and stills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import protocol_samples as s
import query_samples_v2 as q2
from custodian_site import Asked

from custodian.custodian import Custodian
from protocol import hpke
from protocol.directory import INVESTIGATOR, Directory
from protocol.encoding import decode
from protocol.names import SightingName
from protocol.query import Asked as Options
from protocol.query import Query
from protocol.signing import Signed, SigningKey
from protocol.v2.evidence import EVIDENCE_RELEASE_KIND, EvidenceRelease, EvidenceRequest
from protocol.v2.release import ROW_RELEASE_KIND, RowRelease, RowRequest


def directory() -> Directory:
    """The sample site with two more investigators, who can confirm hits."""
    listed = s.directory()
    more = {
        name: s.principal(name, INVESTIGATOR, seal_key=s.sealing_key(name).public)
        for name in ("bea", "cleo")
    }
    return replace(listed, principals={**listed.principals, **more})


def approved(query: Query, *approvers: str) -> s.Case:
    signed = query.sign(s.signing_key("ana"))
    names = approvers or ("bo", "cy")
    digest = query.policy_digest
    return s.Case(signed, [s.approval(signed, name, policy_digest=digest) for name in names])


def with_stills(stills: int = 3, **changes: object) -> s.Case:
    """An approved query whose hits ana and bea confirm, and which asks for so many stills."""
    asks = Options(evidence_stills=stills)
    query = q2.query(confirmers=("bea",), asks=asks)
    return approved(replace(query, **changes))  # type: ignore[arg-type]


def row(number: int = 1, **changes: object) -> SightingName:
    """A sighting of the first camera in a slot that has ended."""
    name = SightingName("box-1", "cam-1", s.EPOCH, 1, 40, number.to_bytes(8, "big"))
    return replace(name, **changes)  # type: ignore[arg-type]


@dataclass
class RowsAsked:
    """What the aggregator asks; all changeable."""

    case: s.Case
    announcements: Sequence[bytes]
    rows: Sequence[SightingName]
    now_ms: int = s.NOW_MS
    matcher: hpke.PrivateKey = field(default_factory=hpke.PrivateKey.generate)
    withdrawals: Sequence[Signed] = ()
    signer: SigningKey = field(default_factory=lambda: s.signing_key("aggregator"))
    matcher_key: bytes | None = None

    def to_bytes(self) -> bytes:
        asked = Asked(
            self.case,
            self.announcements,
            self.now_ms,
            matcher=self.matcher,
            withdrawals=self.withdrawals,
            matcher_key=self.matcher_key,
        ).request()
        request = RowRequest(
            query=asked.query,
            approvals=asked.approvals,
            withdrawals=asked.withdrawals,
            matcher_key=asked.matcher_key,
            announcements=asked.announcements,
            rows=tuple(self.rows),
            requested_at_ms=self.now_ms,
        )
        return request.sign(self.signer).to_bytes()

    def opened_by(
        self, custodian: Custodian
    ) -> tuple[RowRelease, Mapping[SightingName, Mapping[int, bytes]]]:
        """Ask a custodian; return its release and what that opens to."""
        release = read_release(custodian.rows.open(self.to_bytes()), custodian.config.name)
        return release, release.open(self.matcher)[1]


def read_release(data: bytes, custodian: str) -> RowRelease:
    signed = Signed.parse(data, kind=ROW_RELEASE_KIND)
    assert signed.signer == custodian
    return RowRelease.parse(signed.verify(lambda name: s.signing_key(name).verify_key))


def receipts_of(custodian: Custodian, case: s.Case, *, from_entry: int = 0) -> list[RowRelease]:
    data = custodian.rows.receipts(case.query.digest, from_entry=from_entry)
    return [read_release(one, custodian.config.name) for one in decode(data, what="receipts")]


@dataclass
class StillsAsked:
    """What a confirming officer asks; all changeable."""

    case: s.Case
    announcements: Sequence[bytes]
    sightings: Sequence[SightingName]
    officer: str = "ana"
    now_ms: int = s.NOW_MS
    withdrawals: Sequence[Signed] = ()

    def to_bytes(self) -> bytes:
        request = EvidenceRequest(
            query=self.case.query.to_bytes(),
            approvals=tuple(a.to_bytes() for a in self.case.approvals),
            withdrawals=tuple(w.to_bytes() for w in self.withdrawals),
            announcements=tuple(self.announcements),
            sightings=tuple(self.sightings),
            requested_at_ms=self.now_ms,
        )
        return request.sign(s.signing_key(self.officer)).to_bytes()

    def opened_by(self, custodian: Custodian) -> EvidenceRelease:
        signed = Signed.parse(custodian.evidence.open(self.to_bytes()), kind=EVIDENCE_RELEASE_KIND)
        assert signed.signer == custodian.config.name
        payload = signed.verify(lambda name: s.signing_key(name).verify_key)
        return EvidenceRelease.parse(payload)
