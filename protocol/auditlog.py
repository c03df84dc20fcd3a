"""Audit logs: entries sealed to the auditors, signed checkpoints, witnesses' cosignatures.

Hashing is RFC 9162's Merkle tree (`protocol.merkle`); a checkpoint is C2SP ``tlog-checkpoint`` in
the C2SP ``signed-note`` form, a witness's line is C2SP ``tlog-cosignature`` (cosignature/v1).
docs/protocol.md, "Audit".

Kinds of entries and their sealed bodies:

=====================  ===========================================================================
``started``            {"version": text}
``directory``          {"version": int, "digest": bytes}
``policy``             {"version": int, "digest": bytes}
``day-keys-issued``    {"epochs": [int]}                                          (custodian)
``day-key-destroyed``  {"epoch": int}                                             (custodian)
``grant``              {"grant_id", "query", "approvals", "matcher_key": bytes,   (custodian)
                       "scopes": [scope], "versions": [int], "labels": [text],
                       "refused": [[camera, epoch, reason]]}; older logs lack the versions (1);
                       ``query`` is the signed query or, here and in the next two, the
                       digest (32 bytes) of one that an earlier entry of the log has in full
``rows``               {"release_id", "query", "approvals", "matcher_key": bytes,  (custodian)
                       "rows", "total": int, "digest": bytes, "left_out": [[reason, count]]}
``evidence``           {"release_id", "query", "approvals", "digest": bytes,      (custodian)
                       "asked_by": text, "officers": [text], "stills", "total": int,
                       "left_out": [[reason, count]]}
``refusal``            {"query_digest": bytes, "reason": text}; of the aggregator, which refuses
                       a false grant, also {"custodian": text}
``withdrawal``         {"withdrawal": bytes}
``query-filed``        {"query": bytes}                                           (aggregator)
``approval``           {"approval": bytes}                                        (aggregator)
``approval-refused``   {"refusal": bytes}: an approver's signed no                (aggregator)
``grant-received``     {"custodian": text, "grant_id", "query_digest": bytes,     (aggregator)
                       "scopes": [scope], "labels": [text]}; older logs lack the labels
``match``              {"query_digest": bytes, "grant_ids": [bytes],              (aggregator)
                       "segments": int, "sightings": int, "candidates": int, "found": int};
                       older logs lack the last, which is rows that are to be opened one by one
``opened-rows``        {"query_digest": bytes, "release_ids": [bytes],            (aggregator)
                       "rows": int, "candidates": int}; ``rows`` are new to the query
``linked-contacts``    {"query_digest": bytes, "companions", "pairs": int}; so many   (aggregator)
                       companions were compared with one another, in so many pairs
``still-asked``        {"query_digest", "request": bytes, "officer", "box": text,    (aggregator)
                       "stills": int}; the officer signed it, and the box was told
``still-answered``     {"query_digest", "request": bytes, "officer", "box",       (aggregator)
                       "outcome", "reason": text, "sent": int}; of one sighting; ``sent`` counts
                       the distinct sightings of the query of which stills were sent so far
``decision``           {"decision": bytes}                                        (aggregator)
``result-read``        {"query_digest": bytes, "reader": text}                    (aggregator)
``exported``           {"export": bytes}                                          (aggregator)
``rejected``           {"box": text, "camera": text, "reason": text}              (aggregator)
``gap``                {"box", "camera": text, "first", "last": int}              (aggregator)
=====================  ===========================================================================
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocol import hpke
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, decode_base64, encode
from protocol.errors import (
    CheckpointInvalid,
    EntryAltered,
    LogForked,
    LogInconsistent,
    MalformedMessage,
    ProofInvalid,
    SignatureInvalid,
)
from protocol.merkle import MerkleTree, leaf_hash
from protocol.merkle_proofs import check_consistency_form, check_inclusion_form
from protocol.signing import SigningKey, VerifyKey

KINDS = frozenset(
    {
        "started",
        "directory",
        "policy",
        "day-keys-issued",
        "day-key-destroyed",
        "grant",
        "rows",
        "evidence",
        "refusal",
        "withdrawal",
        "query-filed",
        "approval",
        "approval-refused",
        "grant-received",
        "match",
        "opened-rows",
        "linked-contacts",
        "still-asked",
        "still-answered",
        "decision",
        "result-read",
        "exported",
        "rejected",
        "gap",
    }
)
CUSTODIAN_KINDS = frozenset({"day-keys-issued", "day-key-destroyed", "grant", "rows", "evidence"})
AGGREGATOR_KINDS = frozenset(
    {
        "query-filed",
        "approval",
        "approval-refused",
        "grant-received",
        "match",
        "opened-rows",
        "linked-contacts",
        "still-asked",
        "still-answered",
        "decision",
        "result-read",
        "exported",
        "rejected",
        "gap",
    }
)
"""Kinds that only logs of that duty hold; the others stand in any."""
MAX_AUDITORS = 16
_ENTRY = "audit-entry"
_ED25519, _COSIGNATURE = b"\x01", b"\x04"
_ORIGIN = re.compile(r"[^\s+\n]{1,200}")
_SIGNATURE_LINE = re.compile(r"— ([^\s+\n]{1,200}) ([A-Za-z0-9+/=]{1,200})")


def origin_of(site: str, actor: str) -> str:
    """Return the origin (name) of the log that ``actor`` keeps at ``site``."""
    return f"sealtrace/{site}/{actor}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a clear outside and a body sealed to each auditor by name.

    ``actor`` is the role that keeps the log; who asked or signed stands in the sealed body.
    """

    kind: str
    time_ms: int
    actor: str
    query_id: bytes | None
    body: Mapping[str, bytes]

    def to_bytes(self) -> bytes:
        """Encode as the leaf of the log."""
        return encode(
            {
                "v": PROTOCOL_VERSION,
                "kind": self.kind,
                "time_ms": self.time_ms,
                "actor": self.actor,
                "query_id": self.query_id,
                "body": dict(self.body),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Entry:
        """Read a leaf.

        Raises:
            MalformedMessage: it is not an entry.
        """
        fields = Fields(decode(data, what="log entry"), what="log entry")
        fields.version()
        entry = cls(
            kind=fields.choice("kind", KINDS),
            time_ms=fields.integer("time_ms"),
            actor=fields.text("actor"),
            query_id=fields.optional("query_id", fields.raw),
            body=fields.mapping("body", max_items=MAX_AUDITORS),
        )
        fields.done()
        if not all(isinstance(sealed, bytes) for sealed in entry.body.values()):
            raise MalformedMessage("a log entry's body is not sealed to each auditor")
        return entry

    def open(self, auditor: str, key: hpke.PrivateKey) -> dict[str, Any]:
        """Open the body as ``auditor``.

        Raises:
            AuthenticationFailed: not sealed to this auditor, or altered.
            MalformedMessage: what was sealed is not a map.
        """
        sealed = self.body.get(auditor, b"")
        context = [self.kind, self.time_ms, self.actor, self.query_id]
        body = decode(key.open(sealed, purpose=_ENTRY, context=context), what="entry body")
        if not isinstance(body, dict):
            raise MalformedMessage("a log entry's body is not a map")
        return body


def seal_entry(
    kind: str,
    body: Mapping[str, object],
    *,
    time_ms: int,
    actor: str,
    query_id: bytes | None,
    auditors: Mapping[str, hpke.PublicKey],
) -> Entry:
    """Make an entry whose body only the ``auditors`` can read."""
    plain = encode(dict(body))
    context: list[object] = [kind, time_ms, actor, query_id]
    sealed = {
        name: key.seal(plain, purpose=_ENTRY, context=context) for name, key in auditors.items()
    }
    return Entry(kind, time_ms, actor, query_id, sealed)


def root_of(entries: Sequence[bytes]) -> bytes:
    """Return the RFC 9162 root over encoded entries, 32 bytes."""
    return MerkleTree(map(leaf_hash, entries)).root()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head: ``origin``, the number of entries, the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def note(self) -> str:
        """Return the text that is signed: three lines, each with its line feed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def key_id(name: str, algorithm: bytes, key: VerifyKey) -> bytes:
    """Return a note key's id (signed-note): 4 bytes of SHA-256 over name, type and key."""
    return hashlib.sha256(name.encode() + b"\n" + algorithm + key.raw).digest()[:4]


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Return the signed note of a checkpoint, signed under the log's origin as key name."""
    note = checkpoint.note()
    blob = key_id(checkpoint.origin, _ED25519, key.verify_key) + key.sign_bytes(note.encode())
    return f"{note}\n— {checkpoint.origin} {base64.b64encode(blob).decode()}\n"


def parse_checkpoint(text: str) -> tuple[Checkpoint, list[tuple[str, bytes]]]:
    """Split a signed note into its checkpoint and its signature lines (name, blob).

    Raises:
        CheckpointInvalid: it does not have the form.
    """
    note, gap, signatures = text.partition("\n\n")
    lines = note.split("\n")
    if (
        not gap
        or not text.endswith("\n")
        or len(lines) != 3
        or not _ORIGIN.fullmatch(lines[0])
        or len(text) > 65_536
    ):
        raise CheckpointInvalid("not a checkpoint: three lines, an empty line, signatures")
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", lines[1]):
        raise CheckpointInvalid("a checkpoint's size is not a number")
    found: list[tuple[str, bytes]] = []
    try:
        root = decode_base64(lines[2], what="a checkpoint's root")
        for line in signatures.removesuffix("\n").split("\n"):
            match = _SIGNATURE_LINE.fullmatch(line)
            if match is None:
                raise CheckpointInvalid("a checkpoint has a line that is not a signature")
            found.append((match[1], decode_base64(match[2], what="a signature")))
    except MalformedMessage as error:
        raise CheckpointInvalid("a checkpoint holds bad base64") from error
    if len(root) != 32 or not found:
        raise CheckpointInvalid("a checkpoint has no SHA-256 root or no signature")
    return Checkpoint(lines[0], int(lines[1]), root), found


def verify_checkpoint(text: str, *, origin: str, key: VerifyKey) -> Checkpoint:
    """Verify a checkpoint that the log ``origin`` signed.

    Raises:
        CheckpointInvalid: of another log, or not signed by it.
    """
    checkpoint, signatures = parse_checkpoint(text)
    if checkpoint.origin != origin:
        raise CheckpointInvalid(f"a checkpoint of '{checkpoint.origin}', not of '{origin}'")
    wanted = key_id(origin, _ED25519, key)
    for name, blob in signatures:
        if name == origin and blob[:4] == wanted:
            try:
                key.verify_bytes(blob[4:], checkpoint.note().encode())
            except SignatureInvalid as error:
                raise CheckpointInvalid(f"the checkpoint of '{origin}' is not signed") from error
            return checkpoint
    raise CheckpointInvalid(f"the checkpoint carries no signature of '{origin}'")


def signed_alone(text: str, *, origin: str, key: VerifyKey) -> str:
    """Return a checkpoint with the log's own signature and none of the others that it carries.

    Raises:
        CheckpointInvalid: of another log, or not signed by it.
    """
    verify_checkpoint(text, origin=origin, key=key)
    note, gap, signatures = text.partition("\n\n")
    wanted = key_id(origin, _ED25519, key)
    for line, (name, blob) in zip(signatures.splitlines(), parse_checkpoint(text)[1], strict=True):
        if name == origin and blob[:4] == wanted:
            return f"{note}{gap}{line}\n"
    raise CheckpointInvalid(f"the checkpoint carries no signature of '{origin}'")


def cosign(checkpoint: Checkpoint, *, witness: str, key: SigningKey, time_s: int) -> str:
    """Return the signature line (with line feed) by which ``witness`` cosigns a checkpoint."""
    signature = key.sign_bytes(_cosigned(checkpoint, time_s))
    blob = key_id(witness, _COSIGNATURE, key.verify_key) + time_s.to_bytes(8, "big") + signature
    return f"— {witness} {base64.b64encode(blob).decode()}\n"


def verify_cosignature(text: str, *, witness: str, key: VerifyKey) -> int:
    """Verify the line of ``witness`` on a checkpoint; return its time in seconds.

    Raises:
        CheckpointInvalid: the witness has not cosigned this checkpoint.
    """
    checkpoint, signatures = parse_checkpoint(text)
    wanted = key_id(witness, _COSIGNATURE, key)
    for name, blob in signatures:
        if name == witness and blob[:4] == wanted and len(blob) == 76:
            time_s = int.from_bytes(blob[4:12], "big")
            try:
                key.verify_bytes(blob[12:], _cosigned(checkpoint, time_s))
            except SignatureInvalid as error:
                raise CheckpointInvalid(f"the cosignature of '{witness}' is false") from error
            return time_s
    raise CheckpointInvalid(f"'{witness}' has not cosigned this checkpoint")


def check_entries(entries: Sequence[bytes], checkpoint: Checkpoint) -> None:
    """Hold the entries of a log against a checkpoint of it (its first ``size`` entries).

    Raises:
        LogInconsistent: there are fewer entries than the checkpoint counts.
        EntryAltered: they do not hash to its root.
    """
    if len(entries) < checkpoint.size:
        raise LogInconsistent(
            f"{checkpoint.origin}: {len(entries)} entries, but {checkpoint.size} were signed for"
        )
    if not hmac.compare_digest(root_of(entries[: checkpoint.size]), checkpoint.root):
        raise EntryAltered(f"{checkpoint.origin}: an entry was altered after it was signed for")


def check_consistency(
    earlier: Checkpoint, later: Checkpoint, proof: Mapping[str, object] | None
) -> None:
    """Check that ``later`` only appends to ``earlier`` (RFC 9162 section 2.1.4).

    Args:
        proof: `protocol.merkle_proofs`' form; not needed when the sizes are equal or ``earlier`` is
            empty.

    Raises:
        LogForked: one size, two roots.
        LogInconsistent: another log, shrunk, or the proof fails.
    """
    if earlier.origin != later.origin or later.size < earlier.size:
        raise LogInconsistent(f"{later.origin}: not a continuation of what was seen before")
    if later.size == earlier.size:
        if not hmac.compare_digest(earlier.root, later.root):
            raise LogForked(f"{later.origin}: two histories of {later.size} entries")
        return
    if earlier.size == 0:
        return
    if proof is None:
        raise LogInconsistent(f"{later.origin}: no proof of consistency was given")
    try:
        check_consistency_form(proof, earlier.size, later.size, earlier.root, later.root)
    except ProofInvalid as error:
        raise LogInconsistent(f"{later.origin}: history was rewritten ({error})") from error


def check_inclusion(
    entry: bytes, index: int, checkpoint: Checkpoint, proof: Mapping[str, object]
) -> None:
    """Check that ``entry`` is number ``index`` (from 0) of the log at ``checkpoint``.

    Raises:
        EntryAltered: it is not.
    """
    try:
        check_inclusion_form(proof, leaf_hash(entry), index, checkpoint.size, checkpoint.root)
    except ProofInvalid as error:
        raise EntryAltered(f"{checkpoint.origin}: entry {index} is not in the log") from error


def _cosigned(checkpoint: Checkpoint, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{checkpoint.note()}".encode()
