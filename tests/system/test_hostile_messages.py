"""Whatever hostile messages come over the broker are refused and counted; the rest goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from puppet_box import PuppetBox, now_ms, person, seen, slots_ago
from query_desk import QueryDesk, template_of
from running_site import RunningSite, is_whole
from waiting import wait_for

from protocol.names import EPOCH, SLOT_MS, CameraAddress, box_health_topic, epoch_of
from protocol.sightings import quantise_template
from protocol.signing import SigningKey


@pytest.fixture(scope="module")
def box(quiet_site: RunningSite) -> Iterator[PuppetBox]:
    with PuppetBox(quiet_site, "box-4") as puppet:
        made = puppet.announce(slots_ago(3), now_ms())
        quiet_site.wait_stored("cam-4", len(made))
        yield puppet


def refused(site: RunningSite, reason: str, *, box: str = "box-4") -> int:
    """How often messages said to be of a box were refused for a reason."""
    rows = site.rows("SELECT sum(count) FROM rejects WHERE box = ? AND reason = ?", box, reason)
    return int(rows[0][0] or 0)


def expect_refusal(site: RunningSite, reason: str, act: Any, *, box: str = "box-4") -> None:
    """Do something; wait until one more message of the box is refused for this reason."""
    before, stored = refused(site, reason, box=box), site.stored("cam-4")
    act()
    wait_for(
        lambda: refused(site, reason, box=box) == before + 1,
        f"a refusal of {box}: {reason}",
        explain=lambda: site.rows("SELECT * FROM rejects"),
    )
    assert site.stored("cam-4") == stored


@pytest.mark.parametrize("leaf", ["envelope", "epoch"])
@pytest.mark.parametrize("data", [b"", b"\x00", b"not CBOR at all", b"\x83@@@", os.urandom(5000)])
def test_garbage_is_refused(
    quiet_site: RunningSite, box: PuppetBox, leaf: str, data: bytes
) -> None:
    topic = box.address.topic(leaf)
    expect_refusal(quiet_site, "malformed", lambda: box.publish_at(topic, data))


def test_garbage_for_a_health_report_is_refused(quiet_site: RunningSite, box: PuppetBox) -> None:
    topic = box_health_topic(box.address.site, box.box)
    expect_refusal(quiet_site, "malformed", lambda: box.publish_at(topic, b"\xa1aaa"))


def test_an_oversized_envelope_is_refused_unread(quiet_site: RunningSite, box: PuppetBox) -> None:
    data = os.urandom(65_537)
    expect_refusal(quiet_site, "too-large", lambda: box.publish(data))


def test_an_envelope_that_another_box_signed_is_refused(
    quiet_site: RunningSite, box: PuppetBox
) -> None:
    forged = box.envelope(
        [seen(person(1), now_ms())], slots_ago(3), signer=quiet_site.signing("box-5"), sequence=90
    )
    expect_refusal(quiet_site, "bad-signature", lambda: box.publish(forged))


def test_an_altered_envelope_is_refused(quiet_site: RunningSite, box: PuppetBox) -> None:
    genuine = box.envelope([seen(person(1), now_ms())], slots_ago(3), sequence=91)
    for changed in (
        replace(genuine, ciphertext=genuine.ciphertext[:-1] + b"\x00"),
        replace(genuine, header_bytes=replace(genuine.header, count=2).to_bytes()),
        replace(genuine, signature=bytes(64)),
    ):
        expect_refusal(quiet_site, "bad-signature", lambda c=changed: box.publish(c))


def test_a_box_cannot_speak_for_another_boxs_camera(
    quiet_site: RunningSite, box: PuppetBox
) -> None:
    address = CameraAddress(box.address.site, "box-4", "cam-5")
    foreign = box.envelope([seen(person(1), now_ms())], slots_ago(3), address=address, sequence=0)
    topic = address.topic("envelope")
    expect_refusal(quiet_site, "foreign-camera", lambda: box.publish_at(topic, foreign.to_bytes()))


def test_a_genuine_envelope_under_another_boxs_topic_is_refused(
    quiet_site: RunningSite, box: PuppetBox
) -> None:
    genuine = box.envelope([seen(person(1), now_ms())], slots_ago(3), sequence=92)
    topic = CameraAddress(box.address.site, "box-5", "cam-5").topic("envelope")
    expect_refusal(
        quiet_site,
        "wrong-topic",
        lambda: box.publish_at(topic, genuine.to_bytes()),
        box="box-5",
    )


def test_a_box_that_nobody_knows_is_refused(quiet_site: RunningSite, box: PuppetBox) -> None:
    address = CameraAddress(box.address.site, "box-99", "cam-99")
    envelope = box.envelope(
        [seen(person(1), now_ms())],
        slots_ago(3),
        address=address,
        sequence=0,
        signer=SigningKey.generate("box-99"),
    )
    topic = address.topic("envelope")
    expect_refusal(
        quiet_site,
        "unknown-box",
        lambda: box.publish_at(topic, envelope.to_bytes()),
        box="unknown",
    )


def test_a_slot_that_had_not_begun_is_refused(quiet_site: RunningSite, box: PuppetBox) -> None:
    """Its number is accounted for all the same, so that no receipt waits for it."""
    before = refused(quiet_site, "slot-ahead")
    ahead = slots_ago(-1)
    if epoch_of(ahead) != epoch_of(now_ms()):
        box.announce(ahead)
    box.publish(box.envelope([seen(person(1), now_ms())], ahead))
    wait_for(lambda: refused(quiet_site, "slot-ahead") == before + 1, "a refusal: slot-ahead")
    assert quiet_site.numbered("cam-4")[-1].outcome == 3


def test_the_same_number_with_another_content_is_refused(
    quiet_site: RunningSite, box: PuppetBox
) -> None:
    first = box.show(slots_ago(3), person(1))
    wait_for(lambda: first.header.sequence in quiet_site.stored("cam-4"), "the first of the two")
    other = box.envelope([seen(person(2), now_ms())], slots_ago(3), sequence=first.header.sequence)
    expect_refusal(quiet_site, "equivocation", lambda: box.publish(other))


def test_replayed_envelopes_are_stored_once(quiet_site: RunningSite, box: PuppetBox) -> None:
    copies = [box.show(slots_ago(3), person(3))] * 5
    box.publish_all(copies)
    last = box.show(slots_ago(3), person(4)).header.sequence
    wait_for(lambda: last in quiet_site.stored("cam-4"), "the envelope after the replays")
    assert is_whole([item.sequence for item in quiet_site.numbered("cam-4")])
    count = "SELECT count(*) FROM envelopes e JOIN streams s ON s.id = e.stream"
    again = f"{count} WHERE s.camera = 'cam-4' AND e.sequence = ?"
    assert quiet_site.rows(again, copies[0].header.sequence) == [(1,)]


def test_an_old_generation_that_goes_on_is_refused(quiet_site: RunningSite, box: PuppetBox) -> None:
    """A thief of old traffic cannot go on where a box was before its restart."""
    old_generation = box.generation
    box.restart()
    shown = box.show(slots_ago(3), person(5)).header.sequence
    wait_for(lambda: shown in quiet_site.stored("cam-4"), "the new generation")
    late = box.envelope(
        [seen(person(6), now_ms())],
        slots_ago(3),
        sequence=shown + 40,
        generation=old_generation,
    )
    expect_refusal(quiet_site, "replay", lambda: box.publish(late))


def test_reordered_envelopes_are_all_stored_and_leave_no_gap(
    quiet_site: RunningSite, box: PuppetBox
) -> None:
    made = [box.envelope([seen(person(n), now_ms())], slots_ago(3)) for n in range(12)]
    shuffled = [made[n] for n in (3, 0, 11, 1, 2, 7, 6, 5, 4, 10, 8, 9)]
    box.publish_all(shuffled)
    wait_for(
        lambda: (
            made[-1].header.sequence in quiet_site.stored("cam-4")
            and is_whole([item.sequence for item in quiet_site.numbered("cam-4")])
        ),
        "all of the shuffled envelopes",
    )
    assert quiet_site.boxes()["box-4"]["gaps"] == []


def test_a_second_announcement_of_one_generation_is_refused(
    quiet_site: RunningSite, box: PuppetBox
) -> None:
    """Two sets of keys for one day would let a box show different custodians different keys."""
    before = refused(quiet_site, "equivocation")
    kept = dict(box._roots)
    box.publish(box.announcement(epoch_of(slots_ago(3))), EPOCH)
    wait_for(lambda: refused(quiet_site, "equivocation") == before + 1, "a refusal: equivocation")
    box._roots.update(kept)


def test_after_all_of_it_the_box_is_heard_and_its_sightings_are_found(
    quiet_site: RunningSite, desk: QueryDesk, box: PuppetBox
) -> None:
    subject = person(77)
    slot_ms = slots_ago(2)
    shown = box.show(slot_ms, person(78), subject)
    wait_for(lambda: shown.header.sequence in quiet_site.stored("cam-4"), "the honest envelope")
    templates = [template_of(*quantise_template(subject))]
    found = desk.run(desk.draft(templates, ["cam-4"], slot_ms, slot_ms + SLOT_MS))
    assert [c.address.camera for c in found] == ["cam-4"]
    told = quiet_site.rejects("box-4")
    assert {"malformed", "too-large", "bad-signature", "foreign-camera", "equivocation"} <= set(
        told
    )


def test_signed_nonsense_in_an_envelope_spoils_itself_alone(
    quiet_site: RunningSite, desk: QueryDesk
) -> None:
    """A box gone wrong signs blocks that do not open: they are counted, the others matched."""
    subject, slot_ms = person(81), slots_ago(3)
    with PuppetBox(quiet_site, "box-9") as broken:
        broken.announce(slot_ms)
        true_keys = dict(broken._roots)
        wrong = {name: [os.urandom(32) for _ in roots] for name, roots in true_keys.items()}
        broken._roots.update(wrong)
        broken.show(slot_ms, subject)
        broken._roots.update(true_keys)
        broken.show(slot_ms, subject)
    quiet_site.wait_stored("cam-9", 3)
    templates = [template_of(*quantise_template(subject))]
    case = desk.draft(templates, ["cam-9"], slot_ms, slot_ms + SLOT_MS)
    assert len(desk.run(case)) == 1
    assert desk.show(case)["progress"]["altered"] == 1
