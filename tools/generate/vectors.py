"""Writes docs/vectors from the made-up site of the tests.

    python -m tools.generate.vectors [FORM...]

Everything but HPKE is deterministic; HPKE messages are made afresh, and open with the seeds given.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

import protocol_samples as s
import protocol_samples_v2 as v2
import query_samples_v2 as q2

from protocol import hpke
from protocol.about_queries import MatcherKey, Refusal
from protocol.auditlog import Checkpoint, cosign, origin_of, root_of, sign_checkpoint
from protocol.epoch import excluded_subsets, roots_of
from protocol.exports import Export
from protocol.grant import Grant, GrantRequest, Scope, release, seal_grant
from protocol.joining import (
    BoxConfiguration,
    BoxIdentity,
    OfflineAdmission,
    OfflineRequest,
    RegistrarTime,
)
from protocol.keytree import (
    EVIDENCE,
    FACE,
    LABELS,
    LIVE,
    META,
    cover,
    expand,
    tree_top,
    window_nodes,
)
from protocol.names import SightingName
from protocol.policy import sign_policy
from protocol.releases import KINDS, Rollout
from protocol.sealing import LIVE_ENVELOPE, SEGMENT
from protocol.sightings import encode_meta, encode_template_block, template_bytes
from protocol.templates import seal_templates
from protocol.v2.evidence import (
    EvidenceRelease,
    SealedStill,
    evidence_key,
    evidence_value,
    release_stills,
    seal_stills,
)
from protocol.v2.hours import CameraHours, DayHours
from protocol.v2.release import RowRelease, digest_of, release_rows, seal_rows
from protocol.v2.stills import StillRequest, answer_request

VECTORS = Path(__file__).parents[2] / "docs" / "vectors"
WINDOWS = [(0, 95), (0, 0), (95, 95), (38, 43), (1, 94), (63, 64)]


def key_tree() -> dict[str, object]:
    """Tops, leaves, covers and windows of a key tree."""
    root = s.roots()[0]
    return {
        "root": root.hex(),
        "tops": {label: tree_top(root, label).key.hex() for label in LABELS},
        "leaves": {
            label: {
                str(slot): key.hex()
                for slot, key in sorted(expand([tree_top(root, label)]).items())
                if slot in (0, 1, 41, 64, 95)
            }
            for label in LABELS
        },
        "windows": [
            {
                "first": first,
                "last": last,
                "cover": cover(first, last),
                "face_nodes": [n.key.hex() for n in window_nodes(root, FACE, first, last)],
            }
            for first, last in WINDOWS
        ],
    }


def slot_keys() -> dict[str, object]:
    """A slot's keys from all roots."""
    return {
        "roots": [root.hex() for root in s.roots()],
        "site": s.SITE,
        "camera": s.ADDRESS.camera,
        "epoch": s.EPOCH,
        "generation": s.GENERATION,
        "slot": s.SLOT,
        "keys": {
            label: {"key": key.key.hex(), "commitment": key.commitment.hex()}
            for label, key in s.slot_keys().items()
        },
    }


def envelope() -> dict[str, object]:
    """A segment and a live envelope."""
    seen = [s.sighting(f"person {number}") for number in range(3)]
    return {
        "box_seed": s.signing_key("box-1").seed.hex(),
        "box_public": s.signing_key("box-1").verify_key.raw.hex(),
        "slot_keys": "see slot-keys.json",
        "face_block": bytes(encode_template_block(seen, FACE, s.DIMENSION)).hex(),
        "meta_block": encode_meta(seen).hex(),
        "segment": s.envelope(SEGMENT).to_bytes().hex(),
        "live": s.envelope(LIVE_ENVELOPE).to_bytes().hex(),
    }


