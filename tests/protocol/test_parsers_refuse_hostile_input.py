"""Every parser answers hostile bytes with a protocol error, never with another exception."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import cbor2
import protocol_samples as s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.admissions import Admissions
from protocol.auditlog import Entry, parse_checkpoint, seal_entry
from protocol.daykeys import DayKeys
from protocol.directory import Directory
from protocol.encoding import Fields, decode, encode
from protocol.epoch import Announcement
from protocol.errors import MalformedMessage, MessageTooLarge, ProtocolError
from protocol.grant import Grant, GrantedKeys, GrantRequest, Scope, release, seal_grant
from protocol.names import parse_camera_topic
from protocol.policy import parse_policy
from protocol.query import Approval, MatcherKey, Query, Withdrawal
from protocol.results import Decision
from protocol.sealing import Blocks, Envelope, Header, model_dimension, read_models
from protocol.sightings import decode_meta, encode_meta
from protocol.signing import Signed
from protocol.telemetry import Health, Receipt
from protocol.templates import SubjectFile, Template

ROOTS = {0: b"r" * 32}
SCOPE = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 3, 5)
GRANTED = release(ROOTS, SCOPE, ["face"])
SEALED = seal_grant(
    [GRANTED], s.sealing_key("m").public, grant_id=b"g" * 16, query_digest=b"q" * 32
)
PARSERS = {
    "signed": (lambda d: Signed.parse(d, kind="query"), s.case().query.to_bytes()),
    "envelope": (Envelope.parse, s.envelope().to_bytes()),
    "header": (Header.parse, s.envelope().header_bytes),
    "blocks": (Blocks.parse, s.envelope().ciphertext),
    "meta": (lambda d: decode_meta(d, count=1), encode_meta([s.sighting("x")])),
    "announcement": (
        lambda d: Announcement.parse(d, box="box-1"),
        s.announcement().sign(s.signing_key("box-1")).payload,
    ),
    "day keys": (
        lambda d: DayKeys.parse(d, custodian="c1"),
        DayKeys(s.SITE, "c1", 5, {3: s.day_key("c1").public}).sign(s.signing_key("c1")).payload,
    ),
    "directory": (Directory.parse, s.directory().sign(s.authority()).payload),
    "admissions": (
        Admissions.parse,
        Admissions(s.SITE, 1, 2, {"box-9": s.principal("box-9", "box")}, {"box-1": 3})
        .sign(s.signing_key("registrar"))
        .payload,
    ),
    "query": (Query.parse, s.case().query.payload),
    "approval": (Approval.parse, s.case().approvals[0].payload),
    "withdrawal": (
        Withdrawal.parse,
        Withdrawal(b"d" * 32, "why", 4).sign(s.signing_key("bo")).payload,
    ),
    "matcher key": (
        MatcherKey.parse,
        MatcherKey(b"d" * 32, s.sealing_key("m").public, 4).sign(s.signing_key("a")).payload,
    ),
    "grant request": (
        GrantRequest.parse,
        GrantRequest(b"q", (b"a",), (), b"m", (b"n",), 5).sign(s.signing_key("a")).payload,
    ),
    "grant": (
        Grant.parse,
        Grant(b"g" * 16, b"q" * 32, ("face",), (SCOPE,), (("cam-1", 3, "why"),), 0, 1, SEALED)
        .sign(s.signing_key("c1"))
        .payload,
    ),
    "subject file": (
        SubjectFile.parse,
        SubjectFile.enrol(
            "P", "ref", [s.template()], s.sealing_key("ana").public, enrolled_at_ms=1
        ).to_bytes(),
    ),
    "decision": (
        Decision.parse,
        Decision(b"q" * 32, b"c" * 16, "confirmed", 5).sign(s.signing_key("ana")).payload,
    ),
    "receipt": (
        Receipt.parse,
        Receipt(s.ADDRESS, 9, (3, 4), 5).sign(s.signing_key("aggregator")).payload,
    ),
    "health": (
        lambda d: Health.parse(d, box="box-1"),
        Health(s.SITE, "box-1", "online", 5, "1", {"fps": 4.5})
        .sign(s.signing_key("box-1"))
        .payload,
    ),
    "log entry": (
        Entry.parse,
        seal_entry(
            "started", {"version": "1"}, time_ms=1, actor="c1", query_id=None,
            auditors={"eve": s.sealing_key("eve").public},
        ).to_bytes(),
    ),
    "policy": (parse_policy, s.POLICY_TEXT),
}  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=12,
)


@pytest.mark.parametrize("name", PARSERS)
def test_the_genuine_message_is_read(name: str) -> None:
    parse, genuine = PARSERS[name]
    assert parse(genuine) is not None


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_altered_bytes_are_refused_or_read_but_never_crash(name: str, data: st.DataObject) -> None:
    parse, genuine = PARSERS[name]
    altered = bytearray(genuine)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(altered) - 1))
        altered[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(altered)), st.integers(0, len(altered))))
    with contextlib.suppress(ProtocolError):
        parse(bytes(altered[:cut]))


@pytest.mark.parametrize("name", PARSERS)
@given(garbage=st.binary(max_size=300) | VALUES.map(encode))
def test_garbage_is_refused(name: str, garbage: bytes) -> None:
    parse, _ = PARSERS[name]
    with pytest.raises(ProtocolError):
        parse(garbage)


@pytest.mark.parametrize(
    "name", sorted(set(PARSERS) - {"blocks", "envelope", "signed", "policy", "meta"})
)
@given(data=st.data())
def test_a_field_of_another_type_is_refused(name: str, data: st.DataObject) -> None:
    parse, genuine = PARSERS[name]
    value = cbor2.loads(genuine)
    key = data.draw(st.sampled_from(sorted(value)))
    action = data.draw(st.sampled_from(["drop", "add", "replace"]))
    if action == "drop":
        del value[key]
    elif action == "add":
        value["no such field"] = 1
    else:
        value[key] = data.draw(st.sampled_from([-1, "\x1b[31m", [[[]]], {"": 0}, 2**70, -7.5]))
    with pytest.raises(ProtocolError):
        parse(encode(value))


def test_a_second_encoding_of_the_same_value_is_refused() -> None:
    twice = b"\xa2\x61b\x01\x61a\x02"  # keys out of order
    with pytest.raises(MalformedMessage):
        decode(twice, what="map")
    with pytest.raises(MalformedMessage):
        decode(b"\x18\x01", what="longer than needed")
    with pytest.raises(MalformedMessage):
        decode(b"\x01\x02", what="trailing")
    with pytest.raises(MalformedMessage):
        decode(b"\xa2\x61a\x01\x61a\x02", what="duplicate key")
    with pytest.raises(MalformedMessage):
        decode(b"\x81" * 50 + b"\x00", what="deep")


def test_size_is_checked_before_anything_is_parsed() -> None:
    with pytest.raises(MessageTooLarge):
        decode(b"\xff" * 101, what="garbage", max_bytes=100)


@given(VALUES.filter(lambda v: not isinstance(v, float)))
def test_decoding_gives_back_what_was_encoded(value: object) -> None:
    try:
        decoded = decode(encode(value), what="value")
    except MalformedMessage:
        return  # NaN inside, or over 64 bit: never produced by our own messages
    assert encode(decoded) == encode(value)


@given(st.text(max_size=80))
def test_only_a_cameras_topic_is_one(topic: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_camera_topic(topic)


def test_a_cameras_topic_gives_its_address() -> None:
    assert parse_camera_topic("st/v1/vectors/box-1/cam-1/envelope") == (s.ADDRESS, "envelope")


def test_granted_keys_of_no_form_are_refused() -> None:
    for value in (None, [], [1], [[], {}], [SCOPE.to_value(), {"face": 3}], "text"):
        with pytest.raises(ProtocolError):
            GrantedKeys.from_value(value)


CONTROL = "x\x1b[2J-192@00000000"


@pytest.mark.parametrize(
    "parse",
    [
        lambda: model_dimension(CONTROL),
        lambda: read_models({"face": CONTROL}),
        lambda: Fields({CONTROL: 1}, what="map").done(),
        lambda: Fields({"figures": {CONTROL: 1}}, what="map").mapping("figures", max_items=1),
    ],
)
def test_what_is_refused_for_its_control_characters_is_not_repeated(
    parse: Callable[[], object],
) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse()
    assert str(caught.value).isprintable()


def test_templates_of_no_form_are_refused() -> None:
    genuine = s.template().to_value()
    for place, wrong in ((0, "smell"), (1, 4), (2, b"short"), (3, b"short")):
        with pytest.raises(ProtocolError):
            Template.from_value([*genuine[:place], wrong, *genuine[place + 1 :]])
    long = genuine[3][:-4] + b"\x00\x00\x80\x7f"  # an infinite scale
    with pytest.raises(ProtocolError):
        Template.from_value([*genuine[:3], long])


@given(st.text(max_size=400))
def test_checkpoints_of_no_form_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_checkpoint(text)
