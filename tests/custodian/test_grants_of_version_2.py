"""Grants of version 2 open templates and coverage, never metadata; mixed sites are served."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from custodian_site import Asked, Make, approved, make_announcement, opened_log, read_grant

from custodian.custodian import Custodian
from protocol.directory import Directory
from protocol.epoch import RECORDING, Announcement
from protocol.errors import ApprovalsMissing, ScopeExceeded, UnknownSigner, UnsupportedVersion
from protocol.grant import Grant, GrantedKeys, release, seal_grant
from protocol.keytree import EVIDENCE, META
from protocol.query import Asked as Options
from protocol.reconcile import check_released, reconcile
from protocol.signing import Signed

FIRST, SECOND = ("face", "meta", "live"), ("face", "cover", "live")


def granted(custodian: Custodian, asked: Asked) -> tuple[Grant, list[GrantedKeys]]:
    grant = read_grant(custodian.granter.grant(asked.to_bytes()), custodian.config.name)
    return grant, grant.open(asked.matcher)


def box(**changes: object) -> Directory:
    """The site's directory with the first box as told."""
    directory = s.directory()
    listed = replace(directory.principals["box-1"], **changes)  # type: ignore[arg-type]
    return replace(directory, form=2, principals={**directory.principals, "box-1": listed})


def test_a_generation_of_version_2_opens_no_metadata_by_slot(make: Make) -> None:
    c1, c2 = make("c1"), make("c2")
    announcement, message = make_announcement([c1, c2], version=2)
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    released = {}
    for custodian in (c1, c2):
        grant, (keys,) = granted(custodian, asked)
        assert set(grant.labels) == set(keys.nodes) == set(SECOND)
        check_released(announcement, custodian.config.name, keys)
        released[custodian.config.name] = keys
    opened = reconcile(announcement, released)
    assert opened.key(40, "cover")
    for label in (META, EVIDENCE):
        with pytest.raises(ScopeExceeded):
            opened.key(40, label)


def test_one_request_mixes_versions_and_each_scope_gets_the_labels_of_its_own(make: Make) -> None:
    c1 = make("c1")
    _, old = make_announcement([c1])
    _, new = make_announcement([c1], generation=2, version=2)
    grant, keys = granted(c1, Asked(approved(s.NOW_MS), [old, new], s.NOW_MS))
    assert [set(one.nodes) for one in keys] == [set(FIRST), set(SECOND)]
    assert set(grant.labels) == {*FIRST, *SECOND}
    body = opened_log(c1)[grant.entry_index][1]
    assert body["labels"] == list(grant.labels)
    assert body["versions"] == [1, 2]


def test_same_place_counts_open_for_queries_that_ask_for_them_alone(make: Make) -> None:
    c1 = make("c1", policy=q2.POLICY_TEXT)
    _, message = make_announcement([c1], version=2)
    for counts in (False, True):
        signed = q2.query(asks=Options(same_place_counts=counts)).sign(s.signing_key("ana"))
        case = signed_by(signed, "bo", "cy", "di")
        _, (keys,) = granted(c1, Asked(case, [message], s.NOW_MS))
        assert ("counts" in keys.nodes) is counts


def signed_by(signed: Signed, *approvers: str) -> s.Case:
    digest = q2.POLICY.digest
    return s.Case(signed, [s.approval(signed, name, policy_digest=digest) for name in approvers])


@pytest.mark.parametrize(
    "asks", [Options(linked_contacts=True), Options(same_place_counts=True, afterwards_min=180)]
)
def test_a_query_that_links_or_counts_opens_nothing_without_one_approval_more(
    make: Make, asks: Options
) -> None:
    c1 = make("c1", policy=q2.POLICY_TEXT)
    _, message = make_announcement([c1], version=2)
    signed = q2.query(contacts=True, asks=asks).sign(s.signing_key("ana"))
    with pytest.raises(ApprovalsMissing, match="2 of 3"):
        c1.granter.grant(Asked(signed_by(signed, "bo", "cy"), [message], s.NOW_MS).to_bytes())
    case = signed_by(signed, "bo", "cy", "di")
    _, (keys,) = granted(c1, Asked(case, [message], s.NOW_MS))
    assert {"face", "cover"} <= set(keys.nodes)
    assert "meta" not in keys.nodes


@pytest.mark.parametrize(("late_ms", "opens"), [(0, True), (1, False)])
def test_a_box_that_changed_to_version_2_announces_nothing_in_version_1(
    make: Make, late_ms: int, opens: bool
) -> None:
    c1 = make("c1", directory=box(version_1_until_ms=s.NOW_MS - late_ms))
    _, old = make_announcement([c1])
    _, new = make_announcement([c1], generation=2, version=2)
    grant, _ = granted(c1, Asked(approved(s.NOW_MS), [old, new], s.NOW_MS))
    assert [scope.generation for scope in grant.scopes] == ([1, 2] if opens else [2])
    if not opens:
        assert grant.refused[0][2].startswith("unsupported-version")
        with pytest.raises(UnsupportedVersion, match="version 1"):
            c1.granter.grant(Asked(approved(s.NOW_MS), [old], s.NOW_MS).to_bytes())


def test_recordings_count_of_cameras_whose_recordings_the_box_may_import_alone(make: Make) -> None:
    c1 = make("c1", directory=box(cameras=("cam-1",), recordings=("cam-3",)))
    films = [
        make_announcement([c1], camera=camera, version=2, origin=origin)[1]
        for camera, origin in (("cam-3", RECORDING), ("cam-1", RECORDING), ("cam-3", "live"))
    ]
    case = approved(s.NOW_MS, cameras=("cam-1", "cam-3"))
    grant, _ = granted(c1, Asked(case, films[:2], s.NOW_MS))
    assert [scope.address.camera for scope in grant.scopes] == ["cam-3"]
    for message in films[1:]:
        with pytest.raises(UnknownSigner, match=r"cam-[13]"):
            c1.granter.grant(Asked(case, [message], s.NOW_MS).to_bytes())


def test_two_boxes_may_announce_one_camera_under_one_generation(make: Make) -> None:
    directory = s.directory()
    other = replace(directory.principals["box-2"], cameras=(), recordings=("cam-1",))
    c1 = make(
        "c1",
        directory=replace(directory, form=2, principals={**directory.principals, "box-2": other}),
    )
    sent = [
        make_announcement([c1], version=2)[1],
        make_announcement([c1], box="box-2", version=2, origin=RECORDING)[1],
    ]
    grant, _ = granted(c1, Asked(approved(s.NOW_MS), sent, s.NOW_MS))
    assert [scope.address.box for scope in grant.scopes] == ["box-1", "box-2"]


@pytest.mark.parametrize("label", [META, EVIDENCE])
def test_whoever_is_handed_metadata_of_version_2_by_slot_refuses_it(make: Make, label: str) -> None:
    c1 = make("c1")
    announcement: Announcement
    announcement, message = make_announcement([c1], version=2)
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    grant, (keys,) = granted(c1, asked)
    more = release(dict(enumerate([bytes(32)] * 3)), keys.scope, (label,))
    greedy = GrantedKeys(keys.scope, {**keys.nodes, **more.nodes})
    with pytest.raises(ScopeExceeded, match=label):
        check_released(announcement, "c1", greedy)
    sealed = seal_grant(
        [greedy],
        asked.matcher.public,
        grant_id=grant.grant_id,
        query_digest=grant.query_digest,
    )
    with pytest.raises(ScopeExceeded, match="other labels"):
        replace(grant, sealed=sealed).open(asked.matcher)
