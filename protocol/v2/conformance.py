"""Vectors of version 2: segments, rows and stills that custodians release, queries, witnesses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from protocol import hpke
from protocol.enrolment import ENROLMENT_KIND, WitnessedEnrolment
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.hmacs import KEY_BYTES
from protocol.keytree import (
    COUNTS,
    COVER,
    DEPTH,
    LIVE,
    META,
    ModalityKey,
    descend,
    tree_top,
)
from protocol.links import Links
from protocol.names import SightingName, SlotName
from protocol.places import parse_places
from protocol.query import QUERY_KIND, Query
from protocol.sealing import LIVE_ENVELOPE
from protocol.signing import Signed, VerifyKey
from protocol.v2 import VERSION
from protocol.v2.blocks import true_rows
from protocol.v2.envelopes import Envelope
from protocol.v2.evidence import (
    EVIDENCE_RELEASE_KIND,
    EvidenceRelease,
    SealedStill,
    open_still_key,
    release_stills,
)
from protocol.v2.hours import HOURS_KIND, CameraHours
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.release import (
    ROW_RELEASE_KIND,
    RowRelease,
    open_row_key,
    release_rows,
)
from protocol.v2.rows import ABSENT, Rows
from protocol.v2.stills import (
    STILL_ANSWER_KIND,
    STILL_REQUEST_KIND,
    StillAnswer,
    StillRequest,
    request_digest,
)

Vector = Mapping[str, Any]


class Compared(Protocol):
    """Compares what a vector says with what this code gives, and raises where they differ."""

    def equal(self, what: str, stated: object, computed: object) -> None:
        """Compare values."""

    def bytes(self, what: str, stated: str, computed: bytes | bytearray) -> None:
        """Compare bytes; ``stated`` is hexadecimal."""


def check_segment(vector: Vector, compared: Compared, _beside: Callable[[str], Vector]) -> None:
    """Derive the keys of a segment and a live envelope of the same people, and open both."""
    roots = [bytes.fromhex(root) for root in vector["roots"]]
    public = VerifyKey(bytes.fromhex(vector["box_public"]))
    segment = Envelope.parse(bytes.fromhex(vector["segment"]))
    live = Envelope.parse(bytes.fromhex(vector["live"]))
    name = segment.header.name
    modalities = [entry.label for entry in segment.header.blocks if entry.space is not None]
    keys = {label: _key(roots, name, label) for label in (*modalities, COVER, COUNTS, LIVE)}
    compared.equal("the labels", sorted(keys), sorted(vector["keys"]))
    for label, key in keys.items():
        stated = vector["keys"][label]
        compared.bytes(f"the key of '{label}'", stated["key"], key.key)
        compared.bytes(f"the commitment of '{label}'", stated["commitment"], key.commitment)
    for envelope in (segment, live):
        envelope.verify(lambda _name: public)
        kind = envelope.header.kind
        inner = envelope.inner(keys[LIVE]) if kind == LIVE_ENVELOPE else envelope
        rows = inner.rows(keys[COVER])
        told = None if rows.coverage is None else rows.coverage.to_value()
        compared.equal(
            f"the coverage of the {kind}", None if told is None else vector["coverage"], told
        )
        compared.equal(f"the people of the {kind}", len(vector["sightings"]), len(rows))
        counted = inner.counts(keys[COUNTS]).to_value() if inner.has(COUNTS) else None
        compared.equal(
            f"the counts of the {kind}",
            None if kind == LIVE_ENVELOPE else vector["counts"],
            counted,
        )
        templates = {modality: _templates(inner, modality, keys) for modality in modalities}
        for number, stated in enumerate(vector["sightings"]):
            _check_sighting(stated, compared, inner, rows, number, roots=roots, templates=templates)


def check_row_release(vector: Vector, compared: Compared, beside: Callable[[str], Vector]) -> None:
    """Open what custodians released of one row, and put its key together."""
    segment = beside("segment")
    announced = _announced(vector["announcement"], segment["box_public"])
    compared.equal("the version", VERSION, announced.version)
    row = SightingName.from_value([*vector["row"][:5], bytes.fromhex(vector["row"][5])])
    matcher = hpke.PrivateKey(bytes.fromhex(vector["matcher_seed"]))
    released = {}
    for item in vector["releases"]:
        custodian = item["custodian"]
        answer = _verified(item, ROW_RELEASE_KIND)
        compared.equal("the custodian", custodian, answer.signer)
        release = RowRelease.parse(answer.payload)
        compared.bytes("the query", vector["query_digest"], release.query_digest)
        salt, values = release.open(matcher)
        compared.bytes(f"the salt of {custodian}", item["salt"], salt)
        released[custodian] = values[row]
        day_key = hpke.PrivateKey(bytes.fromhex(item["day_key_seed"]))
        own = release_rows(announced.open_share(custodian, day_key), announced, [row])
        compared.equal(f"what {custodian} derives", values, own)
    envelope = Envelope.parse(bytes.fromhex(segment["segment"]))
    rows = envelope.rows(
        _key([bytes.fromhex(r) for r in segment["roots"]], envelope.header.name, COVER)
    )
    number = [rows.id_of(each) for each in range(len(rows))].index(row.sighting_id)
    commitment = envelope.block(META)[1][rows.span_of(number)][:KEY_BYTES]
    opening = open_row_key(announced, row, released, commitment)
    compared.bytes("the row's key", vector["key"], opening.key.key)


def check_hours(vector: Vector, compared: Compared, _beside: Callable[[str], Vector]) -> None:
    """Read which quarter hours of a camera are told of."""
    public = VerifyKey(bytes.fromhex(vector["aggregator_public"]))
    signed = Signed.parse(bytes.fromhex(vector["signed"]), kind=HOURS_KIND)
    told = CameraHours.parse(signed.verify(lambda _name: public))
    address = told.address
    stated = [vector[name] for name in ("site", "box", "camera", "issued_at_ms")]
    said = [address.site, address.box, address.camera, told.issued_at_ms]
    compared.equal("whom it tells, and when", stated, said)
    days = [
        {"epoch": epoch}
        | {name: sorted(getattr(day, name)) for name in ("live", "elsewhere", "own")}
        for epoch, day in told.days.items()
    ]
    compared.equal("the days", vector["days"], days)


def check_evidence(vector: Vector, compared: Compared, beside: Callable[[str], Vector]) -> None:
    """Open what custodians released of one still to each officer, and the still with it."""
    announced = _announced(vector["announcement"], beside("segment")["box_public"])
    name = SightingName.from_value([*vector["sighting"][:5], bytes.fromhex(vector["sighting"][5])])
    still = SealedStill.parse(bytes.fromhex(vector["still"]))
    compared.equal("the sighting", name, still.name)
    asked = _verified(vector["request"], STILL_REQUEST_KIND)
    request = StillRequest.parse(asked.payload)
    compared.equal("what the box is asked for", [name], list(request.sightings))
    told = StillAnswer.parse(_verified(vector["answer"], STILL_ANSWER_KIND).payload)
    compared.bytes("what is answered", vector["request"]["signed"], asked.to_bytes())
    compared.equal("the request", request_digest(asked.to_bytes()), told.request)
    asker = hpke.PrivateKey(bytes.fromhex(vector["officers"][asked.signer]))
    compared.bytes("what the box sent", vector["still"], told.open(asked.signer, asker).to_bytes())
    for officer, seed in vector["officers"].items():
        key = hpke.PrivateKey(bytes.fromhex(seed))
        released = {}
        for item in vector["releases"]:
            custodian = item["custodian"]
            signed = _verified(item, EVIDENCE_RELEASE_KIND)
            compared.equal("the custodian", custodian, signed.signer)
            release = EvidenceRelease.parse(signed.payload)
            compared.bytes("the query", vector["query_digest"], release.query_digest)
            compared.bytes("the digest", item["digest"], release.digest)
            compared.equal("the officers", sorted(vector["officers"]), sorted(release.sealed))
            released[custodian] = release.open(officer, key)[name]
            day_key = hpke.PrivateKey(bytes.fromhex(item["day_key_seed"]))
            own = release_stills(announced.open_share(custodian, day_key), announced, [name])
            compared.equal(f"what {custodian} derives", released[custodian], own[name])
        opening = open_still_key(announced, name, released, still.sealed[:KEY_BYTES])
        compared.bytes("the still's key", vector["key"], opening.key.key)
        compared.bytes("the picture", vector["picture"], still.open(opening.key))


def check_query(vector: Vector, compared: Compared, _beside: Callable[[str], Vector]) -> None:
    """Read a query of version 2."""
    signed = _verified(vector, QUERY_KIND)
    query = Query.parse(signed.payload)
    compared.equal("the version", vector["version"], query.version)
    compared.equal("the requester", vector["requester"], signed.signer)
    compared.bytes("the digest", vector["digest"], signed.digest)
    compared.equal("the purpose", vector["purpose_kind"], query.purpose_kind)
    compared.equal("the confirmers", vector["confirmers"], list(query.confirmers))
    compared.equal("the options", vector["options"], list(query.options))
    compared.equal("the stills", vector["evidence_stills"], query.asks.evidence_stills)
    compared.equal("the time afterwards", vector["afterwards_min"], query.asks.afterwards_min)
    (subject,) = query.subjects
    examples = [[*e.to_value()[:5], e.sighting_id.hex()] for e in subject.examples]
    compared.equal("the examples", vector["examples"], examples)
    compared.bytes("the witness's statement", vector["witnessed"], subject.witnessed)


def check_words(vector: Vector, compared: Compared, _beside: Callable[[str], Vector]) -> None:
    """Read a query by clothes in words."""
    signed = _verified(vector, QUERY_KIND)
    compared.bytes("the digest", vector["digest"], signed.digest)
    (subject,) = Query.parse(signed.payload).subjects
    compared.equal("the words", vector["words"], subject.words)
    templates = [[t.modality, t.model, t.digest.hex()] for t in subject.templates]
    compared.equal("the template", vector["templates"], templates)


def check_document(vector: Vector, compared: Compared, beside: Callable[[str], Vector]) -> None:
    """Read a query that names the document of consent."""
    signed = _verified(vector, QUERY_KIND)
    compared.bytes("the digest", vector["digest"], signed.digest)
    (subject,) = Query.parse(signed.payload).subjects
    compared.equal("the pseudonym", vector["pseudonym"], subject.pseudonym)
    compared.equal("the reference", vector["consent_reference"], subject.consent_reference)
    compared.bytes("the document", vector["consent_document"], subject.consent_document)
    witnessed = beside("enrolment")["consent_document"]
    compared.equal("the witness's document", witnessed, vector["consent_document"])


def check_enrolment(vector: Vector, compared: Compared, beside: Callable[[str], Vector]) -> None:
    """Read a witness's statement, which a query carries."""
    signed = _verified(vector, ENROLMENT_KIND)
    statement = WitnessedEnrolment.parse(signed.payload)
    compared.equal("the witness", vector["witness"], signed.signer)
    compared.equal("the pseudonym", vector["pseudonym"], statement.pseudonym)
    compared.bytes("the document", vector["consent_document"], statement.consent_document)
    digests = [digest.hex() for digest in statement.templates]
    compared.equal("the templates", vector["templates"], digests)
    compared.equal("the moment", vector["witnessed_at_ms"], statement.witnessed_at_ms)
    compared.equal("the statement in the query", beside("query-2")["witnessed"], vector["signed"])


