"""The intake takes either version, each in generations that were announced in it, and no other."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes_v2 import BoxOfVersion2, make_box_v2, person, strangers
from intake_desk import Desk
from sealed_boxes import NOON_SLOT, NOW_MS, SITE, TestBox, make_box, sighting, unit_vector
from store_file import rows

from aggregator.ingest.boxes import statuses
from aggregator.store.retention import purge
from protocol.admissions import Admissions
from protocol.boxterms import BoxTerms
from protocol.directory import REGISTRAR, Directory, Principal
from protocol.encoding import encode
from protocol.epoch import RECORDING
from protocol.keytree import FACE
from protocol.names import EPOCH_MS
from protocol.signing import SigningKey, sign
from protocol.v2.envelopes import Envelope
from runtime.trust import Trust

RNG = np.random.default_rng(31)
DAY = NOW_MS // EPOCH_MS


@pytest.fixture
def box() -> BoxOfVersion2:
    return make_box_v2(1)


@pytest.fixture
def desk(tmp_path: Path, box: BoxOfVersion2) -> Desk:
    return Desk(tmp_path / "a.db", [box, make_box(2)])


def of_form_2(directory: Directory, box: str, **fields: object) -> Directory:
    """Return the directory with more said of a box."""
    changed = dict(directory.principals)
    changed[box] = replace(changed[box], **fields)  # type: ignore[arg-type]
    return replace(directory, form=2, principals=changed)


def as_version_1(box: TestBox) -> TestBox:
    """Return the same box, sealing as before its update."""
    return TestBox(box.name, box.camera, box.key, sequence=box.sequence, generation=box.generation)


def test_announcement_segment_and_live_envelope_of_version_2_are_stored_as_they_came(
    desk: Desk, box: BoxOfVersion2
) -> None:
    messages = [box.announcement(), box.live(strangers(2, RNG)), box.segment(strangers(3, RNG))]
    messages.append(box.segment([], slot=NOON_SLOT - 5))
    batch = desk.take(*messages)
    assert (batch.stored, batch.rejected) == (4, 0), desk.rejects()
    for number, (_, payload) in enumerate(messages[1:], 1):
        envelope = desk.store.segments.envelope(number)
        assert envelope.to_bytes() == payload
        envelope.verify(desk.directory.resolver("box"))
    assert desk.take(*messages).duplicates == 4
    assert desk.intake.position(box.address) == (3, ())


def test_a_segment_drops_the_live_envelopes_that_it_lists_in_whatever_order_they_come(
    desk: Desk, box: BoxOfVersion2
) -> None:
    announcement = box.announcement()
    early, late, other = (box.live([person(unit_vector(RNG))]) for _ in range(3))
    segment = box.segment(strangers(2, RNG), replaces=((1, 2),))
    assert desk.take(announcement, early, segment).replaced_live == 1
    batch = desk.take(late, other)
    assert (batch.stored, batch.replaced_live) == (2, 1)
    assert desk.stored() == 2
    assert desk.intake.position(box.address) == (4, ())
    assert desk.take(late).duplicates == 1


def test_a_block_that_the_box_did_not_sign_for_is_refused_and_its_number_still_waited_for(
    desk: Desk, box: BoxOfVersion2
) -> None:
    envelope = box.sealed(strangers(2, RNG))
    topic = box.address.topic("envelope")
    for place in range(len(envelope.blocks)):
        blocks = list(envelope.blocks)
        blocks[place] = bytes([blocks[place][0] ^ 1]) + blocks[place][1:]
        desk.take((topic, replace(envelope, blocks=tuple(blocks)).to_bytes()))
    assert desk.rejects() == {"altered-block": len(envelope.blocks)}
    forged = replace(envelope, signature=bytes(64)).to_bytes()
    assert desk.take((topic, forged)).rejected == 1
    assert desk.rejects()["bad-signature"] == 1
    assert desk.take((topic, envelope.to_bytes())).stored == 1
    assert desk.status().quarantined == 0


def test_an_envelope_of_another_version_than_its_announcement_is_refused_by_that_name(
    desk: Desk, box: BoxOfVersion2
) -> None:
    desk.take(box.announcement())
    old = as_version_1(box)
    batch = desk.take(old.segment([sighting(unit_vector(RNG))]))
    assert (batch.stored, batch.rejected) == (0, 1)
    assert desk.rejects() == {"wrong-version": 1}
    assert desk.intake.position(box.address) == (1, ()), "its number is accounted for"
    second = desk.boxes[1]
    newer = make_box_v2(2)
    newer.key, newer.generation = second.key, second.generation
    desk.take(second.announcement())
    newer.sequence = second.sequence
    desk.take(newer.segment(strangers(1, RNG)), newer.live(strangers(1, RNG)))
    assert desk.rejects() == {"wrong-version": 3}
    assert desk.stored() == 0


def test_an_envelope_of_version_2_may_come_before_its_announcement(
    desk: Desk, box: BoxOfVersion2
) -> None:
    announcement = box.announcement()
    assert desk.take(box.live(strangers(1, RNG))).stored == 1
    assert desk.take(announcement, box.live(strangers(1, RNG))).stored == 2
    assert desk.rejects() == {}


def test_a_box_that_went_on_to_version_2_announces_no_more_of_version_1(
    desk: Desk, box: BoxOfVersion2
) -> None:
    old = as_version_1(box)
    desk.directory = of_form_2(desk.directory, box.name, version_1_until_ms=NOW_MS - 1000)
    earlier = old.announcement(at_ms=NOW_MS - 1000)
    assert desk.take(earlier).stored == 1
    old.generation += 1
    later = old.announcement(at_ms=NOW_MS - 999)
    assert desk.take(later).rejected == 1
    assert desk.rejects() == {"downgraded": 1}
    assert desk.intake.position(box.address) == (1, ())
    box.sequence, box.generation = old.sequence, old.generation + 1
    assert desk.take(box.announcement(), box.segment(strangers(1, RNG))).stored == 2


def test_a_box_that_the_registrar_admitted_is_held_to_version_2_and_to_its_films_too(
    tmp_path: Path, desk: Desk, box: BoxOfVersion2
) -> None:
    authority, registrar = SigningKey.generate("authority"), SigningKey.generate("registrar")
    listed = dict(desk.directory.principals)
    admitted = listed.pop(box.name)
    listed["registrar"] = Principal("registrar", frozenset({REGISTRAR}), registrar.verify_key)
    first = desk.directory.listing(listed)
    installed = tmp_path / "directory.cbor"
    installed.write_bytes(first.sign(authority, 2).to_bytes())
    trust = Trust(site=SITE, authority=authority.verify_key, installed=installed, state_dir=None)
    trust.on_change(lambda directory: setattr(desk, "directory", directory))
    admissions = Admissions(SITE, 1, NOW_MS, {box.name: admitted}, {})
    assert trust.accept(admissions.sign(registrar).to_bytes())
    old = as_version_1(box)
    assert desk.take(old.announcement(at_ms=NOW_MS - 1000)).stored == 1
    film = BoxOfVersion2(box.name, "cam-9", box.key, origin=RECORDING)
    assert desk.take(film.announcement(epoch=DAY - 5)).rejected == 1
    held = first.with_terms({box.name: BoxTerms(("cam-9",), NOW_MS - 1000)})
    held = held.next_version(held.principals, at_ms=NOW_MS)
    assert trust.accept(held.sign(authority, 2).to_bytes())
    old.generation += 1
    assert desk.take(old.announcement(at_ms=NOW_MS - 999)).rejected == 1
    assert desk.rejects() == {"foreign-camera": 1, "downgraded": 1}
    assert desk.take(film.announcement(epoch=DAY - 5)).stored == 1
    box.sequence, box.generation = old.sequence, old.generation + 1
    assert desk.take(box.announcement(), box.segment(strangers(1, RNG))).stored == 2


def test_what_each_box_speaks_is_told_with_the_moment_it_last_spoke_version_1(
    desk: Desk, box: BoxOfVersion2
) -> None:
    def told(name: str) -> tuple[int | None, int | None]:
        (one,) = (
            status
            for status in statuses(desk.store, desk.directory, clock_skew_ms=1000, now_ms=NOW_MS)
            if status.box == name
        )
        return one.protocol, one.version_1_ms

    assert told("box-1") == (None, None)
    old = as_version_1(box)
    desk.take(old.announcement(at_ms=NOW_MS - 5000))
    old.generation += 1
    desk.take(old.announcement(at_ms=NOW_MS - 4000))
    assert told("box-1") == (1, NOW_MS - 4000)
    box.sequence, box.generation = old.sequence, old.generation + 1
    desk.take(box.announcement())
    assert told("box-1") == (2, NOW_MS - 4000)
    desk.take(desk.boxes[1].announcement())
    assert told("box-2")[0] == 1


def test_a_box_is_at_version_2_when_all_of_its_cameras_are(desk: Desk, box: BoxOfVersion2) -> None:
    desk.directory = of_form_2(desk.directory, box.name, cameras=(box.camera, "cam-8"))
    second = TestBox(box.name, "cam-8", box.key)
    desk.take(box.announcement(), second.announcement(at_ms=NOW_MS - 1))
    (status,) = (
        one
        for one in statuses(desk.store, desk.directory, clock_skew_ms=1000, now_ms=NOW_MS)
        if one.box == box.name
    )
    assert (status.protocol, status.version_1_ms) == (1, NOW_MS - 1)


def test_recordings_come_only_of_cameras_that_the_box_may_import(
    desk: Desk, box: BoxOfVersion2
) -> None:
    recorded = BoxOfVersion2(box.name, "cam-9", box.key, origin=RECORDING)
    past = {"epoch": DAY - 5}
    messages = [recorded.announcement(**past), recorded.segment(strangers(1, RNG), **past)]
    desk.take(*messages)
    assert desk.rejects() == {"foreign-camera": 2}
    desk.directory = of_form_2(desk.directory, box.name, recordings=("cam-9",))
    assert desk.take(*messages).stored == 2
    gone = recorded.announcement(epoch=DAY - 15)
    assert desk.take(gone).rejected == 1
    assert desk.rejects()["retention-ended"] == 1
    seen_now = BoxOfVersion2(box.name, "cam-9", box.key, generation=200)
    desk.take(seen_now.announcement(), seen_now.segment(strangers(1, RNG)))
    assert desk.rejects()["foreign-camera"] == 4, "it may import them, and not watch them"
    box.origin = RECORDING
    desk.take(box.announcement(), box.segment(strangers(1, RNG)))
    assert desk.rejects()["foreign-camera"] == 6, "nor import what it may watch"


def test_an_envelope_of_another_origin_than_its_generation_is_refused(
    desk: Desk, box: BoxOfVersion2
) -> None:
    desk.directory = of_form_2(desk.directory, box.name, recordings=(box.camera,))
    desk.take(box.announcement())
    assert desk.take(box.segment(strangers(1, RNG), origin=RECORDING)).rejected == 1
    assert desk.rejects() == {"wrong-origin": 1}


def test_a_version_to_come_is_refused_by_that_name(desk: Desk, box: BoxOfVersion2) -> None:
    envelope = box.sealed(strangers(1, RNG))
    header = envelope.header_bytes.replace(b"\x61v\x02", b"\x61v\x03")
    assert header != envelope.header_bytes
    value = encode([header, list(envelope.blocks), envelope.signature])
    desk.take((box.address.topic("envelope"), value))
    assert desk.rejects() == {"unsupported-version": 1}


def test_blocks_of_another_length_than_rows_are_refused(desk: Desk, box: BoxOfVersion2) -> None:
    made = box.sealed(strangers(1, RNG))
    face = [entry.label for entry in made.header.blocks].index(FACE)
    blocks = list(made.blocks)
    blocks[face] += b"\0"
    entries = list(made.header.blocks)
    entries[face] = replace(entries[face], digest=hashlib.sha256(blocks[face]).digest())
    header = replace(made.header, blocks=tuple(entries))
    signature = sign("envelope", header.to_bytes(), box.key).signature
    spoilt = Envelope(header, header.to_bytes(), tuple(blocks), signature)
    desk.take((box.address.topic("envelope"), spoilt.to_bytes()))
    assert desk.rejects() == {"malformed": 1}
    assert desk.intake.position(box.address) == (0, ())


def test_nothing_of_a_day_is_left_when_its_retention_ends(desk: Desk, box: BoxOfVersion2) -> None:
    desk.take(box.announcement(), box.live(strangers(1, RNG)), box.live(strangers(1, RNG)))
    desk.take(box.segment(strangers(2, RNG), replaces=((1, 1),)))
    tables = ("envelopes", "sealed_rows", "live_numbers", "replaced_numbers")
    held = {table: rows(desk.store, f"SELECT count(*) FROM {table}")[0][0] for table in tables}  # noqa: S608 - ours
    assert held == {
        "envelopes": 2,
        "sealed_rows": 1,
        "live_numbers": 1,
        "replaced_numbers": 1,
    }
    purge(desk.store, now_ms=NOW_MS + 16 * EPOCH_MS, retention_days=14)
    for table in tables:
        assert rows(desk.store, f"SELECT * FROM {table}") == []  # noqa: S608 - ours
