"""A grant opens the slots that its query covers, with enough custodians, and nothing beside."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from custodian_site import (
    HOUR_MS,
    Asked,
    Make,
    Time,
    approved,
    make_announcement,
    opened_log,
    read_grant,
)
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custodian.custodian import Custodian
from protocol.epoch import Announcement, excluded_subsets
from protocol.epoch_keys import combine
from protocol.errors import (
    AuthenticationFailed,
    ProtocolError,
    ScopeExceeded,
    SharesMissing,
)
from protocol.grant import GrantedKeys
from protocol.keytree import LABELS, PuncturableTree, modality_key
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH, slot_start_ms
from protocol.signing import SigningKey

Pair = tuple[list[Custodian], Announcement, bytes]


def true_key(announcement: Announcement, slot: int, label: str) -> bytes:
    """The key that the board would seal under, from all roots."""
    return modality_key(
        [PuncturableTree(root, label).leaf(slot) for root in s.roots()],
        site=s.SITE,
        camera=announcement.address.camera,
        epoch=announcement.epoch,
        generation=announcement.generation,
        slot=slot,
        label=label,
    ).key


def keys_of(custodian: Custodian, asked: Asked) -> list[GrantedKeys]:
    grant = read_grant(custodian.granter.grant(asked.to_bytes()), custodian.config.name)
    return grant.open(asked.matcher)


def test_two_custodians_open_the_window_and_one_does_not(make: Make) -> None:
    c1, c2, c3 = make("c1"), make("c2"), make("c3")
    announcement, message = make_announcement([c1, c2, c3])
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    granted = [keys_of(custodian, asked)[0] for custodian in (c1, c3)]
    keys = combine(announcement, granted)
    assert list(keys.slots()) == [38, 39, 40, 41]
    for slot in keys.slots():
        for label in ("face", "meta", "live"):
            assert keys.key(slot, label).key == true_key(announcement, slot, label)
    for slot, label in ((37, "face"), (42, "face"), (40, "appearance"), (40, "evidence")):
        with pytest.raises(ScopeExceeded):
            keys.key(slot, label)
    for alone in granted:
        with pytest.raises(SharesMissing):
            combine(announcement, [alone])


def test_a_custodian_alone_never_holds_a_root_excluded_from_it(make: Make) -> None:
    c2 = make("c2")
    _, message = make_announcement([c2, make("c1")])
    (keys,) = keys_of(c2, Asked(approved(s.NOW_MS), [message], s.NOW_MS))
    excluded = [n for n, out in enumerate(excluded_subsets(s.CUSTODIANS, 2)) if "c2" in out]
    assert excluded
    assert all(set(by_root).isdisjoint(excluded) for by_root in keys.nodes.values())


@given(
    first=st.integers(0, 41),
    length=st.integers(1, 60),
    live=st.booleans(),
    modalities=st.sampled_from([("face",), ("appearance",), ("appearance", "face")]),
)
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_slot_outside_of_the_window_can_be_derived(
    pair: Pair, first: int, length: int, live: bool, modalities: tuple[str, ...]
) -> None:
    custodians, announcement, message = pair
    to_slot = first + length
    template = s.query().subjects[0].templates[0]
    subject = replace(
        s.query().subjects[0],
        templates=tuple(replace(template, modality=modality) for modality in modalities),
    )
    case = approved(
        s.NOW_MS,
        window_from_ms=slot_start_ms(s.EPOCH, first),
        window_to_ms=slot_start_ms(s.EPOCH, to_slot),
        live=live,
        modalities=modalities,
        subjects=(subject,),
    )
    now_slot = s.SLOT
    expected = set(range(first, min(to_slot, now_slot + 1 if live else now_slot)))
    asked = Asked(case, [message], s.NOW_MS)
    if not expected:
        with pytest.raises(ScopeExceeded):
            custodians[0].granter.grant(asked.to_bytes())
        return
    keys = combine(announcement, [keys_of(custodian, asked)[0] for custodian in custodians])
    assert set(keys.slots()) == expected
    labels = {*modalities, "meta", "live"}
    for slot in range(SLOTS_PER_EPOCH):
        for label in LABELS:
            if slot in expected and label in labels:
                assert keys.key(slot, label).key == true_key(announcement, slot, label)
            else:
                with pytest.raises(ScopeExceeded):
                    keys.key(slot, label)


@pytest.fixture
def pair(make: Make) -> Pair:
    custodians = [make("c1"), make("c2")]
    announcement, message = make_announcement(custodians)
    return custodians, announcement, message


def test_a_live_query_is_granted_slot_by_slot(make: Make, time: Time) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    case = approved(s.NOW_MS)  # its window ends with slot 43
    last = []
    for step in range(5):
        time.ms = s.NOW_MS + step * SLOT_MS
        last.append(keys_of(c1, Asked(case, [message], time.ms))[0].scope.last_slot)
    assert last == [41, 42, 43, 43, 43]


def test_a_query_that_is_not_live_gets_no_running_slot(make: Make) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    (keys,) = keys_of(c1, Asked(approved(s.NOW_MS, live=False), [message], s.NOW_MS))
    assert keys.scope.last_slot == 40


def test_a_grant_opens_for_its_matcher_and_its_query_alone(make: Make) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    grant = read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    other = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    with pytest.raises(AuthenticationFailed):
        grant.open(other.matcher)
    with pytest.raises(AuthenticationFailed):
        replace(grant, query_digest=bytes(32)).open(asked.matcher)
    with pytest.raises(ProtocolError):
        replace(grant, scopes=(replace(grant.scopes[0], last_slot=43),)).open(asked.matcher)


def test_the_log_entry_stands_where_the_grant_says_and_carries_the_evidence(make: Make) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    grant = read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    kind, body = opened_log(c1)[grant.entry_index]
    assert kind == "grant"
    assert body["grant_id"] == grant.grant_id
    assert body["query"] == asked.case.query.to_bytes()
    assert body["approvals"] == [approval.to_bytes() for approval in asked.case.approvals]
    assert body["scopes"] == [scope.to_value() for scope in grant.scopes]
    assert body["labels"] == ["face", "meta", "live"]


def test_what_cannot_be_opened_is_listed_and_the_rest_is_granted(make: Make, time: Time) -> None:
    c1, c2 = make("c1"), make("c2")
    day = s.EPOCH
    _, good = make_announcement([c1, c2])
    _, generation = make_announcement([c1], generation=2)
    _, stranger = make_announcement([c1], camera="cam-2", box="box-2")
    _, without_us = make_announcement([c2], generation=3)
    _, tomorrow = make_announcement([c1], epoch=day + 1)
    _, not_its_camera = make_announcement([c1], box="box-2", generation=4)
    _, forged = make_announcement([c1], generation=5, signer=s.signing_key("box-2"))
    _, other_key = make_announcement(
        [c1], generation=6, signer=replace_signer("box-1", s.signing_key("box-2").seed)
    )
    sent = [good, generation, good, stranger, without_us, tomorrow, not_its_camera, forged]
    asked = Asked(approved(s.NOW_MS), [*sent, other_key], s.NOW_MS)
    grant = read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    assert [scope.generation for scope in grant.scopes] == [1, 2]
    reasons = [reason.partition(":")[0] for _, _, reason in grant.refused]
    assert sorted(reasons) == sorted(
        [
            "scope-exceeded",  # the same announcement twice
            "scope-exceeded",  # a camera that is not in the query
            "share-invalid",  # no share for this custodian
            "scope-exceeded",  # a day that the window does not touch
            "unknown-signer",  # a box that does not speak for the camera
            "unknown-signer",
            "signature-invalid",  # the right name with another key
        ]
    )
    assert opened_log(c1)[-1][1]["refused"] == [list(item) for item in grant.refused]


def replace_signer(name: str, seed: bytes) -> SigningKey:
    return SigningKey(name, seed)


def test_a_share_altered_by_the_board_is_refused(make: Make) -> None:
    c1 = make("c1")
    announcement, _ = make_announcement([c1])
    lying = replace(announcement, commitments=(bytes(32), *announcement.commitments[1:]))
    messages = [
        lying.sign(s.signing_key("box-1")).to_bytes(),
        make_announcement([c1], generation=2)[1],
    ]
    grant = read_grant(
        c1.granter.grant(Asked(approved(s.NOW_MS), messages, s.NOW_MS).to_bytes()), "c1"
    )
    # c1 holds the roots that exclude c2 or c3: commitment 0 belongs to the one that excludes c1.
    assert len(grant.scopes) == 2
    lying = replace(announcement, commitments=(*announcement.commitments[:2], bytes(32)))
    messages[0] = lying.sign(s.signing_key("box-1")).to_bytes()
    grant = read_grant(
        c1.granter.grant(Asked(approved(s.NOW_MS), messages, s.NOW_MS).to_bytes()), "c1"
    )
    assert [scope.generation for scope in grant.scopes] == [2]
    assert grant.refused[0][2].startswith("share-invalid")


def test_retention_ends_what_a_window_may_reach(make: Make, time: Time) -> None:
    c1 = make("c1")
    old_day = s.EPOCH
    _, message = make_announcement([c1])
    window: s.QueryChanges = {
        "window_from_ms": slot_start_ms(old_day, 38),
        "window_to_ms": slot_start_ms(old_day, 40),
        "live": False,
    }
    for days, opens in ((14, True), (15, False)):
        time.ms = s.NOW_MS + days * 24 * HOUR_MS
        asked = Asked(approved(time.ms, **window), [message], time.ms)
        if opens:
            assert keys_of(c1, asked)
        else:
            with pytest.raises(ProtocolError, match="retention"):
                c1.granter.grant(asked.to_bytes())
