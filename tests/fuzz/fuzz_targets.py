"""Every parser that reads bytes of others, each with genuine inputs and the errors it may raise."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import httpx
import protocol_samples as s
import protocol_samples_v2 as v2
import query_samples_v2 as q2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from fuzz_files import file_targets
from fuzz_target import CBOR, OPERATION, PROTOCOL, TEXT, Target, at
from hostile_cbor import BOMBS
from protocol_parsers import GRANTED, NO_CBOR, PARSERS, SEALED

from aggregator.ingest.checks import check_announcement, check_envelope, check_health
from aggregator.store.envelopes import lay_out
from custodian.trust import Site
from custodian.verification import OpenedRequest, decide
from edge_agent.camera_setup import rtsp
from edge_agent.camera_setup.discovery import parse_answer
from edge_agent.camera_setup.errors import CameraProblem
from edge_agent.camera_setup.soap import envelope, parse_envelope
from protocol.about_queries import MatcherKey
from protocol.audit import LogCopy
from protocol.auditlog import (
    _ENTRY,
    Checkpoint,
    Entry,
    check_consistency,
    parse_checkpoint,
    root_of,
    seal_entry,
    sign_checkpoint,
    verify_checkpoint,
)
from protocol.directory import Directory
from protocol.encoding import byte_strings, decode, encode
from protocol.epoch import Announcement, roots_of
from protocol.errors import KeyCommitmentMismatch
from protocol.grant import Grant, GrantedKeys, GrantRequest, Scope, release
from protocol.joining import (
    BoxIdentity,
)
from protocol.keytree import LIVE
from protocol.merkle import MerkleTree, leaf_hash
from protocol.merkle_proofs import consistency_form
from protocol.names import parse_camera_topic
from protocol.policy import Policy
from protocol.reconcile import check_released, reconcile
from protocol.releases import Rollout, RolloutInvalid
from protocol.results import _CANDIDATE, Candidate
from protocol.sharing import SharingRule, check_sharing
from protocol.signing import Signed, sign
from protocol.telemetry import Health
from protocol.templates import Template
from protocol.v2.envelopes import inner_blocks
from protocol.v2.envelopes import parse_envelope as parse_sealed
from provisioning.box.firstboot.keys import make_request
from provisioning.fleet.image.blockmap import BlockMap, MappedRange
from provisioning.fleet.image.cloudinit import written_files
from provisioning.fleet.image.partitions import read_partitions
from provisioning.formats import est, pki
from provisioning.formats.claimfile import load_claim
from runtime.bundle import MANIFEST_NAME, SIGNATURE_NAME, load_bundle, sign_manifest
from runtime.keyfiles import read_secret, write_secret
from runtime.log_api import cosigner_of, decode_witness_request, encode_witness_request
from runtime.logcopy import read_copy, write_copy
from runtime.problems import PROBLEM, raise_for_problem

KEY = s.signing_key("box-1")
_BOX = ec.derive_private_key(7, ec.SECP256R1())
_REQUEST = make_request("box-1", _BOX)
_MADE = datetime(2026, 1, 1, tzinfo=UTC)
_CA = pki.new_root("vectors", now=_MADE, years=1)
_NOTE = sign_checkpoint(
    Checkpoint("sealtrace/vectors/c1", 2, root_of([b"a", b"b"])), s.signing_key("c1")
)


def _shared(payload: bytes) -> object:
    """Hold an announcement against the site's rule, as a custodian does before it opens a share."""
    announcement = Announcement.parse(payload, box="box-1")
    check_sharing(announcement, [SharingRule.of(s.directory())], now_ms=s.NOW_MS)
    return announcement


def _released(custodian: str) -> GrantedKeys:
    own = roots_of(custodian, s.announcement().subsets())
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, s.SLOT, s.SLOT + 1)
    return release({number: s.roots()[number] for number in own}, scope, ["face"])


def _reconciled(data: bytes) -> object:
    """Put what one custodian released together with what another did, whatever it says."""
    announcement = s.announcement()
    keys = GrantedKeys.from_value(decode(data, what="granted keys"))
    check_released(announcement, "c1", keys)
    both = reconcile(announcement, {"c1": keys, "c2": _released("c2")})
    with suppress(KeyCommitmentMismatch):  # of the block made up here
        both.opening(s.SLOT, "face", bytes(32))
    return both


