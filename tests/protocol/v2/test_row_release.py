"""Metadata opens row by row by the hands of m custodians, and a receipt says how many."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest

from protocol.encoding import decode, encode
from protocol.epoch_keys import combine
from protocol.errors import (
    AuthenticationFailed,
    KeyCommitmentMismatch,
    MalformedMessage,
    ScopeExceeded,
    ShareInvalid,
    SharesMissing,
    UnsupportedVersion,
)
from protocol.grant import Scope, release
from protocol.keytree import COVER, EVIDENCE, FACE, LIVE, META
from protocol.names import SightingName
from protocol.v2 import release as rows_release
from protocol.v2.envelopes import Envelope
from protocol.v2.release import (
    RowRelease,
    RowRequest,
    Values,
    digest_of,
    open_row_key,
    release_rows,
    seal_rows,
)

MATCHER = s.sealing_key("matcher")
DIGEST = s.fixed("query digest", 32)
Released = Values


def row(name: str = "one") -> SightingName:
    return SightingName.of(v2.NAME, s.fixed(f"id {name}", 8))


def released_by(custodian: str, rows: list[SightingName]) -> Released:
    announced = v2.announcement()
    roots = announced.open_share(custodian, s.day_key(custodian))
    return release_rows(roots, announced, rows)


def answer(custodian: str, named: list[SightingName], **change: object) -> RowRelease:
    salt, release_id = s.fixed(f"salt {custodian}", 32), s.fixed(f"release {custodian}", 16)
    values = released_by(custodian, named)
    sealed = seal_rows(
        values, MATCHER.public, salt=salt, release_id=release_id, query_digest=DIGEST
    )
    said = RowRelease(
        release_id, DIGEST, len(named), len(named), digest_of(salt, named), 4, s.NOW_MS, sealed
    )
    return replace(said, **change)  # type: ignore[arg-type]


def commitment(came: Envelope, number: int) -> bytes:
    rows = came.rows(v2.key(COVER))
    return came.block(META)[1][rows.span_of(number)][:32]


@pytest.mark.parametrize("group", list(combinations(s.CUSTODIANS, 2)))
def test_any_m_custodians_open_the_row_and_no_other(group: tuple[str, ...]) -> None:
    came = v2.envelope()
    values = {}
    for custodian in group:
        signed = answer(custodian, [row()]).sign(s.signing_key(custodian))
        _, opened = RowRelease.parse(signed.payload).open(MATCHER)
        values[custodian] = opened[row()]
    opening = open_row_key(v2.announcement(), row(), values, commitment(came, 0))
    assert not opening.liars
    rows = came.rows(v2.key(COVER))
    assert came.row(rows, 0, opening.key) == v2.sighting("one").row
    with pytest.raises(KeyCommitmentMismatch):
        came.row(rows, 2, opening.key)
    with pytest.raises(KeyCommitmentMismatch):
        open_row_key(v2.announcement(), row("two"), values, commitment(came, 2))


@pytest.mark.parametrize("custodian", s.CUSTODIANS)
def test_one_custodian_opens_nothing(custodian: str) -> None:
    values = {custodian: released_by(custodian, [row()])[row()]}
    with pytest.raises(SharesMissing):
        open_row_key(v2.announcement(), row(), values, commitment(v2.envelope(), 0))


@pytest.mark.parametrize("liar", s.CUSTODIANS)
def test_who_releases_another_value_is_named_and_changes_nothing(liar: str) -> None:
    values = {name: released_by(name, [row()])[row()] for name in s.CUSTODIANS}
    values[liar] = {number: bytes(32) for number in values[liar]}
    opening = open_row_key(v2.announcement(), row(), values, commitment(v2.envelope(), 0))
    assert opening.liars == {liar}


def test_with_too_few_honest_ones_it_stays_closed() -> None:
    values = {name: released_by(name, [row()])[row()] for name in ("c1", "c2")}
    values["c2"] = {number: bytes(32) for number in values["c2"]}
    with pytest.raises(KeyCommitmentMismatch):
        open_row_key(v2.announcement(), row(), values, commitment(v2.envelope(), 0))


def test_a_custodian_cannot_speak_for_roots_that_it_does_not_hold() -> None:
    values = {name: released_by(name, [row()])[row()] for name in ("c1", "c2")}
    everything = {**values["c1"], **values["c2"]}
    with pytest.raises(ShareInvalid):
        open_row_key(
            v2.announcement(), row(), {**values, "c1": everything}, commitment(v2.envelope(), 0)
        )
    with pytest.raises(ShareInvalid):
        open_row_key(
            v2.announcement(), row(), {**values, "mallory": {}}, commitment(v2.envelope(), 0)
        )


def test_a_row_of_another_generation_is_not_released() -> None:
    roots = v2.announcement().open_share("c1", s.day_key("c1"))
    for change in ({"generation": 9}, {"camera": "cam-9"}, {"box": "box-9"}, {"epoch": 3}):
        with pytest.raises(ScopeExceeded):
            release_rows(roots, v2.announcement(), [replace(row(), **change)])


def test_metadata_of_version_1_opens_by_slot_and_of_version_2_never() -> None:
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, s.SLOT, s.SLOT)
    first = s.announcement().open_share("c1", s.day_key("c1"))
    assert META in release(first, scope, (FACE, META, LIVE)).nodes
    with pytest.raises(ScopeExceeded, match="by slot"):
        release_rows(first, s.announcement(), [row()])
    second = v2.announcement().open_share("c1", s.day_key("c1"))
    for label in (META, EVIDENCE):
        with pytest.raises(ScopeExceeded, match="row by row"):
            release(second, scope, (FACE, label), version=2)
    assert COVER in release(second, scope, (FACE, LIVE, COVER), version=2).nodes


def test_a_grant_of_version_2_opens_templates_and_rows_and_no_metadata() -> None:
    announced, scope = v2.announcement(), Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 40, 42)
    granted = [
        release(announced.open_share(c, s.day_key(c)), scope, (FACE, LIVE, COVER), version=2)
        for c in ("c1", "c3")
    ]
    keys = combine(announced, granted)
    came = v2.envelope()
    assert len(came.rows(keys.key(s.SLOT, COVER))) == 3
    assert came.open(FACE, keys.key(s.SLOT, FACE))
    with pytest.raises(ScopeExceeded):
        keys.key(s.SLOT, META)


def test_a_share_of_one_version_is_none_of_the_other() -> None:
    """The same announcement, said to be of the other version, opens for nobody."""
    turned = replace(s.announcement(), version=2)
    with pytest.raises(AuthenticationFailed):
        turned.open_share("c1", s.day_key("c1"))
    with pytest.raises(AuthenticationFailed):
        replace(v2.announcement(), version=1).open_share("c1", s.day_key("c1"))


def test_an_announcement_of_a_version_to_come_is_named() -> None:
    payload = decode(v2.announcement().sign(s.signing_key("box-1")).payload, what="announcement")
    with pytest.raises(UnsupportedVersion, match=r"version 3.*update"):
        type(v2.announcement()).parse(encode({**payload, "v": 3}), box="box-1")


def test_announcements_of_both_versions_come_back_as_they_were() -> None:
    for announced in (s.announcement(), v2.announcement()):
        payload = announced.sign(s.signing_key("box-1")).payload
        assert type(announced).parse(payload, box="box-1") == announced


def test_a_release_says_what_it_opens_and_no_less() -> None:
    rows = [row("one"), row("two")]
    with pytest.raises(ScopeExceeded):
        answer("c1", rows, rows=1).open(MATCHER)
    with pytest.raises(ScopeExceeded):
        answer("c1", rows, digest=bytes(32)).open(MATCHER)
    with pytest.raises(AuthenticationFailed):
        answer("c1", rows, query_digest=bytes(32)).open(MATCHER)
    with pytest.raises(MalformedMessage):
        RowRelease.parse(answer("c1", rows, total=1).sign(s.signing_key("c1")).payload)


def test_the_digest_of_a_receipt_tells_no_row_without_its_salt() -> None:
    rows = [row("one"), row("two")]
    assert digest_of(b"a" * 32, rows) == digest_of(b"a" * 32, rows[::-1])
    assert digest_of(b"a" * 32, rows) != digest_of(b"b" * 32, rows)
    assert digest_of(b"a" * 32, rows) != digest_of(b"a" * 32, rows[:1])


def request(rows: tuple[SightingName, ...]) -> RowRequest:
    return RowRequest(b"q", (b"a",), (), b"k", (b"n",), rows, s.NOW_MS)


def test_a_request_comes_back_as_it_was_and_names_no_row_twice() -> None:
    asked = request((row("one"), row("two")))
    key = s.signing_key("aggregator")
    assert RowRequest.parse(asked.sign(key).payload) == asked
    with pytest.raises(MalformedMessage, match="twice"):
        RowRequest.parse(request((row(), row())).sign(key).payload)
    with pytest.raises(MalformedMessage):
        RowRequest.parse(request(()).sign(key).payload)
    many = tuple(
        replace(row(), sighting_id=number.to_bytes(8, "big"))
        for number in range(rows_release.MAX_ROWS + 1)
    )
    with pytest.raises(MalformedMessage):
        RowRequest.parse(request(many).sign(key).payload)


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["box-1", "cam-1", 1, 1, 96, b"x" * 8],
        ["box-1", "cam-1", 1, 1, 5, b"x" * 7],
        ["box-1", "cam-1", -1, 1, 5, b"x" * 8],
        ["box-1", "cam-1", True, 1, 5, b"x" * 8],
        [b"box-1", "cam-1", 1, 1, 5, b"x" * 8],
    ],
)
def test_what_is_no_row_is_refused(value: object) -> None:
    with pytest.raises(MalformedMessage):
        SightingName.from_value(value)