def announcement() -> dict[str, object]:
    """A day's announcement with its shares."""
    signed = s.announcement().sign(s.signing_key("box-1"))
    subsets = excluded_subsets(s.CUSTODIANS, 2)
    return {
        "box_public": s.signing_key("box-1").verify_key.raw.hex(),
        "excluded_subsets": [sorted(subset) for subset in subsets],
        "roots": [root.hex() for root in s.roots()],
        "custodians": {
            name: {"day_key_seed": s.day_key(name).seed.hex(), "roots": roots_of(name, subsets)}
            for name in s.CUSTODIANS
        },
        "signed": signed.to_bytes().hex(),
    }


def query() -> dict[str, object]:
    """A signed query."""
    case = s.case()
    matcher = s.sealing_key("matcher")
    return {
        "requester_public": s.signing_key("ana").verify_key.raw.hex(),
        "signed": case.query.to_bytes().hex(),
        "digest": case.query.digest.hex(),
        "template_digest": s.template().digest.hex(),
        "matcher_seed": matcher.seed.hex(),
        "sealed_templates": seal_templates(
            {"P-17": [s.template()]}, matcher.public, query_digest=case.query.digest
        ).hex(),
    }


def approval() -> dict[str, object]:
    """A policy and the approvals of the query."""
    case = s.case()
    return {
        "query_digest": case.query.digest.hex(),
        "policy": s.POLICY_TEXT.decode(),
        "policy_signature": sign_policy(s.POLICY_TEXT, s.authority()).hex(),
        "authority_public": s.authority().verify_key.raw.hex(),
        "policy_digest": s.POLICY.digest.hex(),
        "approvals": [
            {
                "approver": a.signer,
                "public": s.signing_key(a.signer).verify_key.raw.hex(),
                "signed": a.to_bytes().hex(),
            }
            for a in case.approvals
        ],
    }


def refusal() -> dict[str, object]:
    """An approver's signed no to the query of the vector ``query``."""
    said = s.refusal(s.case().query, "bo")
    content = Refusal.parse(said.payload)
    return {
        "approver": "bo",
        "public": s.signing_key("bo").verify_key.raw.hex(),
        "query_digest": content.query_digest.hex(),
        "policy_digest": content.policy_digest.hex(),
        "reason": content.reason,
        "refused_at_ms": content.refused_at_ms,
        "signed": said.to_bytes().hex(),
    }


def export() -> dict[str, object]:
    """An officer's word that results were written to files, as it lies beside a report."""
    files = [s.fixed(f"file {number}", 32) for number in (1, 2)]
    said = Export(s.case().query.digest, "report", tuple(files), s.NOW_MS)
    return {
        "officer": "ana",
        "public": s.signing_key("ana").verify_key.raw.hex(),
        "query_digest": said.query_digest.hex(),
        "form": said.form,
        "files": [digest.hex() for digest in said.files],
        "exported_at_ms": said.exported_at_ms,
        "signed": said.sign(s.signing_key("ana")).to_bytes().hex(),
    }


def grant() -> dict[str, object]:
    """A request in full and by digest, two custodians' grants, and what they combine to."""
    announced = s.announcement()
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 38, 41)
    matcher, labels = s.sealing_key("matcher"), (FACE, META, LIVE)
    grants = []
    for name in ("c1", "c3"):
        keys = [release(announced.open_share(name, s.day_key(name)), scope, labels)]
        grant_id, digest = s.fixed(f"grant {name}", 16), s.case().query.digest
        sealed = seal_grant(keys, matcher.public, grant_id=grant_id, query_digest=digest)
        signed = Grant(grant_id, digest, labels, (scope,), (), 5, s.NOW_MS, sealed).sign(
            s.signing_key(name)
        )
        grants.append(
            {
                "custodian": name,
                "public": s.signing_key(name).verify_key.raw.hex(),
                "signed": signed.to_bytes().hex(),
            }
        )
    whole = GrantRequest(
        query=s.case().query.to_bytes(),
        approvals=tuple(approval.to_bytes() for approval in s.case().approvals),
        withdrawals=(),
        matcher_key=MatcherKey(s.case().query.digest, matcher.public, s.NOW_MS)
        .sign(s.signing_key("aggregator"))
        .to_bytes(),
        announcements=(announced.sign(s.signing_key("box-1")).to_bytes(),),
        requested_at_ms=s.NOW_MS,
    )
    asked = s.signing_key("aggregator")
    return {
        "requests": {
            "public": asked.verify_key.raw.hex(),
            "query_digest": s.case().query.digest.hex(),
            "in_full": whole.sign(asked).to_bytes().hex(),
            "by_digest": whole.naming(s.case().query.digest).sign(asked).to_bytes().hex(),
        },
        "announcement": announced.sign(s.signing_key("box-1")).to_bytes().hex(),
        "matcher_seed": matcher.seed.hex(),
        "scope": scope.to_value(),
        "labels": list(labels),
        "grants": grants,
        "combined": "gives the keys of slot-keys.json for slot 41",
    }