def _granted(data: bytes) -> object:
    return GrantedKeys.from_value(decode(data, what="granted keys"))


def _template(data: bytes) -> object:
    return Template.from_value(decode(data, what="template"))


def _candidate(data: bytes) -> object:
    ana = s.sealing_key("ana")
    sealed = ana.public.seal(data, purpose=_CANDIDATE, context=[b"q" * 32])
    return Candidate.open(sealed, ana, query_digest=b"q" * 32)


def _candidate_sample() -> bytes:
    value = {
        "v": 1, "subject": "P-17", "site": "vectors", "box": "box-1", "camera": "cam-1",
        "sighting_id": b"i" * 8, "first_seen_ms": 1, "last_seen_ms": 2, "mask": 1,
        "mask_confidence": 0.5, "quality": 0.5, "modality": "face", "model": s.MODEL, "score": 0.5,
        "log10_lr": None, "encounters": [[b"o" * 8, 1.5, 2.5, 1, 0.5]],
    }  # fmt: skip
    return encode(value)


def _entry_body(data: bytes) -> object:
    eve = s.sealing_key("eve")
    entry = seal_entry(
        "started", {}, time_ms=1, actor="c1", query_id=None, auditors={"eve": eve.public}
    )
    context: list[object] = [entry.kind, entry.time_ms, entry.actor, entry.query_id]
    sealed = eve.public.seal(data, purpose=_ENTRY, context=context)
    return replace(entry, body={"eve": sealed}).open("eve", eve)


def _judgement(payload: bytes) -> object:
    """Have a custodian judge a request for this query, signed and approved as it stands."""
    query = sign("query", payload, s.signing_key("ana"))
    return _decide(query, s.announcement().sign(KEY))


def _judged_under_the_second_schema(payload: bytes) -> object:
    """As `_judgement`, where the policy asks for a witness of the enrolment."""
    query = sign("query", payload, s.signing_key("ana"))
    return _decide(query, s.announcement().sign(KEY), q2.POLICY)


def _judged_statement(payload: bytes) -> object:
    """Have a custodian judge a query whose witness signed for this."""
    statement = sign("enrolment", payload, s.signing_key("di")).to_bytes()
    query = q2.query(subjects=(q2.subject(witnessed=statement),))
    return _judged_under_the_second_schema(query.sign(s.signing_key("ana")).payload)


def _judged_announcement(payload: bytes) -> object:
    return _decide(s.case().query, sign("epoch", payload, KEY))


def _decide(query: Signed, announcement: Signed, policy: Policy = s.POLICY) -> object:
    matcher = MatcherKey(query.digest, s.sealing_key("m").public, s.NOW_MS)
    request = GrantRequest(
        query=query.to_bytes(),
        approvals=tuple(
            s.approval(query, name, policy_digest=policy.digest).to_bytes() for name in ("bo", "cy")
        ),
        withdrawals=(),
        matcher_key=matcher.sign(s.signing_key("aggregator")).to_bytes(),
        announcements=(announcement.to_bytes(),),
        requested_at_ms=s.NOW_MS,
    )
    opened = OpenedRequest(request, "aggregator", query, ())
    site = Site(s.directory(), b"d" * 32, policy, (SharingRule.of(s.directory()),))
    return decide(opened, [], site, custodian="c1", now_ms=s.NOW_MS)


class _Where(TypedDict):
    box: str
    camera: str
    site: str
    directory: Directory


def _proof(data: bytes) -> None:
    tree = MerkleTree(map(leaf_hash, [b"a", b"b", b"c"]))
    earlier = Checkpoint("sealtrace/vectors/c1", 2, tree.root(2))
    later = Checkpoint("sealtrace/vectors/c1", 3, tree.root(3))
    _, proof = decode_witness_request(encode({"checkpoint": _NOTE, "proof": data.decode()}))
    check_consistency(earlier, later, proof)