def check_links(vector: Vector, compared: Compared, _beside: Callable[[str], Vector]) -> None:
    """Open which companions are one contact, and write it again."""
    officer = hpke.PrivateKey(bytes.fromhex(vector["seed"]))
    digest = bytes.fromhex(vector["query_digest"])
    links = Links.open(bytes.fromhex(vector["sealed"]), officer, query_digest=digest)
    compared.bytes("what was sealed", vector["plaintext"], links.to_bytes())
    contacts = [
        [number, address.site, address.box, address.camera, episode.hex()]
        for (address, episode), number in links.numbers.items()
    ]
    compared.equal("the contacts", vector["contacts"], contacts)
    counted = [links.without, links.left_out]
    compared.equal("the others", [vector["without"], vector["left_out"]], counted)


def check_places(vector: Vector, compared: Compared, _beside: Callable[[str], Vector]) -> None:
    """Read a register of places of the second form, and write it again."""
    data = bytes.fromhex(vector["register"])
    places = parse_places(data)
    compared.bytes("the digest", vector["digest"], places.digest)
    compared.bytes("the register", vector["register"], places.to_bytes())
    compared.equal("the axes", vector["axes"], list(places.axes))
    cameras = [
        {
            "camera": one.camera,
            "place": one.place,
            "position": None if one.position is None else list(one.position),
            "names": dict(one.names),
            "address": one.address,
            "indoor": one.indoor,
            "room": one.room,
            "view": one.view,
        }
        for one in places.cameras.values()
    ]
    compared.equal("the cameras", vector["cameras"], cameras)
    walks = [[one, other, seconds] for (one, other), seconds in places.walks.items()]
    compared.equal("the walks", vector["walks"], walks)


