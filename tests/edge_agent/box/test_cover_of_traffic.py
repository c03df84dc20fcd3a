"""Live envelopes leave a box while somebody may look, and else tell nobody that somebody passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import protocol_samples as s
import pytest
import query_samples_v2 as v2
from authenticator import PASSKEY, assertion
from edge_site import Box, make_sighting, wait_until

from edge_agent.config import SealingConfig
from edge_agent.cover import AS_THEY_COME, HELD_BACK, Cadence, Cover
from edge_agent.notices import Notices
from edge_agent.seal import CameraSealer
from protocol.about_queries import APPROVAL_KIND, Withdrawal
from protocol.directory import Directory
from protocol.directory_forms import sign_forms
from protocol.encoding import decode, encode
from protocol.errors import MalformedMessage, PolicyMismatch, SignatureInvalid, UnsupportedVersion
from protocol.names import SLOT_MS
from protocol.policy import parse_policy, sign_policy
from protocol.signing import Signed, SigningKey, to_be_signed
from protocol.v2.envelopes import Envelope
from protocol.v2.notices import NOTICE_KIND, Notice, NoticedQuery
from runtime.trust import Trust

WINDOW_FROM, WINDOW_TO = s.query().window_from_ms, s.query().window_to_ms
NewBox = Callable[..., Box]


def policy(cover: str, *, version: int = 1) -> bytes:
    text = v2.POLICY_TEXT.replace(b"version = 1\n", f"version = {version}\n".encode())
    interval = "\ncover_interval_s = 30" if cover == "steady" else ""
    return f'cover = "{cover}"{interval}\n'.encode() + text


def asked(text: bytes, *approvers: str, **changes: Unpack[s.QueryChanges]) -> NoticedQuery:
    """A live query under a policy, approved by some."""
    digest = parse_policy(text).digest
    changes["policy_digest"] = digest
    signed = v2.query(**changes).sign(s.signing_key("ana"))
    approvals = [s.approval(signed, one, policy_digest=digest) for one in approvers]
    return NoticedQuery(signed.to_bytes(), tuple(one.to_bytes() for one in approvals), ())


def notice(
    text: bytes, *queries: NoticedQuery, number: int = 5, by: SigningKey | None = None
) -> bytes:
    made = Notice(s.SITE, number, s.NOW_MS, text, sign_policy(text, s.authority()), queries)
    return made.sign(by or s.signing_key("aggregator")).to_bytes()


class Cameras:
    """What a box with that state folder would do."""

    def __init__(self, folder: Path, form: int = 2, directory: Directory | None = None) -> None:
        installed = folder / "installed.cbor"
        installed.write_bytes(sign_forms(directory or s.directory(), s.authority())[form])
        self.trust = Trust(
            site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=folder
        )
        self.clock_ms = s.NOW_MS
        self.notices = Notices(
            self.trust, file=folder / "notice.cbor", now_ms=lambda: self.clock_ms
        )
        self.cover = Cover(self.trust, self.notices.standing)

    def does(self, camera: str = "cam-1", now_ms: int = s.NOW_MS) -> Cadence:
        return self.cover.of(camera)(now_ms)


@pytest.fixture
def cameras(tmp_path: Path) -> Cameras:
    return Cameras(tmp_path)


def test_people_are_counted_once_a_notice_brings_a_policy_that_permits_it(
    cameras: Cameras,
) -> None:
    assert not cameras.notices.permits_counts(), "without a notice"
    cameras.notices.accept(notice(s.POLICY_TEXT))
    assert not cameras.notices.permits_counts(), "by a policy of the first schema"
    permitting = policy("off", version=2)
    cameras.notices.accept(notice(permitting, number=6))
    assert cameras.notices.permits_counts()
    silent = permitting.replace(b"same_place_counts = true\n", b"").replace(
        b"version = 2\n", b"version = 3\n"
    )
    cameras.notices.accept(notice(silent, number=7))
    assert not cameras.notices.permits_counts(), "what is not stated is forbidden"


def test_without_a_notice_nothing_leaves_before_the_slot_ends(cameras: Cameras) -> None:
    assert cameras.does() == HELD_BACK


def test_a_site_whose_directory_is_of_the_first_form_goes_on_as_ever(tmp_path: Path) -> None:
    assert Cameras(tmp_path, form=1).does() == AS_THEY_COME


def test_a_policy_without_cover_lets_live_envelopes_go_as_sightings_come(cameras: Cameras) -> None:
    cameras.notices.accept(notice(policy("off")))
    assert cameras.does() == AS_THEY_COME


def test_in_slots_only_the_cameras_and_hours_of_a_live_query_in_force_tell(
    cameras: Cameras,
) -> None:
    text = policy("slots")
    assert cameras.notices.accept(notice(text, asked(text, "bo", "cy")))
    assert cameras.does() == AS_THEY_COME
    assert cameras.does("cam-2") == HELD_BACK
    assert cameras.does(now_ms=WINDOW_FROM - 1) == HELD_BACK
    assert cameras.does(now_ms=WINDOW_FROM) == AS_THEY_COME
    assert cameras.does(now_ms=WINDOW_TO - 1) == AS_THEY_COME
    assert cameras.does(now_ms=WINDOW_TO) == HELD_BACK


def test_a_query_that_has_expired_tells_no_more_within_the_quarter_hour(cameras: Cameras) -> None:
    text = policy("slots")
    ends_ms = s.NOW_MS + 60_000
    cameras.notices.accept(notice(text, asked(text, "bo", "cy", not_after_ms=ends_ms)))
    assert cameras.does(now_ms=ends_ms - 1) == AS_THEY_COME
    assert cameras.does(now_ms=ends_ms) == HELD_BACK


def test_a_query_that_a_clock_refused_is_judged_again_as_soon_as_it_has_been_set(
    cameras: Cameras,
) -> None:
    text = policy("slots")
    cameras.clock_ms -= 40 * 60_000
    cameras.notices.accept(notice(text, asked(text, "bo", "cy")))
    assert cameras.does() == HELD_BACK
    cameras.clock_ms += 40 * 60_000
    assert cameras.does() == AS_THEY_COME


def test_the_aggregators_word_that_a_query_is_approved_moves_no_box(cameras: Cameras) -> None:
    text = policy("slots")
    cameras.notices.accept(notice(text, asked(text, "bo")))
    assert cameras.does() == HELD_BACK


def test_an_approval_whose_passkey_says_no_text_at_all_stops_no_camera(tmp_path: Path) -> None:
    text = policy("slots")
    listed = s.directory()
    bo = replace(listed.principals["bo"], passkeys=(PASSKEY,))
    cameras = Cameras(
        tmp_path, directory=replace(listed, principals={**listed.principals, "bo": bo})
    )
    query = asked(text, "bo", "cy")
    by_key_file = Signed.parse(query.approvals[0], kind=APPROVAL_KIND)
    said = b'{"type":"webauthn.get","challenge":"\\ud800"}'
    forged = replace(by_key_file, signature=assertion(b"", said=said)).to_bytes()
    cameras.notices.accept(notice(text, replace(query, approvals=(forged, query.approvals[1]))))
    assert cameras.does() == HELD_BACK
    cameras.notices.accept(notice(text, query, number=6))
    assert cameras.does() == AS_THEY_COME


def test_a_withdrawal_or_a_notice_without_the_query_ends_it(cameras: Cameras) -> None:
    text = policy("slots")
    query = asked(text, "bo", "cy")
    cameras.notices.accept(notice(text, query))
    digest = Signed.parse(query.query, kind="query").digest
    gone = Withdrawal(digest, "found", s.NOW_MS).sign(s.signing_key("bo")).to_bytes()
    cameras.notices.accept(notice(text, replace(query, withdrawals=(gone,)), number=6))
    assert cameras.does() == HELD_BACK
    cameras.notices.accept(notice(text, query, number=7))
    assert cameras.does() == AS_THEY_COME
    cameras.notices.accept(notice(text, number=8))
    assert cameras.does() == HELD_BACK


def test_a_revoked_approver_ends_it_as_soon_as_the_directory_is_here(cameras: Cameras) -> None:
    text = policy("slots")
    cameras.notices.accept(notice(text, asked(text, "bo", "cy")))
    assert cameras.does() == AS_THEY_COME
    revoked = s.directory().revoke("bo", at_ms=s.NOW_MS)
    cameras.trust.accept(sign_forms(revoked, s.authority())[2])
    assert cameras.does() == HELD_BACK


def test_a_steady_camera_tells_the_same_whoever_asks(cameras: Cameras) -> None:
    text = policy("steady")
    cameras.notices.accept(notice(text))
    idle = cameras.does()
    assert idle == Cadence(True, 30)
    cameras.notices.accept(notice(text, asked(text, "bo", "cy"), number=6))
    assert cameras.does() == idle


@pytest.mark.parametrize("number", [4, 5])
def test_a_box_never_goes_back_to_an_older_notice_not_even_after_a_restart(
    tmp_path: Path, number: int
) -> None:
    text = policy("slots")
    Cameras(tmp_path).notices.accept(notice(text))
    again = Cameras(tmp_path)
    assert again.notices.number == 5
    with pytest.raises(MalformedMessage, match="no newer"):
        again.notices.accept(notice(text, asked(text, "bo", "cy"), number=number))
    assert again.does() == HELD_BACK
    assert not again.notices.accept(notice(text)), "the same again, as after each connection"


def test_the_number_that_a_thief_of_the_aggregators_key_took_does_not_bind_the_next_key(
    cameras: Cameras,
) -> None:
    cameras.notices.accept(notice(policy("off", version=2), number=2**62))
    stolen, following = s.signing_key("aggregator"), SigningKey("aggregator", s.fixed("next", 32))
    listed = s.directory()
    rekeyed = replace(listed.principals["aggregator"], verify_key=following.verify_key)
    principals = {**listed.principals, "aggregator": rekeyed}
    newer = replace(listed, version=listed.version + 1, principals=principals)
    cameras.trust.accept(sign_forms(newer, s.authority())[2])
    with pytest.raises(SignatureInvalid):
        cameras.notices.accept(notice(policy("off", version=2), number=2**62 + 1, by=stolen))
    with pytest.raises(PolicyMismatch):
        cameras.notices.accept(notice(policy("off", version=1), number=6, by=following))
    assert cameras.notices.accept(notice(policy("slots", version=3), number=6, by=following))
    assert cameras.does() == HELD_BACK


def test_an_older_policy_takes_the_cover_from_nobody(tmp_path: Path) -> None:
    Cameras(tmp_path).notices.accept(notice(policy("slots", version=3)))
    again = Cameras(tmp_path)
    with pytest.raises(PolicyMismatch, match="version 2 of the policy"):
        again.notices.accept(notice(policy("off", version=2), number=9))
    assert again.does() == HELD_BACK


@pytest.mark.parametrize("signer", ["box-1", "c1", "ana", "mallory"])
def test_a_notice_by_anybody_but_the_aggregator_is_refused(cameras: Cameras, signer: str) -> None:
    with pytest.raises(SignatureInvalid):
        cameras.notices.accept(notice(policy("off"), by=s.signing_key(signer)))
    assert cameras.does() == HELD_BACK


def test_a_policy_that_the_authority_did_not_sign_is_refused(cameras: Cameras) -> None:
    text, other = policy("off"), sign_policy(policy("slots"), s.authority())
    forged = Notice(s.SITE, 5, s.NOW_MS, text, other, ()).sign(s.signing_key("aggregator"))
    with pytest.raises(SignatureInvalid):
        cameras.notices.accept(forged.to_bytes())
    assert cameras.does() == HELD_BACK


def test_a_notice_of_a_version_to_come_says_what_it_needs(cameras: Cameras) -> None:
    key = s.signing_key("aggregator")
    signed = Signed.parse(notice(policy("off")), kind=NOTICE_KIND)
    payload = encode({**decode(signed.payload, what="notice"), "v": 3})
    signature = key.sign_bytes(to_be_signed(NOTICE_KIND, "aggregator", payload))
    with pytest.raises(UnsupportedVersion, match="needs its update"):
        cameras.notices.accept(Signed(NOTICE_KIND, "aggregator", payload, signature).to_bytes())


def test_a_damaged_file_of_a_notice_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "notice.cbor").write_bytes(b"\x00 spoilt")
    assert Cameras(tmp_path).does() == HELD_BACK


def test_one_is_due_when_the_interval_is_over_whether_or_not_anybody_passed() -> None:
    steady = Cadence(True, 30)

    def due(waiting: int, since_s: float) -> bool:
        return steady.due(
            waiting=waiting, batch=64, waited_s=1e9, live_after_s=2.0, since_s=since_s
        )

    assert [due(0, 30.0), due(5, 30.0), due(5, 29.0), due(500, 29.0)] == [True, True, False, False]


def test_what_waits_is_sealed_live_at_once_when_a_query_comes_into_force(box: Box) -> None:
    cadence = HELD_BACK
    sealer = covered(box, lambda _now_ms: cadence)
    box.see(1, 2)
    box.clock.pass_s(60)
    sealer.tick(box.clock.now_ms)
    assert box.opened() == [], "nobody asks"
    cadence = AS_THEY_COME
    box.live_now()
    assert [(one.kind, one.ids) for one in box.opened()] == [("live", [1, 2])]


def test_what_nobody_asked_for_leaves_with_the_segment_alone(box: Box) -> None:
    covered(box, lambda _now_ms: HELD_BACK)
    box.see(*range(100))
    box.to_next_slot()
    assert [(one.kind, len(one.ids)) for one in box.opened()] == [("segment", 100)]


def covered(box: Box, policy: Callable[[int], Cadence]) -> CameraSealer:
    made = box.sealer
    box.sealer = CameraSealer(
        made._epochs,
        outbox=box.outbox,
        board=box.site.board,
        config=box.sealing,
        live_due=policy,
        wall_ms=box.clock,
        boot_ms=lambda: box.clock.boot_ms,
    )
    return box.sealer


@pytest.mark.slow
def test_under_steady_cover_envelopes_leave_at_their_pace_and_look_alike(box: Box) -> None:
    """With nobody in it, with some, with more than fit: one each time, of one size."""
    covered(box, lambda _now_ms: Cadence(True, 1))
    taken: list[bytes] = []  # the announcement, then live envelopes

    def leave(count: int) -> None:
        def left() -> bool:
            box.sealer.tick(box.clock.now_ms)
            taken.extend(box.payloads())
            return len(taken) > count

        wait_until(left, f"{count} live envelopes")

    leave(1)
    begin_s = time.monotonic()
    leave(2)
    assert time.monotonic() - begin_s > 0.9, "and not sooner"
    box.see(*range(7))
    leave(5)
    opened = box.site.open(taken)
    assert [(one.kind, one.ids) for one in opened] == [
        ("live", ids) for ids in ([], [], [0, 1, 2, 3], [4, 5, 6], [])
    ]
    assert len({one.size for one in opened}) == 1


@pytest.mark.parametrize(("cadence", "segments"), [(AS_THEY_COME, 1), (Cadence(True, 900), 0)])
def test_under_steady_cover_no_segment_leaves_sooner_because_somebody_came(
    new_box: NewBox, cadence: Cadence, segments: int
) -> None:
    box = new_box(sealing=SealingConfig(batch=1, grace_s=5, day_keys_wait_s=0))
    covered(box, lambda _now_ms: cadence)
    box.watch(60)
    now_ms = box.clock.now_ms
    box.clock.pass_s((SLOT_MS - now_ms % SLOT_MS + 5_500) / 1000)  # within the spread
    box.sealer.tick(box.clock.now_ms)
    box.see(1, ago_s=0.1)
    assert box.spread_s > 1
    assert [one.kind for one in box.opened()].count("segment") == segments


@pytest.mark.slow
@pytest.mark.parametrize(("every_s", "begin_s"), [(30, 0), (30, 13), (7, 3), (1, 2)])
def test_under_a_steady_cover_the_traffic_is_the_same_whether_or_not_people_come(
    new_box: NewBox, monkeypatch: pytest.MonkeyPatch, every_s: int, begin_s: int
) -> None:
    """Around the end of a quarter hour, second by second: kind, slot and size."""
    seen = []
    for people in ((), range(0, 200, 19), (30, 36, 38, 41, 43, 50, 80), (38, 39, 40, 41)):
        box = new_box(sealing=SealingConfig(live_after_s=2, grace_s=5, day_keys_wait_s=0))
        monkeypatch.setattr("time.monotonic", lambda box=box: box.clock.boot_ms / 1000)
        sealer = covered(box, lambda _now_ms: Cadence(True, every_s))
        box.clock.pass_s(800 + begin_s)
        traffic = []
        for second in range(200):
            box.watch(1)
            if second in people:
                one = make_sighting(box.clock.now_ms - 500, seed=second, encounters=0)
                sealer.add([one], box.clock.now_ms)
            for message in box.outbox.take(100):
                if message.kind != "epoch":
                    made = Envelope.parse(message.payload)
                    size = sum(len(block) for block in made.blocks)
                    told = size if message.kind == "live" else "a class by the number of people"
                    traffic.append((second, message.kind, made.header.name.slot, told))
        seen.append(traffic)
    nobody, *others = seen
    assert {kind for _, kind, _, _ in nobody} == {"live", "segment"}
    for somebody in others:
        assert nobody == somebody