def _proof_sample() -> bytes:
    tree = MerkleTree(map(leaf_hash, [b"a", b"b", b"c"]))
    return json.dumps(consistency_form(2, 3, tree.subtree)).encode()


def _printable(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Leave out what a text field refuses before the parser meant here sees it."""

    def read(data: bytes) -> object:
        try:
            data.decode()
        except UnicodeDecodeError:
            return None
        return parse(data)

    return read


def _problem(data: bytes) -> object:
    return raise_for_problem(httpx.Response(400, headers={"content-type": PROBLEM}, content=data))


def _summed_map(data: bytes) -> object:
    """Read a block map whose own checksum fits whatever it says."""
    stated = re.search(rb"<BmapFileChecksum> ([0-9a-f]{64}) ", data)
    if stated is None:
        return BlockMap.parse(data)
    blank = data.replace(stated[1], b"0" * 64)
    return BlockMap.parse(blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode(), 1))


def _rtsp(data: bytes) -> object:
    response = rtsp.parse_response(data)
    rtsp.content_length(response)
    return rtsp.authorization(response.all("www-authenticate"), "user", "secret", "rtsp://h/s")


def _soap_sample() -> bytes:
    return envelope("<d:ProbeMatches xmlns:d='x'><d:A>1</d:A></d:ProbeMatches>", "<a>uuid:1</a>")


_RTSP_ANSWER = (
    b"RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\nContent-Length: 0\r\n"
    b'WWW-Authenticate: Digest realm="cam", nonce="abc", algorithm=SHA-256, qop="auth"\r\n\r\n'
)
_SDP = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=framerate:25\r\nm=audio 0\r\n"
_MANIFEST = {
    "format": "sealtrace-bundle/1", "name": "sample", "version": "1",
    "models": [{
        "role": "face_detector", "name": "d", "model_id": f"d-0@{'0' * 8}", "file": "d.onnx",
        "sha256": "0" * 64, "size": 3, "engine": "onnx", "licence": "x", "upstream": "x",
    }],
}  # fmt: skip
_CLAIM = (
    b'site = "demo"\nbox = "box-7"\nurl = "https://h:1"\nauthority = "' + b"ab" * 32 + b'"\n'
    b'claim = "' + b"cd" * 32 + b'"\nexpires_at = 2030-01-01T00:00:00Z\nca = "pem"\n'
)
_NEWER_CLAIM = _CLAIM + b'directory_version = 3\ndirectory_digest = "' + b"ef" * 32 + b'"\n'
_USER_DATA = b"#cloud-config\nwrite_files:\n- path: /etc/a\n  content: |\n    text\n"
_LOG_HEAD = {"origin.txt": b"sealtrace/vectors/c1\n"}


def _files(folder: Path) -> dict[str, Target]:
    """Parsers that read files; they are given theirs in ``folder``."""
    seed = bytes(32)
    public = bytes.fromhex(sign_manifest(b"", seed).split()[1].decode())

    def bundle(path: Path) -> object:
        manifest = path.read_bytes()
        (path.parent / SIGNATURE_NAME).write_bytes(sign_manifest(manifest, seed))
        return load_bundle(path.parent, [public], roles=())

    copied = folder / "copy"
    write_copy(copied, LogCopy("sealtrace/vectors/c1", (b"a" * 30, b"b" * 300), (_NOTE,)))
    secret = folder / "secret.key"
    write_secret(secret, b"s" * 32, None, purpose="sample")
    return {
        "log copy's entries": Target(
            at(folder / "copy/entries.cborseq", lambda path: read_copy(path.parent)),
            ((copied / "entries.cborseq").read_bytes(),), OPERATION,
        ),
        "claim file": Target(
            at(folder / "claim.toml", load_claim), (_CLAIM, _NEWER_CLAIM), OPERATION, TEXT
        ),
        "model bundle's manifest": Target(
            at(folder / "bundle" / MANIFEST_NAME, bundle), (json.dumps(_MANIFEST).encode(),),
            OPERATION, TEXT,
        ),
        "key file": Target(
            at(folder / "own.key", lambda path: read_secret(path, None, "sample")),
            (secret.read_bytes(),), OPERATION, TEXT,
        ),
    }  # fmt: skip


@contextmanager
def targets() -> Iterator[dict[str, Target]]:
    """Make every target; those that read files have a folder of their own meanwhile."""
    directory = s.directory()
    where: _Where = {"box": "box-1", "camera": "cam-1", "site": s.SITE, "directory": directory}
    health = Health(s.SITE, "box-1", "online", 5, "1", {"fps": 4.5}).sign(KEY)
    epoch = s.announcement().sign(KEY)
    certificate = _CA.certificate.public_bytes(Encoding.DER)
    grant = Grant(b"g" * 16, b"q" * 32, ("face",), (GRANTED.scope,), (), 0, 1, SEALED)
    block_map = BlockMap(8192, (MappedRange(0, 4096, hashlib.sha256(b"x").hexdigest()),))
    mbr = bytearray(1024)
    mbr[446:462] = bytes.fromhex("80000000 0c000000 01000000 01000000")
    mbr[510:512] = b"\x55\xaa"
    found = {
        name: Target(parse, (genuine,), PROTOCOL, TEXT if name in NO_CBOR else CBOR)
        for name, (parse, genuine) in PARSERS.items()
    }
    found |= {
        "CBOR": Target(lambda d: decode(d, what="it"), (epoch.payload, *BOMBS.values()), PROTOCOL),
        "CBOR sequence": Target(
            lambda d: list(byte_strings(d, what="it")), (encode(b"a" * 300) * 3,), PROTOCOL
        ),
        "granted keys": Target(_granted, (encode(GRANTED.to_value()),), PROTOCOL),
        "granted keys, of two custodians": Target(
            _reconciled, (encode(_released("c1").to_value()),), PROTOCOL
        ),
        "announcement, held against the directory": Target(_shared, (epoch.payload,), PROTOCOL),
        "opened grant": Target(
            lambda d: Grant.parse(d).open(s.sealing_key("m")), (grant.sign(KEY).payload,), PROTOCOL
        ),
        "template": Target(_template, (encode(s.template().to_value()),), PROTOCOL),
        "candidate": Target(_candidate, (_candidate_sample(),), PROTOCOL),
        "log entry, opened": Target(_entry_body, (encode({"version": "1"}),), PROTOCOL),
        "log entry's seals": Target(
            lambda d: Entry.parse(d).open("eve", s.sealing_key("eve")),
            (PARSERS["log entry"][1],), PROTOCOL,
        ),
        "query, judged by a custodian": Target(_judgement, (s.case().query.payload,), PROTOCOL),
        "query of version 2, judged by a custodian": Target(
            _judged_under_the_second_schema,
            tuple(
                query.sign(s.signing_key("ana")).payload for query in (q2.query(), q2.documented())
            ),
            PROTOCOL,
        ),
        "enrolment, judged by a custodian": Target(
            _judged_statement, (PARSERS["enrolment"][1],), PROTOCOL
        ),
        "announcement, judged by a custodian": Target(
            _judged_announcement, (epoch.payload,), PROTOCOL
        ),
        "envelope, at the aggregator": Target(
            lambda d: check_envelope(d, **where, max_bytes=1 << 20), (s.envelope().to_bytes(),),
            PROTOCOL,
        ),
        "envelope of version 2, at the aggregator": Target(
            lambda d: check_envelope(d, **where, max_bytes=1 << 20), (v2.envelope().to_bytes(),),
            PROTOCOL,
        ),
        "envelope of either version, laid out": Target(
            lambda d: lay_out(parse_sealed(d)),
            (s.envelope().to_bytes(), v2.envelope().to_bytes(), v2.envelope("live").to_bytes()),
            PROTOCOL,
        ),
        "blocks of a live envelope of version 2": Target(
            inner_blocks, (bytes(v2.envelope("live").open(LIVE, v2.key(LIVE))),), PROTOCOL
        ),
        "announcement, at the aggregator": Target(
            lambda d: check_announcement(d, **where), (epoch.to_bytes(),), PROTOCOL
        ),
        "announcement, signed anew": Target(
            lambda d: check_announcement(sign("epoch", d, KEY).to_bytes(), **where),
            (epoch.payload,), PROTOCOL,
        ),
        "health, signed anew": Target(
            lambda d: check_health(
                sign("health", d, KEY).to_bytes(), box="box-1", site=s.SITE, directory=directory
            ),
            (health.payload,), PROTOCOL,
        ),
        "topic": Target(
            lambda d: parse_camera_topic(d.decode("utf-8", "replace")),
            (b"st/v1/vectors/box-1/cam-1/envelope",), PROTOCOL, TEXT,
        ),
        "checkpoint": Target(
            lambda d: parse_checkpoint(d.decode("utf-8", "replace")), (_NOTE.encode(),), PROTOCOL,
            TEXT,
        ),
        "checkpoint's signature": Target(
            lambda d: verify_checkpoint(
                d.decode("utf-8", "replace"), origin="sealtrace/vectors/c1",
                key=s.signing_key("c1").verify_key,
            ),
            (_NOTE.encode(),), PROTOCOL, TEXT,
        ),
        "cosignature": Target(
            lambda d: cosigner_of(d.decode("utf-8", "replace")),
            (_NOTE.rpartition("\n\n")[2].encode(),), PROTOCOL, TEXT,
        ),
        "witness request": Target(
            decode_witness_request, (encode_witness_request(_NOTE, {"a": [1]}),), PROTOCOL
        ),
        "proof of consistency": Target(_printable(_proof), (_proof_sample(),), PROTOCOL, TEXT),
        "box identity": Target(
            lambda d: BoxIdentity.open(d, site="vectors", box="box-1", request=_REQUEST),
            (BoxIdentity.of("vectors", KEY, _REQUEST).to_bytes(),), PROTOCOL,
        ),
        "box identity, signed anew": Target(
            lambda d: BoxIdentity.open(
                sign("box-identity", d, KEY).to_bytes(), site="vectors", box="box-1",
                request=_REQUEST,
            ),
            (BoxIdentity.of("vectors", KEY, _REQUEST).payload,), PROTOCOL,
        ),
        "EST body": Target(est.decode_body, (est.encode_body(_REQUEST),), OPERATION, TEXT),
        "certificate request": Target(
            lambda d: est.read_request(d, box="box-1"), (_REQUEST,), OPERATION, TEXT
        ),
        "EST answer": Target(
            est.read_certs_only, (est.certs_only([_CA.certificate]),), OPERATION, TEXT
        ),
        "certificates": Target(
            lambda d: pki.load_certificates(d, what="it"), (pki.pem(_CA.certificate), certificate),
            OPERATION, TEXT,
        ),
        "revocation lists": Target(
            pki.merged_crls,
            (pki.pem(pki.revocation_list(_CA, [], number=1, now=_MADE)),),
            OPERATION, TEXT,
        ),
        "problem": Target(
            _problem, (b'{"type":"urn:x","title":"t","detail":"d","status":400}',), OPERATION, TEXT
        ),
        "rollout": Target(
            Rollout.parse, (Rollout(groups={"all": {"agent": "1.0"}}).to_bytes(),),
            (RolloutInvalid,), TEXT,
        ),
        "block map": Target(_summed_map, (block_map.to_xml(),), OPERATION, TEXT),
        "partitions": Target(
            lambda d: read_partitions(lambda at, n: d[at : at + n], len(d)), (bytes(mbr),),
            OPERATION, TEXT,
        ),
        "user-data": Target(written_files, (_USER_DATA,), OPERATION, TEXT),
        "SOAP message": Target(parse_envelope, (_soap_sample(),), OPERATION, TEXT),
        "answer to discovery": Target(
            lambda d: parse_answer(d, "uuid:1", "10.0.0.1"), (_soap_sample(),), OPERATION, TEXT
        ),
        "RTSP answer": Target(_rtsp, (_RTSP_ANSWER,), (), TEXT),
        "SDP": Target(rtsp.video_of, (_SDP,), (CameraProblem,), TEXT),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        yield found | _files(Path(folder)) | file_targets(Path(folder) / "files")