def _announced(signed_hex: str, box_public: str) -> Announcement:
    signed = Signed.parse(bytes.fromhex(signed_hex), kind=EPOCH_KIND)
    box = VerifyKey(bytes.fromhex(box_public))
    return Announcement.parse(signed.verify(lambda _name: box), box=signed.signer)


def _verified(item: Vector, kind: str) -> Signed:
    """Return the message ``signed`` of a vector, which verifies under its ``public``."""
    signed = Signed.parse(bytes.fromhex(item["signed"]), kind=kind)
    public = VerifyKey(bytes.fromhex(item["public"]))
    signed.verify(lambda _name: public)
    return signed


def _check_sighting(
    stated: Vector,
    compared: Compared,
    envelope: Envelope,
    rows: Rows,
    number: int,
    *,
    roots: list[bytes],
    templates: Mapping[str, list[bytes]],
) -> None:
    what, name = f"sighting {number}", envelope.header.name
    compared.bytes(f"the id of {what}", stated["id"], rows.id_of(number))
    compared.bytes(f"the episode of {what}", stated["episode"], rows.episodes[number].tobytes())
    values = [row_value(_leaf(root, META, name.slot), rows.id_of(number)) for root in roots]
    key = row_key(values, name, rows.id_of(number))
    compared.bytes(f"the key of {what}", stated["key"], key.key)
    compared.bytes(f"the commitment of {what}", stated["commitment"], key.commitment)
    row = envelope.row(rows, number, key)
    compared.bytes(f"the metadata of {what}", stated["row"], row.to_bytes())
    own = {}
    for modality, listed in templates.items():
        place = int(rows.places[modality][number])
        own[modality] = None if place == ABSENT else listed[place].hex()
    compared.equal(f"the templates of {what}", stated["templates"], own)


def _templates(envelope: Envelope, modality: str, keys: Mapping[str, ModalityKey]) -> list[bytes]:
    entry, _ = envelope.block(modality)
    if entry.space is None:
        return []
    opened, width = envelope.open(modality, keys[modality]), entry.space.width
    count = true_rows(memoryview(opened), entry.space)
    table = np.frombuffer(opened, np.uint8, count * width).reshape(count, width)
    return [row.tobytes() for row in table]


def _leaf(root: bytes, label: str, slot: int) -> bytes:
    return descend(tree_top(root, label, VERSION), DEPTH, slot).key


def _key(roots: list[bytes], name: SlotName, label: str) -> ModalityKey:
    return slot_key([_leaf(root, label, name.slot) for root in roots], name, label)