def checkpoint() -> dict[str, object]:
    """A log's roots and a cosigned checkpoint."""
    origin, witness = origin_of(s.SITE, "c1"), origin_of(s.SITE, "aggregator")
    entries = [s.fixed(f"entry {number}", 40) for number in range(5)]
    head = Checkpoint(origin, len(entries), root_of(entries))
    note = sign_checkpoint(head, s.signing_key("c1"))
    note += cosign(head, witness=witness, key=s.signing_key("aggregator"), time_s=1_771_000_000)
    return {
        "entries": [entry.hex() for entry in entries],
        "roots": [root_of(entries[:size]).hex() for size in range(6)],
        "log_public": s.signing_key("c1").verify_key.raw.hex(),
        "witness": witness,
        "witness_public": s.signing_key("aggregator").verify_key.raw.hex(),
        "note": note,
    }


def sealed() -> dict[str, object]:
    """A message sealed to a public key."""
    key = s.sealing_key("anyone")
    return {
        "suite": "MLKEM768-X25519, HKDF-SHA256, AES-256-GCM (RFC 9180 base mode, single shot)",
        "seed": key.seed.hex(),
        "public": key.public.raw.hex(),
        "purpose": "grant",
        "context": [1, "two", "03"],
        "plaintext": b"sealed to a public key".hex(),
        "sealed": hpke.PublicKey(key.public.raw)
        .seal(b"sealed to a public key", purpose="grant", context=[1, "two", "03"])
        .hex(),
    }


