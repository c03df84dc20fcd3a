"""Hold test vectors, ours or a second implementation's, against this code.

A vector is a JSON object of one of the forms in docs/vectors; its form is named by its file. Bytes
are hexadecimal. What a vector says is recomputed, opened or verified; whatever does not come out as
the vector says is named.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from protocol import hpke
from protocol.about_queries import APPROVAL_KIND, REFUSAL_KIND, Approval, Refusal
from protocol.auditlog import check_entries, origin_of, parse_checkpoint, root_of, verify_checkpoint
from protocol.auditlog import verify_cosignature as check_cosignature
from protocol.authorization import parse_signed_query
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.epoch_keys import combine
from protocol.errors import ProtocolError
from protocol.exports import EXPORT_KIND, Export
from protocol.grant import GRANT_KIND, GRANT_REQUEST_KIND, Grant, GrantRequest
from protocol.joining import (
    CONFIGURATION_KIND,
    BoxConfiguration,
    BoxIdentity,
    OfflineAdmission,
    OfflineRequest,
    RegistrarTime,
)
from protocol.keytree import (
    LABELS,
    LIVE,
    META,
    ModalityKey,
    expand,
    modality_key,
    tree_top,
    window_nodes,
)
from protocol.policy import open_policy
from protocol.query import QUERY_KIND, Query
from protocol.releases import KINDS, Rollout
from protocol.sealing import Envelope, open_block
from protocol.sightings import decode_meta
from protocol.signing import Signed, VerifyKey
from protocol.templates import open_templates
from protocol.v2.conformance import (
    check_document,
    check_enrolment,
    check_evidence,
    check_hours,
    check_links,
    check_places,
    check_query,
    check_row_release,
    check_segment,
    check_words,
)

Vector = Mapping[str, Any]
Beside = Callable[[str], Vector]
"""Returns the vector of another form that lies beside this one."""


class NonConformant(ProtocolError):
    """A vector says something else than this code computes, opens or verifies."""


def check_vector(form: str, vector: Vector, beside: Beside) -> int:
    """Check a vector; return how many things were compared.

    Args:
        form: which of `FORMS` it is.
        beside: gives the vectors that this one refers to.

    Raises:
        NonConformant: the first thing that does not come out.
    """
    check = _CHECKS.get(form)
    if check is None:
        known = ", ".join(sorted(_CHECKS))
        raise NonConformant(f"no vectors are called '{form}'; there are {known}")
    compared = _Compared(form)
    try:
        check(vector, compared, beside)
    except NonConformant:
        raise
    except ProtocolError as error:
        raise NonConformant(f"{form}: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise NonConformant(f"{form}: not of the form of such a vector ({error!r})") from error
    return compared.count


class _Compared:
    """Compares, and counts."""

    def __init__(self, form: str) -> None:
        self._form = form
        self.count = 0

    def equal(self, what: str, stated: object, computed: object) -> None:
        """Compare what the vector says with what this code gives."""
        self.count += 1
        if stated != computed:
            raise NonConformant(
                f"{self._form}: {what} is {_short(computed)} here, {_short(stated)} in the vector"
            )

    def bytes(self, what: str, stated: str, computed: bytes | bytearray) -> None:
        """Compare bytes."""
        self.count += 1
        if not hmac.compare_digest(bytes.fromhex(stated), bytes(computed)):
            raise NonConformant(
                f"{self._form}: {what} is {_short(bytes(computed).hex())} here, "
                f"{_short(stated)} in the vector"
            )


def _key_tree(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    root = bytes.fromhex(vector["root"])
    compared.equal("the set of labels", set(vector["leaves"]), set(LABELS))
    for label in LABELS:
        top = tree_top(root, label)
        compared.bytes(f"the top of '{label}'", vector["tops"][label], top.key)
        leaves = expand([top])
        for slot, stated in vector["leaves"][label].items():
            compared.bytes(f"leaf {slot} of '{label}'", stated, leaves[int(slot)])
    for window in vector["windows"]:
        first, last = window["first"], window["last"]
        what = f"slots {first} to {last}"
        for name in sorted(set(window) - {"first", "last", "cover"}):
            nodes = window_nodes(root, name.removesuffix("_nodes"), first, last)
            cover = [[node.level, node.index] for node in nodes]
            compared.equal(f"the cover of {what}", window["cover"], cover)
            compared.equal(f"the nodes of {what}", window[name], [n.key.hex() for n in nodes])


def _slot_keys(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    compared.equal("the set of labels", set(vector["keys"]), set(LABELS))
    for label, stated in vector["keys"].items():
        key = _slot_key(vector, label)
        compared.bytes(f"the key of '{label}'", stated["key"], key.key)
        compared.bytes(f"the commitment of '{label}'", stated["commitment"], key.commitment)


def _slot_key(vector: Vector, label: str) -> ModalityKey:
    leaves = [
        expand([tree_top(bytes.fromhex(root), label)])[vector["slot"]] for root in vector["roots"]
    ]
    names = ("site", "camera", "epoch", "generation", "slot")
    return modality_key(leaves, **{name: vector[name] for name in names}, label=label)


def _sealed(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    key = hpke.PrivateKey(bytes.fromhex(vector["seed"]))
    compared.bytes("the public key", vector["public"], key.public.raw)
    opened = key.open(
        bytes.fromhex(vector["sealed"]), purpose=vector["purpose"], context=vector["context"]
    )
    compared.bytes("what was sealed", vector["plaintext"], opened)


def _envelope(vector: Vector, compared: _Compared, beside: Beside) -> None:
    slot_keys = beside("slot-keys")
    keys = {label: _slot_key(slot_keys, label) for label in LABELS}
    for form in ("segment", "live"):
        envelope = Envelope.parse(bytes.fromhex(vector[form]))
        envelope.verify(_one(vector["box_public"]))
        blocks = envelope.blocks(keys[LIVE])
        for label, block in (*blocks.templates.items(), (META, blocks.meta)):
            opened = open_block(
                keys[label],
                block,
                header=envelope.header_bytes,
                label=label,
                nonce=envelope.nonce,
            )
            compared.bytes(f"block '{label}' of the {form}", vector[f"{label}_block"], opened)
        meta = decode_meta(bytes.fromhex(vector["meta_block"]), count=envelope.header.count)
        compared.equal(f"the count of the {form}", envelope.header.count, len(meta))


def _announcement(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    announced = _announced(vector["signed"], vector["box_public"])
    subsets = [sorted(subset) for subset in announced.subsets()]
    compared.equal("the excluded subsets", vector["excluded_subsets"], subsets)
    for name, custodian in vector["custodians"].items():
        key = hpke.PrivateKey(bytes.fromhex(custodian["day_key_seed"]))
        opened = announced.open_share(name, key)
        stated = {number: vector["roots"][number] for number in custodian["roots"]}
        shares = {number: root.hex() for number, root in opened.items()}
        compared.equal(f"the roots that {name} holds", stated, shares)


def _query(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    signed = Signed.parse(bytes.fromhex(vector["signed"]), kind=QUERY_KIND)
    query = Query.parse(signed.verify(_one(vector["requester_public"])))
    compared.bytes("the digest", vector["digest"], signed.digest)
    matcher = hpke.PrivateKey(bytes.fromhex(vector["matcher_seed"]))
    sealed = bytes.fromhex(vector["sealed_templates"])
    opened = open_templates(sealed, matcher, query, query_digest=signed.digest)
    ((first, *_), *_) = opened.values()
    compared.bytes("the template's digest", vector["template_digest"], first.digest)


def _approval(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    policy = open_policy(
        vector["policy"].encode(),
        bytes.fromhex(vector["policy_signature"]),
        VerifyKey(bytes.fromhex(vector["authority_public"])),
    )
    compared.bytes("the policy's digest", vector["policy_digest"], policy.digest)
    for item in vector["approvals"]:
        signed = Signed.parse(bytes.fromhex(item["signed"]), kind=APPROVAL_KIND)
        approval = Approval.parse(signed.verify(_one(item["public"])))
        name = item["approver"]
        compared.equal("the approver", name, signed.signer)
        compared.bytes(f"the query of {name}", vector["query_digest"], approval.query_digest)
        compared.bytes(f"the policy of {name}", vector["policy_digest"], approval.policy_digest)


def _refusal(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    signed = Signed.parse(bytes.fromhex(vector["signed"]), kind=REFUSAL_KIND)
    refusal = Refusal.parse(signed.verify(_one(vector["public"])))
    compared.equal("the approver", vector["approver"], signed.signer)
    compared.bytes("the query", vector["query_digest"], refusal.query_digest)
    compared.bytes("the policy", vector["policy_digest"], refusal.policy_digest)
    compared.equal("the reason", vector["reason"], refusal.reason)
    compared.equal("the moment", vector["refused_at_ms"], refusal.refused_at_ms)


def _export(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    signed = Signed.parse(bytes.fromhex(vector["signed"]), kind=EXPORT_KIND)
    export = Export.parse(signed.verify(_one(vector["public"])))
    compared.equal("the officer", vector["officer"], signed.signer)
    compared.bytes("the query", vector["query_digest"], export.query_digest)
    compared.equal("the form", vector["form"], export.form)
    compared.equal("the files", vector["files"], [digest.hex() for digest in export.files])
    compared.equal("the moment", vector["exported_at_ms"], export.exported_at_ms)


def _grant(vector: Vector, compared: _Compared, beside: Beside) -> None:
    _grant_requests(vector["requests"], compared)
    matcher = hpke.PrivateKey(bytes.fromhex(vector["matcher_seed"]))
    announced = _announced(vector["announcement"], beside("announcement")["box_public"])
    released = []
    for item in vector["grants"]:
        signed = Signed.parse(bytes.fromhex(item["signed"]), kind=GRANT_KIND)
        grant = Grant.parse(signed.verify(_one(item["public"])))
        compared.equal("the custodian", item["custodian"], signed.signer)
        compared.equal("the labels", vector["labels"], list(grant.labels))
        scopes = [scope.to_value() for scope in grant.scopes]
        compared.equal("the scope", [vector["scope"]], scopes)
        released += grant.open(matcher)
    keys = combine(announced, released)
    slot_keys = beside("slot-keys")
    for label in vector["labels"]:
        stated = slot_keys["keys"][label]["key"]
        compared.bytes(f"the key of '{label}'", stated, keys.key(slot_keys["slot"], label).key)


def _grant_requests(vector: Vector, compared: _Compared) -> None:
    """One request in both versions: they differ in how they name the query alone."""
    key = _one(vector["public"])
    in_full, by_digest = (
        GrantRequest.parse(
            Signed.parse(bytes.fromhex(vector[how]), kind=GRANT_REQUEST_KIND).verify(key)
        )
        for how in ("in_full", "by_digest")
    )
    digest = parse_signed_query(in_full.query).digest
    compared.bytes("the query's digest", vector["query_digest"], digest)
    compared.equal("the request by digest", in_full.naming(digest), by_digest)
    compared.equal("with its query", in_full, by_digest.having(in_full.query))


def _checkpoint(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    entries = [bytes.fromhex(entry) for entry in vector["entries"]]
    for size, stated in enumerate(vector["roots"]):
        compared.bytes(f"the root over {size} entries", stated, root_of(entries[:size]))
    note = vector["note"]
    origin = parse_checkpoint(note)[0].origin
    site, _, actor = origin.removeprefix("sealtrace/").partition("/")
    compared.equal("the log's name", origin, origin_of(site, actor))
    key = VerifyKey(bytes.fromhex(vector["log_public"]))
    head = verify_checkpoint(note, origin=origin, key=key)
    compared.equal("the size", len(entries), head.size)
    check_entries(entries, head)
    witness = VerifyKey(bytes.fromhex(vector["witness_public"]))
    check_cosignature(note, witness=vector["witness"], key=witness)
    compared.count += 1


def _joining(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    site, box, request = vector["site"], vector["box"], bytes.fromhex(vector["request"])
    proof = bytes.fromhex(vector["identity"])
    identity = BoxIdentity.open(proof, site=site, box=box, request=request)
    compared.bytes("the box's key", vector["box_public"], identity.verify_key.raw)
    asked = OfflineRequest(site, box, bytes.fromhex(vector["claim"]), request, proof)
    compared.bytes("the request of a stick", vector["stick_request"], asked.to_bytes())
    OfflineRequest.parse(asked.to_bytes())
    signed = Signed.parse(bytes.fromhex(vector["configuration"]), kind=CONFIGURATION_KIND)
    told = BoxConfiguration.parse(signed.verify(_one(vector["registrar_public"])))
    compared.equal("whom the configuration is for", [site, box], [told.site, told.box])
    compared.equal("the settings", vector["settings"], told.settings)
    nonce, registrar = bytes.fromhex(vector["nonce"]), bytes.fromhex(vector["registrar_public"])
    said = RegistrarTime.open(
        bytes.fromhex(vector["time"]), site=site, nonce=nonce, key=VerifyKey(registrar)
    )
    compared.equal("the registrar's time", vector["time_ms"], said.time_ms)
    answer = OfflineAdmission(box, bytes.fromhex(vector["certificate"]), signed.to_bytes())
    compared.bytes("the answer on a stick", vector["stick_admission"], answer.to_bytes())
    OfflineAdmission.parse(answer.to_bytes())


def _rollout(vector: Vector, compared: _Compared, _beside: Beside) -> None:
    rollout = Rollout.parse(vector["file"].encode())
    written = Rollout(vector["groups"]).to_bytes()
    compared.equal("the file", vector["file"], written.decode())
    for group, versions in vector["runs"].items():
        running = {kind: rollout.version(kind, group) for kind in KINDS}
        compared.equal(f"what {group} is to run", versions, running)


_CHECKS: Mapping[str, Callable[[Vector, _Compared, Beside], None]] = {
    "key-tree": _key_tree,
    "slot-keys": _slot_keys,
    "sealed": _sealed,
    "envelope": _envelope,
    "announcement": _announcement,
    "query": _query,
    "approval": _approval,
    "refusal": _refusal,
    "export": _export,
    "grant": _grant,
    "checkpoint": _checkpoint,
    "joining": _joining,
    "rollout": _rollout,
    "segment": check_segment,
    "row-release": check_row_release,
    "query-2": check_query,
    "query-words": check_words,
    "query-document": check_document,
    "enrolment": check_enrolment,
    "evidence": check_evidence,
    "links": check_links,
    "places": check_places,
    "camera-hours": check_hours,
}
FORMS = tuple(_CHECKS)
"""The forms of vectors, each the name of a file in docs/vectors."""


def _announced(signed_hex: str, box_public: str) -> Announcement:
    signed = Signed.parse(bytes.fromhex(signed_hex), kind=EPOCH_KIND)
    return Announcement.parse(signed.verify(_one(box_public)), box=signed.signer)


def _one(public: str) -> Callable[[str], VerifyKey]:
    """Return the resolver that knows one key, whoever asks."""
    key = VerifyKey(bytes.fromhex(public))
    return lambda _name: key


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
