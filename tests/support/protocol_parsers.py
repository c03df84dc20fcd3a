"""Every parser of the protocol that reads bytes, each with a genuine message."""

from __future__ import annotations

from collections.abc import Callable

import protocol_parsers_v2
import protocol_samples as s
import query_samples_v2 as q2

from protocol.about_queries import Approval, MatcherKey, Refusal, Withdrawal
from protocol.admissions import Admissions
from protocol.auditlog import Entry, seal_entry
from protocol.daykeys import DayKeys
from protocol.directory import Directory
from protocol.encoding import encode
from protocol.enrolment import WitnessedEnrolment, WitnessSheet
from protocol.epoch import Announcement
from protocol.exports import Export
from protocol.grant import Grant, GrantRequest, Scope, release, seal_grant
from protocol.joining import BoxConfiguration, OfflineAdmission, OfflineRequest, RegistrarTime
from protocol.policy import parse_policy
from protocol.query import Query
from protocol.results import Decision
from protocol.sealing import Blocks, Envelope, Header
from protocol.sightings import decode_meta, encode_meta
from protocol.signing import Signed
from protocol.telemetry import Health, Receipt
from protocol.templates import SubjectFile

ROOTS = {0: b"r" * 32}
SCOPE = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 3, 5)
GRANTED = release(ROOTS, SCOPE, ["face"])
SEALED = seal_grant(
    [GRANTED], s.sealing_key("m").public, grant_id=b"g" * 16, query_digest=b"q" * 32
)
PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "signed": (lambda d: Signed.parse(d, kind="query"), s.case().query.to_bytes()),
    "envelope": (Envelope.parse, s.envelope().to_bytes()),
    "header": (Header.parse, s.envelope().header_bytes),
    "blocks": (Blocks.parse, s.envelope().ciphertext),
    "meta": (lambda d: decode_meta(d, count=1), encode_meta([s.sighting("x")])),
    "announcement": (
        lambda d: Announcement.parse(d, box="box-1"),
        s.announcement().sign(s.signing_key("box-1")).payload,
    ),
    "day keys": (
        lambda d: DayKeys.parse(d, custodian="c1"),
        DayKeys(s.SITE, "c1", 5, {3: s.day_key("c1").public}).sign(s.signing_key("c1")).payload,
    ),
    "directory": (Directory.parse, s.directory().sign(s.authority()).payload),
    "admissions": (
        Admissions.parse,
        Admissions(s.SITE, 1, 2, {"box-9": s.principal("box-9", "box")}, {"box-1": 3})
        .sign(s.signing_key("registrar"))
        .payload,
    ),
    "query": (Query.parse, s.case().query.payload),
    "query of version 2": (
        Query.parse,
        q2.everything().sign(s.signing_key("ana")).payload,
    ),
    "query with its document": (
        Query.parse, q2.documented().sign(s.signing_key("ana")).payload
    ),
    "query by words": (Query.parse, q2.by_words().sign(s.signing_key("ana")).payload),
    "enrolment": (
        WitnessedEnrolment.parse,
        Signed.parse(q2.sheet().statement, kind="enrolment").payload,
    ),
    "witness sheet": (WitnessSheet.parse, q2.sheet().to_bytes()),
    "approval": (Approval.parse, s.case().approvals[0].payload),
    "refusal": (
        Refusal.parse,
        Refusal(b"d" * 32, b"p" * 32, "why", 4).sign(s.signing_key("bo")).payload,
    ),
    "withdrawal": (
        Withdrawal.parse,
        Withdrawal(b"d" * 32, "why", 4).sign(s.signing_key("bo")).payload,
    ),
    "matcher key": (
        MatcherKey.parse,
        MatcherKey(b"d" * 32, s.sealing_key("m").public, 4).sign(s.signing_key("a")).payload,
    ),
    "grant request": (
        GrantRequest.parse,
        GrantRequest(b"q", (b"a",), (), b"m", (b"n",), 5).sign(s.signing_key("a")).payload,
    ),
    "grant request by digest": (
        GrantRequest.parse,
        GrantRequest(b"", (b"a",), (), b"m", (b"n",), 5, b"q" * 32)
        .sign(s.signing_key("a"))
        .payload,
    ),
    "grant": (
        Grant.parse,
        Grant(b"g" * 16, b"q" * 32, ("face",), (SCOPE,), (("cam-1", 3, "why"),), 0, 1, SEALED)
        .sign(s.signing_key("c1"))
        .payload,
    ),
    "subject file": (
        SubjectFile.parse,
        SubjectFile.enrol(
            "P", "ref", [s.template()], s.sealing_key("ana").public, enrolled_at_ms=1,
            consent_document=q2.DOCUMENT, investigator_name="ana",
        ).to_bytes(),
    ),
    "subject file of version 1": (
        SubjectFile.parse,
        encode({
            "v": 1, "pseudonym": "P", "consent_reference": "ref", "enrolled_at_ms": 1,
            "models": [s.MODEL], "sealed": b"sealed",
        }),
    ),
    "decision": (
        Decision.parse,
        Decision(b"q" * 32, b"c" * 16, "confirmed", 5).sign(s.signing_key("ana")).payload,
    ),
    "export": (
        Export.parse,
        Export(b"q" * 32, "report", (b"f" * 32,), 5).sign(s.signing_key("ana")).payload,
    ),
    "receipt": (
        Receipt.parse,
        Receipt(s.ADDRESS, 9, (3, 4), 5).sign(s.signing_key("aggregator")).payload,
    ),
    "health": (
        lambda d: Health.parse(d, box="box-1"),
        Health(s.SITE, "box-1", "online", 5, "1", {"fps": 4.5})
        .sign(s.signing_key("box-1"))
        .payload,
    ),
    "log entry": (
        Entry.parse,
        seal_entry(
            "started", {"version": "1"}, time_ms=1, actor="c1", query_id=None,
            auditors={"eve": s.sealing_key("eve").public},
        ).to_bytes(),
    ),
    "box configuration": (
        BoxConfiguration.parse,
        BoxConfiguration(s.SITE, "box-1", 1, {"cameras": []}, b"d", None, "pem\n")
        .sign(s.signing_key("registrar"))
        .payload,
    ),
    "registrar's time": (
        RegistrarTime.parse,
        RegistrarTime(s.SITE, bytes(32), 1).sign(s.signing_key("registrar")).payload,
    ),
    "box request of a stick": (
        OfflineRequest.parse,
        OfflineRequest(s.SITE, "box-1", bytes(32), b"request", b"proof").to_bytes(),
    ),
    "box admission of a stick": (
        OfflineAdmission.parse, OfflineAdmission("box-1", b"c", b"c").to_bytes()
    ),
    "policy": (parse_policy, s.POLICY_TEXT),
    "policy of the second schema": (
        parse_policy, q2.POLICY_TEXT + b"[option_approvals]\nlive = 1\n"
    ),
    **protocol_parsers_v2.PARSERS,
}  # fmt: skip
NO_CBOR = frozenset(
    {
        "policy",
        "register of places",
        "policy of the second schema",
        "meta",
        "rows",
        "counts",
        "coverage in rows",
    }
)
