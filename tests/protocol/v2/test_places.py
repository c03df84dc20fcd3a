"""The register of places is what the directory names, and says where each camera is, once."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import decode, encode
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.places import GLOBE, PLAN, CameraPlace, open_places, parse_places

REGISTER = b"camera,place,lat,lon\ncam-1,Ward 3,37.503,126.766\ncam-2,Lobby,,\n"


def test_cameras_have_places_and_maybe_positions() -> None:
    places = parse_places(REGISTER)
    assert places.axes == GLOBE
    assert places.digest == hashlib.sha256(REGISTER).digest()
    assert places.cameras == {
        "cam-1": CameraPlace("cam-1", "Ward 3", (37.503, 126.766)),
        "cam-2": CameraPlace("cam-2", "Lobby", None),
    }
    plan = parse_places("camera,place,x_m,y_m\r\ncam-1,병동 3,-1.5,20\r\n\r\n".encode())
    assert (plan.axes, plan.cameras["cam-1"].position) == (PLAN, (-1.5, 20.0))
    assert plan.cameras["cam-1"].place == "병동 3"
    assert parse_places(b'\xef\xbb\xbfcamera,place\ncam-1,"Ward 3, east"\n').axes == ()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "first line must be camera,place"),
        (b"camera,lat,lon\n", "first line must be"),
        (b"camera,place,lat\ncam-1,x,1\n", "first line must be"),
        (b"camera,place,lon,lat\n", "first line must be"),
        (b"camera,place\ncam-1\n", "line 2 of the register has 1 columns, not 2"),
        (b"camera,place\ncam-1,a,b\n", "has 3 columns"),
        (b"camera,place\nCam 1,a\n", "line 2 of the register: the camera is not a name"),
        (b"camera,place\ncam-1,a\n\ncam-1,b\n", "line 4 of the register: 'cam-1' again"),
        (b"camera,place\ncam-1,\n", "the place is not a text"),
        (b"camera,place\ncam-1,\x1b[31m\n", "the place is not a text"),
        (b"camera,place\ncam-1," + b"a" * 129 + b"\n", "the place is not a text"),
        (b"camera,place,lat,lon\ncam-1,a,1,\n", "are not two numbers"),
        (b"camera,place,lat,lon\ncam-1,a,north,1\n", "are not two numbers"),
        (b"camera,place,lat,lon\ncam-1,a,91,1\n", "lat 91.0 is beyond 90"),
        (b"camera,place,lat,lon\ncam-1,a,1,-181\n", "lon -181.0 is beyond 180"),
        (b"camera,place,x_m,y_m\ncam-1,a,nan,1\n", "x_m nan is beyond"),
        (b"camera,place,x_m,y_m\ncam-1,a,1e7,1\n", "beyond 1e\\+06"),
        (b"camera,place\ncam-1,\xff\n", "is not CSV in UTF-8"),
        (b'camera,place\ncam-1,"open\n', "is not CSV in UTF-8"),
    ],
)
def test_what_is_no_register_is_refused_by_its_line(data: bytes, words: str) -> None:
    with pytest.raises(MalformedMessage, match=words):
        parse_places(data)


def test_only_the_register_that_the_directory_names_counts() -> None:
    directory = replace(s.directory(), form=2, places=hashlib.sha256(REGISTER).digest())
    assert open_places(REGISTER, directory) == parse_places(REGISTER)
    with pytest.raises(SignatureInvalid, match="names another"):
        open_places(REGISTER + b"\n", directory)
    with pytest.raises(SignatureInvalid, match="names none"):
        open_places(REGISTER, s.directory())


@given(
    st.binary(max_size=300) | st.text(max_size=200).map(lambda t: b"camera,place\n" + t.encode())
)
def test_whatever_bytes_are_read_end_in_a_register_or_a_refusal(data: bytes) -> None:
    try:
        places = parse_places(data)
    except MalformedMessage:
        return
    assert all(name == one.camera for name, one in places.cameras.items())


SECOND = v2.PLACES


def test_the_second_form_says_all_of_a_place_and_the_walks_between_cameras() -> None:
    data = SECOND.to_bytes()
    assert parse_places(data) == replace(SECOND, digest=hashlib.sha256(data).digest())
    read = parse_places(data)
    assert read.walk_s("cam-2", "cam-1") == read.walk_s("cam-1", "cam-2") == 42.5
    assert read.walk_s("cam-1", "cam-1") is None
    directory = replace(s.directory(), form=2, places=read.digest)
    assert open_places(data, directory) == read


def _changed(**changes: object) -> bytes:
    return encode({**decode(SECOND.to_bytes(), what="it"), **changes})


def _camera(**changes: object) -> bytes:
    return _changed(cameras=[{"camera": "cam-1", "place": "Lobby", **changes}], walks=[])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_changed(v=3), "of version 3"),
        (_changed(axes=["lon", "lat"]), "axes"),
        (_changed(axes=[[], 1]), "axes"),
        (_changed(more=1), "unknown fields"),
        (_changed(cameras=[{"camera": "cam-1"}]), "has no place"),
        (_changed(cameras=[{"camera": "cam-1", "place": "a"}] * 2), "again, or not in order"),
        (_changed(walks=[["cam-1", "cam-9", 3.5]]), "does not list"),
        (_changed(walks=[["cam-2", "cam-1", 3.5]]), "not in order"),
        (_changed(walks=[["cam-1", "cam-2", 0.0]]), "does not take"),
        (_changed(walks=[["cam-1", "cam-2", float("nan")]]), "does not take"),
        (_changed(walks=[["cam-1", "cam-2", 90_000.0]]), "does not take"),
        (_changed(walks=[["cam-1", "cam-2"]]), "not \\[camera, camera, seconds"),
        (_camera(camera="로비"), "so it is ASCII"),
        (_camera(place="Lob\u202eby"), "U\\+202E"),
        (_camera(place="로\u3164비"), "U\\+3164"),
        (_camera(place="e\u0301tage"), "normal form C"),
        (_camera(place="a  b"), "single blanks"),
        (_camera(place=7), "not a text"),
        (_camera(position=[1.5]), "array of 2"),
        (_camera(position=[1, 2]), "not two numbers"),
        (_camera(position=[91.0, 2.0]), "lat 91.0 is beyond"),
        (_camera(names={}), "are none"),
        (_camera(names={"KO": "로비"}), "language tag"),
        (_camera(names={"ko": ""}), "not a text of 1"),
        (_camera(indoor="yes"), "true or false"),
        (_camera(room=""), "room is not a text"),
        (_camera(colour="red"), "unknown fields"),
        (b"\xa0", "no field 'v'"),
        (SECOND.to_bytes() + b"\x00", "not valid CBOR"),
    ],
)
def test_what_is_no_register_of_the_second_form_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(MalformedMessage, match=words):
        parse_places(data)
