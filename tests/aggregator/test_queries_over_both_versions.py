"""A query is carried through generations of either version, from envelopes to sealed candidates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from custodian_site import make_announcement
from row_desk import RowDesk, name_of
from throwaway_ca import ThrowawayCa

from aggregator.ingest.messages import Incoming
from protocol.about_queries import Withdrawal
from protocol.keytree import LABELS, PuncturableTree, modality_key
from protocol.names import ENVELOPE, EPOCH, CameraAddress
from protocol.query import Query
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, Header, seal_envelope
from protocol.sightings import encode_meta, encode_template_block
from protocol.v2.sightings import Sighting

OLD = CameraAddress(s.SITE, "box-2", "cam-2")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[RowDesk]:
    one = RowDesk(tmp_path, monkeypatch, ca, cameras=("cam-1", "cam-2"))
    yield one
    one.close()


def take(desk: RowDesk, address: CameraAddress, kind: str, payload: bytes) -> None:
    message = Incoming(address.topic(kind), payload, desk.time.ms)
    assert desk.intake.process([message]).stored == 1


def see_in_version_2(desk: RowDesk, *who: str, kind: str = SEGMENT) -> None:
    seen = [v2.sighting(one) for one in who]
    take(desk, s.ADDRESS, ENVELOPE, v2.envelope(kind, seen=seen).to_bytes())


def see_in_version_1(desk: RowDesk) -> None:
    """Let a box that has not been updated announce its day, and see the subject."""
    _, announced = make_announcement(
        list(desk.custodians.values()), box=OLD.box, camera=OLD.camera, generation=s.GENERATION
    )
    take(desk, OLD, EPOCH, announced)
    keys = {
        label: modality_key(
            [PuncturableTree(root, label).leaf(s.SLOT) for root in s.roots()],
            site=s.SITE, camera=OLD.camera, epoch=s.EPOCH, generation=s.GENERATION, slot=s.SLOT,
            label=label,
        )
        for label in LABELS
    }  # fmt: skip
    seen = [s.sighting("subject")]
    header = Header(
        SEGMENT, OLD, s.EPOCH, s.GENERATION, s.SLOT, 1, 1, {"face": s.MODEL}, s.NOW_MS,
        s.fixed("salt of old", 8),
    )  # fmt: skip
    sealed = seal_envelope(
        header,
        templates={"face": encode_template_block(seen, "face", s.DIMENSION)},
        meta=encode_meta(seen),
        keys=keys,
        board=s.signing_key(OLD.box),
    )
    take(desk, OLD, ENVELOPE, sealed.to_bytes())


def test_one_query_finds_the_subject_in_generations_of_either_version(desk: RowDesk) -> None:
    see_in_version_1(desk)
    see_in_version_2(desk, "somebody", "subject")
    desk.step()
    for officer in ("ana", "bea"):
        old, new = sorted(desk.candidates(officer), key=lambda one: one.address.camera)[::-1]
        assert (old.address, old.episode) == (OLD, None)
        assert (new.name, new.row) == (name_of("subject"), v2.sighting("subject").row)
        assert (new.origin, new.time_source) == ("live", "clock")
        assert (old.origin, old.time_source) == (None, None)
        assert new.score == pytest.approx(1.0, abs=0.01)
    assert desk.record.state == "standing"
    assert [set(opening.rows) for opening in desk.openings()] == [{name_of("subject")}]
    (match,), (opened,) = desk.logged("match"), desk.logged("opened-rows")
    assert (match["candidates"], match["found"]) == (1, 1)
    assert (opened["candidates"], opened["rows"]) == (1, 1)


def test_a_live_envelope_is_found_opened_and_shown_in_one_step(desk: RowDesk) -> None:
    desk.step()
    see_in_version_2(desk, "subject", kind=LIVE_ENVELOPE)
    desk.step()
    (one,) = desk.candidates()
    assert one.row == v2.sighting("subject").row


def test_rows_of_the_same_episode_open_with_the_hit(desk: RowDesk) -> None:
    hit = v2.sighting("subject")
    turned_away = Sighting(b"no face!", hit.episode, v2.sighting("other", face=False).row)
    envelope = v2.envelope(seen=[hit, turned_away, v2.sighting("somebody")])
    take(desk, s.ADDRESS, ENVELOPE, envelope.to_bytes())
    desk.step()
    by_id = {one.sighting_id: one for one in desk.candidates()}
    assert set(by_id) == {hit.sighting_id, turned_away.sighting_id}
    assert (by_id[b"no face!"].score, by_id[b"no face!"].through) == (None, hit.sighting_id)


def test_hits_wait_in_words_until_a_custodian_is_back(desk: RowDesk) -> None:
    desk.step()
    desk.down = {"c1", "c3"}
    see_in_version_2(desk, "subject")
    desk.step()
    assert desk.record.state == "standing"
    assert desk.record.reason.startswith("1 hit waits for custodian c1, c3")
    desk.down = {"c3"}
    desk.step()
    assert desk.candidates() == [], "not before it is time to ask again"
    desk.later()
    desk.step()
    assert len(desk.candidates()) == 1
    assert desk.record.reason == "live"


def test_a_query_does_not_end_while_hits_wait(desk: RowDesk) -> None:
    desk.step()
    desk.down = {"c1", "c3"}
    see_in_version_2(desk, "subject")
    desk.step()
    desk.time.ms = Query.parse(desk.case.query.payload).window_to_ms + 120_000
    desk.later()
    desk.step()
    assert desk.record.state == "blocked", "the last quarter hours are not granted either"
    desk.down = set()
    desk.later()
    desk.step()
    assert desk.record.state == "complete"
    assert len(desk.candidates()) == 1


def test_a_withdrawal_ends_the_wait_and_wipes_what_was_found(desk: RowDesk) -> None:
    desk.step()
    desk.down = {"c1", "c3"}
    see_in_version_2(desk, "subject")
    desk.step()
    withdrawal = Withdrawal(desk.record.digest, "recovered", desk.time.ms)
    desk.desk.withdraw(desk.record.query_id, withdrawal.sign(s.signing_key("ana")).to_bytes())
    desk.down = set()
    desk.later()
    desk.step()
    assert desk.record.state == "withdrawn"
    assert desk.candidates() == []


def test_a_grant_of_both_versions_opens_metadata_by_the_slot_in_the_first_alone(
    desk: RowDesk,
) -> None:
    see_in_version_1(desk)
    see_in_version_2(desk, "subject")
    desk.step()
    labels = {tuple(sorted(body["labels"])) for body in desk.logged("grant-received")}  # type: ignore[call-overload]
    assert labels == {("cover", "face", "live", "meta")}
    assert not any(row.camera == OLD.camera for asked in desk.asked["c1"] for row in asked.rows)
    assert {one.address.camera for one in desk.candidates()} == {"cam-1", "cam-2"}