def joining() -> dict[str, object]:
    """What a box and the registrar tell each other, over the network and on a stick."""
    key, registrar = s.signing_key("box-1"), s.signing_key("registrar")
    request, claim = s.fixed("PKCS #10", 200), s.fixed("claim", 32)
    identity = BoxIdentity.of(s.SITE, key, request).to_bytes()
    settings = {"cameras": [{"name": "cam-1", "source": "rtsp://10.0.0.7/stream1"}]}
    told = BoxConfiguration(
        site=s.SITE,
        box="box-1",
        issued_at_ms=s.NOW_MS,
        settings=settings,
        directory=s.directory().sign(s.authority()).to_bytes(),
        admissions=None,
        ca_pem="-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    )
    signed, certificate = told.sign(registrar).to_bytes(), s.fixed("certificate", 200)
    nonce = s.fixed("nonce", 32)
    return {
        "site": s.SITE,
        "box": "box-1",
        "box_public": key.verify_key.raw.hex(),
        "registrar_public": registrar.verify_key.raw.hex(),
        "claim": claim.hex(),
        "request": request.hex(),
        "identity": identity.hex(),
        "stick_request": OfflineRequest(s.SITE, "box-1", claim, request, identity).to_bytes().hex(),
        "settings": settings,
        "configuration": signed.hex(),
        "nonce": nonce.hex(),
        "time_ms": s.NOW_MS,
        "time": RegistrarTime(s.SITE, nonce, s.NOW_MS).sign(registrar).to_bytes().hex(),
        "certificate": certificate.hex(),
        "stick_admission": OfflineAdmission("box-1", certificate, signed).to_bytes().hex(),
    }


def rollout() -> dict[str, object]:
    """Which versions groups of boxes are to run."""
    made = Rollout().changed("agent", "0.1.0", "all").changed("models", "b7f31c1e7659e883", "all")
    made = made.changed("agent", "0.2.0", "canary")
    groups = (*made.groups, "any other")
    return {
        "groups": made.groups,
        "file": made.to_bytes().decode(),
        "runs": {group: {kind: made.version(kind, group) for kind in KINDS} for group in groups},
    }


def segment() -> dict[str, object]:
    """Version 2: a segment and a live envelope of the same people."""
    seen = [v2.sighting("one"), v2.sighting("turned away", face=False), v2.sighting("two")]
    sealed = {kind: v2.envelope(kind, seen=seen) for kind in (SEGMENT, LIVE_ENVELOPE)}
    people = []
    for one in seen:
        key, face = v2.key_of_row(one.sighting_id), one.templates.get("face")
        people.append(
            {
                "id": one.sighting_id.hex(),
                "episode": one.episode.hex(),
                "key": key.key.hex(),
                "commitment": key.commitment.hex(),
                "row": one.row.to_bytes().hex(),
                "templates": {
                    FACE: None if face is None else template_bytes(face.row, face.scale).hex()
                },
            }
        )
    return {
        "roots": [root.hex() for root in s.roots()],
        "box_public": s.signing_key(s.ADDRESS.box).verify_key.raw.hex(),
        "keys": {
            label: {"key": v2.key(label).key.hex(), "commitment": v2.key(label).commitment.hex()}
            for label in ("face", "cover", "counts", "live")
        },
        "coverage": v2.COVERAGE.to_value(),
        "counts": v2.COUNTS.to_value(),
        "sightings": people,
        "segment": sealed[SEGMENT].to_bytes().hex(),
        "live": sealed[LIVE_ENVELOPE].to_bytes().hex(),
    }


def row_release() -> dict[str, object]:
    """Version 2: what two custodians release of one row of the segment, and its key."""
    announced, matcher = v2.announcement(), s.sealing_key("matcher")
    digest, row_id = s.fixed("query digest", 32), v2.sighting("one").sighting_id
    row = SightingName.of(v2.NAME, row_id)
    releases = []
    for name in ("c1", "c3"):
        salt, release_id = s.fixed(f"salt {name}", 32), s.fixed(f"release {name}", 16)
        values = release_rows(announced.open_share(name, s.day_key(name)), announced, [row])
        sealed = seal_rows(
            values, matcher.public, salt=salt, release_id=release_id, query_digest=digest
        )
        answer = RowRelease(
            release_id, digest, 1, 1, digest_of(salt, [row]), 5, s.NOW_MS, sealed
        ).sign(s.signing_key(name))
        releases.append(
            {
                "custodian": name,
                "public": s.signing_key(name).verify_key.raw.hex(),
                "day_key_seed": s.day_key(name).seed.hex(),
                "salt": salt.hex(),
                "signed": answer.to_bytes().hex(),
            }
        )
    return {
        "announcement": announced.sign(s.signing_key(s.ADDRESS.box)).to_bytes().hex(),
        "matcher_seed": matcher.seed.hex(),
        "query_digest": digest.hex(),
        "row": [*row.to_value()[:5], row_id.hex()],
        "releases": releases,
        "key": v2.key_of_row(row_id).key.hex(),
    }


def query_2() -> dict[str, object]:
    """Version 2: a signed query that asks for everything that one may ask for."""
    asked = q2.everything()
    signed = asked.sign(s.signing_key("ana"))
    (subject,) = asked.subjects
    return {
        "public": s.signing_key("ana").verify_key.raw.hex(),
        "requester": "ana",
        "signed": signed.to_bytes().hex(),
        "digest": signed.digest.hex(),
        "version": asked.version,
        "purpose_kind": asked.purpose_kind,
        "confirmers": list(asked.confirmers),
        "options": list(asked.options),
        "evidence_stills": asked.asks.evidence_stills,
        "afterwards_min": asked.asks.afterwards_min,
        "examples": [[*e.to_value()[:5], e.sighting_id.hex()] for e in subject.examples],
        "witnessed": subject.witnessed.hex(),
    }


def query_words() -> dict[str, object]:
    """Version 2: a signed query by clothes in words."""
    signed = q2.by_words().sign(s.signing_key("ana"))
    (subject,) = q2.by_words().subjects
    return {
        "public": s.signing_key("ana").verify_key.raw.hex(),
        "signed": signed.to_bytes().hex(),
        "digest": signed.digest.hex(),
        "words": subject.words,
        "templates": [[t.modality, t.model, t.digest.hex()] for t in subject.templates],
    }


def query_document() -> dict[str, object]:
    """Version 2: a signed query that names the document of consent by its hash."""
    signed = q2.documented().sign(s.signing_key("ana"))
    (subject,) = q2.documented().subjects
    return {
        "public": s.signing_key("ana").verify_key.raw.hex(),
        "signed": signed.to_bytes().hex(),
        "digest": signed.digest.hex(),
        "pseudonym": subject.pseudonym,
        "consent_reference": subject.consent_reference,
        "consent_document": subject.consent_document.hex(),
    }


def links() -> dict[str, object]:
    """Version 2: which companions are one contact, sealed to an officer of a query."""
    officer, digest = s.sealing_key("ana"), s.fixed("query", 32)
    return {
        "seed": officer.seed.hex(),
        "query_digest": digest.hex(),
        "sealed": v2.LINKS.seal(officer.public, query_digest=digest).hex(),
        "plaintext": v2.LINKS.to_bytes().hex(),
        "contacts": [
            [number, address.site, address.box, address.camera, episode.hex()]
            for (address, episode), number in v2.LINKS.numbers.items()
        ],
        "without": v2.LINKS.without,
        "left_out": v2.LINKS.left_out,
    }


def enrolment() -> dict[str, object]:
    """Version 2: the statement of the witness of an enrolment, as the query carries it."""
    sheet = q2.sheet()
    return {
        "witness": sheet.witness,
        "public": s.signing_key(sheet.witness).verify_key.raw.hex(),
        "signed": sheet.statement.hex(),
        "pseudonym": sheet.pseudonym,
        "consent_document": sheet.consent_document.hex(),
        "templates": [template.digest.hex() for template in sheet.templates],
        "witnessed_at_ms": s.NOW_MS - 30_000,
    }


def evidence() -> dict[str, object]:
    """Version 2: a sealed still, and what two custodians release of it to two officers."""
    announced, officers = v2.announcement(), ("ana", "bea")
    digest, sighting_id = s.fixed("query digest", 32), v2.sighting("one").sighting_id
    name = SightingName.of(v2.NAME, sighting_id)
    values = [evidence_value(v2.leaf(root, EVIDENCE), sighting_id) for root in s.roots()]
    key, picture = evidence_key(values, name, s.SITE), s.fixed("picture", 300)
    still = SealedStill.seal(picture, key, site=s.SITE, name=name, nonce=s.fixed("nonce", 12))
    releases = []
    for custodian in ("c1", "c3"):
        salt, release_id = s.fixed(f"salt {custodian}", 32), s.fixed(f"still {custodian}", 16)
        sealed = seal_stills(
            release_stills(
                announced.open_share(custodian, s.day_key(custodian)), announced, [name]
            ),
            {officer: s.sealing_key(officer).public for officer in officers},
            salt=salt,
            release_id=release_id,
            query_digest=digest,
        )
        said = EvidenceRelease(
            release_id, digest, 1, 1, digest_of(salt, [name]), 6, s.NOW_MS, sealed
        )
        releases.append(
            {
                "custodian": custodian,
                "public": s.signing_key(custodian).verify_key.raw.hex(),
                "day_key_seed": s.day_key(custodian).seed.hex(),
                "digest": said.digest.hex(),
                "signed": said.sign(s.signing_key(custodian)).to_bytes().hex(),
            }
        )
    asked = StillRequest(s.SITE, digest, name.box, (name,), s.fixed("asked", 16), s.NOW_MS)
    request = asked.sign(s.signing_key("ana")).to_bytes()
    answer = answer_request(
        request,
        "ana",
        asked,
        name,
        answered_at_ms=s.NOW_MS + 500,
        still=still.to_bytes(),
        to=s.sealing_key("ana").public,
    )
    return {
        "announcement": announced.sign(s.signing_key(s.ADDRESS.box)).to_bytes().hex(),
        "query_digest": digest.hex(),
        "request": {
            "public": s.signing_key("ana").verify_key.raw.hex(),
            "signed": request.hex(),
        },
        "answer": {
            "public": s.signing_key(name.box).verify_key.raw.hex(),
            "signed": answer.sign(s.signing_key(name.box)).to_bytes().hex(),
        },
        "sighting": [*name.to_value()[:5], sighting_id.hex()],
        "still": still.to_bytes().hex(),
        "picture": picture.hex(),
        "officers": {officer: s.sealing_key(officer).seed.hex() for officer in officers},
        "releases": releases,
        "key": key.key.hex(),
    }


def places() -> dict[str, object]:
    """The register of places in its second form."""
    data = v2.PLACES.to_bytes()
    return {
        "register": data.hex(),
        "digest": hashlib.sha256(data).hexdigest(),
        "axes": list(v2.PLACES.axes),
        "cameras": [
            {
                "camera": one.camera,
                "place": one.place,
                "position": one.position,
                "names": dict(one.names),
                "address": one.address,
                "indoor": one.indoor,
                "room": one.room,
                "view": one.view,
            }
            for one in v2.PLACES.cameras.values()
        ],
        "walks": [[a, b, seconds] for (a, b), seconds in v2.PLACES.walks.items()],
    }


def camera_hours() -> dict[str, object]:
    """Version 2: which quarter hours of a camera are told of, as a box that imports films hears."""
    days = {
        s.EPOCH - 1: DayHours(live=frozenset(range(32, 72))),
        s.EPOCH: DayHours(frozenset({0, 9, 95}), frozenset({10}), frozenset({9, 11})),
    }
    signed = CameraHours(s.ADDRESS, s.NOW_MS, days).sign(s.signing_key("aggregator"))
    return {
        "aggregator_public": s.signing_key("aggregator").verify_key.raw.hex(),
        "site": s.SITE,
        "box": s.ADDRESS.box,
        "camera": s.ADDRESS.camera,
        "issued_at_ms": s.NOW_MS,
        "days": [
            {
                "epoch": epoch,
                "live": sorted(day.live),
                "elsewhere": sorted(day.elsewhere),
                "own": sorted(day.own),
            }
            for epoch, day in days.items()
        ],
        "signed": signed.to_bytes().hex(),
    }


ALL = {
    "key-tree": key_tree,
    "slot-keys": slot_keys,
    "sealed": sealed,
    "envelope": envelope,
    "announcement": announcement,
    "query": query,
    "approval": approval,
    "refusal": refusal,
    "export": export,
    "grant": grant,
    "checkpoint": checkpoint,
    "joining": joining,
    "rollout": rollout,
    "segment": segment,
    "row-release": row_release,
    "query-2": query_2,
    "query-words": query_words,
    "query-document": query_document,
    "links": links,
    "enrolment": enrolment,
    "evidence": evidence,
    "places": places,
    "camera-hours": camera_hours,
}

if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or ALL:
        (VECTORS / f"{name}.json").write_text(json.dumps(ALL[name](), indent=1) + "\n")
