"""What an office writes of its cameras' places becomes one register, or is refused by its line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.places import GLOBE, PLAN, CameraPlace, parse_places
from provisioning.authority.places_files import make_register
from runtime.lookalikes import alike, check_scripts, skeleton

FULL = """camera,place,name_ko,name_zh_Hant,address,indoor,room,view,lat,lon
cam-1,Lobby,로비,大廳,12 Harbour Road,yes,Hall A,the desk,37.5,126.75
cam-2,Lobby,,,,yes,Hall B,,,
cam-3,Car park,주차장,,,no,,the gate,37.501,126.75
""".encode()
WALKS = b"from,to,seconds\ncam-2,cam-1,20\ncam-1,cam-3,95.5\n"


def test_a_csv_file_of_the_first_form_stays_the_very_file() -> None:
    data = b"camera,place,lat,lon\r\ncam-1,Ward 3,37.5,126.75\r\n"
    assert make_register(data).data == data
    assert make_register(make_register(data).data).data == data


def test_a_csv_file_says_names_in_scripts_rooms_addresses_and_views() -> None:
    places = make_register(FULL).places
    names = {"ko": "로비", "zh-Hant": "大廳"}
    assert places.axes == GLOBE
    assert places.cameras == {
        "cam-1": CameraPlace(
            "cam-1", "Lobby", (37.5, 126.75), names, "12 Harbour Road", True, "Hall A", "the desk"
        ),
        "cam-2": CameraPlace("cam-2", "Lobby", None, names, None, True, "Hall B"),
        "cam-3": CameraPlace(
            "cam-3", "Car park", (37.501, 126.75), {"ko": "주차장"}, None, False, None, "the gate"
        ),
    }


def test_a_name_in_another_spelling_is_written_in_the_one_that_counts() -> None:
    made = make_register("camera,place\ncam-1,e\u0301tage  2\n".encode())
    assert made.places.cameras["cam-1"].place == "étage 2"
    assert made.data == made.places.to_bytes(), "no longer the file's bytes"


def test_spreadsheets_that_write_semicolons_and_a_mark_are_read() -> None:
    made = make_register(b"\xef\xbb\xbfcamera;place;room\r\ncam-1;Lobby;Hall, east\r\n")
    assert made.places.cameras["cam-1"].room == "Hall, east"


@pytest.mark.slow
def test_a_file_of_very_many_columns_or_lines_is_refused_at_once() -> None:
    columns = ",".join(f"c{number}" for number in range(200_000))
    with pytest.raises(MalformedMessage, match="no column 'camera'"):
        make_register(columns.encode())
    with pytest.raises(MalformedMessage, match="more than 65536 lines"):
        make_register(b"camera,place\n" + b"a,b\n" * 70_000)


def test_walks_become_part_of_the_register_and_hold_both_ways() -> None:
    with_walks, without = make_register(FULL, WALKS), make_register(FULL)
    assert with_walks.places.walk_s("cam-1", "cam-2") == 20
    assert with_walks.places.walk_s("cam-3", "cam-1") == 95.5
    assert with_walks.places.walk_s("cam-2", "cam-3") is None
    assert with_walks.places.digest != without.places.digest
    again = make_register(with_walks.data)
    assert again.data == with_walks.data, "a register is taken as it is"
    assert make_register(b"camera,place\ncam-1,a\ncam-2,b\n", b"from,to,seconds\ncam-1,cam-2,9\n")


def feature(geometry: Any = None, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def geojson(*features: Any) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def point(*coordinates: Any) -> dict[str, Any]:
    return {"type": "Point", "coordinates": list(coordinates)}


def test_geojson_says_the_same_as_csv() -> None:
    data = geojson(
        feature(
            point(126.75, 37.5),
            camera="cam-1",
            place="Lobby",
            names={"ko": "로비", "zh-Hant": "大廳"},
            address="12 Harbour Road",
            indoor=True,
            room="Hall A",
            view="the desk",
            fid=7,
        ),
        feature(camera="cam-2", place="Lobby", indoor="yes", room="Hall B"),
        feature(
            point(126.75, 37.501, 12),
            camera="cam-3",
            place="Car park",
            name_ko="주차장",
            indoor=False,
            view="the gate",
        ),
    )
    made = make_register(data)
    assert made.data == make_register(FULL).data
    assert made.notes == ("properties that the register has no room for are left out: fid",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no column 'camera'"),
        (b"camera,plaice\n", "no column 'place'"),
        (b"camera,place,adress\n", "has the column 'adress'; known are camera, place, address"),
        (b"camera,place,lat\n", "both, of one kind"),
        (b"camera,place,lat,lon,x_m,y_m\n", "both, of one kind"),
        (b"camera,place,room,room\n", "'room' twice"),
        (b"camera,place\ncam-1\n", "line 2 of the register has 1 columns, not 2"),
        (b"camera,place\n\ncam-1,\n", "line 3 of the register: the place is not a text"),
        ("camera,place\n로비,Lobby\n".encode(), "line 2 .* ASCII"),
        (b"camera,place\ncam-1,a\ncam-1,b\n", "line 3 of the register: 'cam-1' again"),
        (b"camera,place,name_KO\ncam-1,a,b\n", "'name_KO' is not a language tag"),
        (b"camera,place,indoor\ncam-1,a,perhaps\n", "indoor is yes or no"),
        (b"camera,place,lat,lon\ncam-1,a,1,\n", "not two numbers"),
        (b"camera,place,lat,lon\ncam-1,a,91,1\n", "beyond 90"),
        ("camera,place\ncam-1,Lob\u202eby\n".encode(), "U\\+202E"),
        ("camera,place\ncam-1,L\u043ebby\n".encode(), "mixes Cyrillic and Latin"),
        ("camera,place\ncam-1,로비\n".encode("cp949"), "not UTF-8 at byte .*CSV UTF-8"),
        (b'camera,place\ncam-1,"a\n', "not CSV"),
        (
            "camera,place,name_ko\ncam-1,Lobby,로비\ncam-2,Lobby,라운지\n".encode(),
            "'라운지' in ko, and was '로비'",
        ),
        (b"{", "not GeoJSON"),
        (b"{}", "FeatureCollection of Points"),
        (geojson(1), "feature 1 .* no properties"),
        (geojson(feature(camera="cam-1")), "feature 1 .*place is not a text"),
        (geojson(feature(camera=7, place="a")), "camera is not a name"),
        (geojson(feature(camera="cam-1", place=7)), "place is not a text"),
        (geojson(feature(camera="cam-1", place="a", names=[])), "cam-1|a register"),
        (geojson(feature(camera="cam-1", place="a", names=["ko"])), "not a map of languages"),
        (geojson(feature({"type": "Polygon"}, camera="cam-1", place="a")), "not a Point"),
        (geojson(feature(point(1), camera="cam-1", place="a")), "not \\[longitude"),
        (geojson(feature(point(True, 2), camera="cam-1", place="a")), "not two numbers"),
        (geojson(feature(point(1, 10**400), camera="cam-1", place="a")), "not two numbers"),
    ],
)
def test_what_is_no_list_of_places_is_refused_by_where_it_stands(data: bytes, words: str) -> None:
    if b'"names": []' in data:
        assert make_register(data).places.cameras["cam-1"].names == {}
        return
    with pytest.raises(MalformedMessage, match=words):
        make_register(data)


@pytest.mark.parametrize(
    ("walks", "words"),
    [
        (b"from,to\n", "must be from,to,seconds"),
        (b"from,to,seconds\ncam-1,cam-9,3\n", "line 2 of the walks: .*no camera 'cam-9'"),
        (b"from,to,seconds\ncam-1,cam-1,3\n", "to itself"),
        (b"from,to,seconds\ncam-1,cam-2,0\n", "more than 0"),
        (b"from,to,seconds\ncam-1,cam-2,inf\n", "more than 0"),
        (b"from,to,seconds\ncam-1,cam-2,soon\n", "more than 0"),
        (b"from,to,seconds\ncam-1,cam-2,3\ncam-2,cam-1,4\n", "as long both ways"),
    ],
)
def test_walks_that_make_no_sense_are_refused_by_their_line(walks: bytes, words: str) -> None:
    with pytest.raises(MalformedMessage, match=words):
        make_register(FULL, walks)


def test_plans_have_positions_in_metres() -> None:
    made = make_register(b"camera,place,room,x_m,y_m\ncam-1,a,r,1.5,-2\n")
    assert (made.places.axes, made.places.cameras["cam-1"].position) == (PLAN, (1.5, -2.0))


def test_names_of_two_places_that_look_alike_are_told() -> None:
    made = make_register("camera,place\ncam-1,Gate 1\ncam-2,Gate I\ncam-3,паром\n".encode())
    assert made.notes == ("'Gate 1' and 'Gate I' look alike and are names of two places",)
    twice = make_register(b"camera,place,name_en\ncam-1,North,Lobby\ncam-2,South,Lobby\n")
    assert twice.notes == ("'Lobby' is a name of two places, 'North' and 'South'",)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Lobby", "L\u043ebby"), ("Lobby", "lobby"), ("Gate 1", "Gate l"), ("modern", "rnodern"),
     ("O2", "02"), ("Ａ동", "A동")],
)  # fmt: skip
def test_names_that_readers_take_for_one_are_alike(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)
    assert alike([one, other, one]) == [(one, other)]


@pytest.mark.parametrize(
    "name", ["A동", "로비 Lobby", "Вход Lobby", "東棟A", "ラウンジ", "3층", "قسم 2"]
)
def test_scripts_that_people_mix_may_be_mixed(name: str) -> None:
    check_scripts(name, what="it")


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda t: b"camera,place,indoor,lat,lon,name_ko\n" + t.encode())
)
def test_whatever_is_read_ends_in_a_register_or_a_refusal(data: bytes) -> None:
    try:
        made = make_register(data)
    except MalformedMessage:
        return
    assert parse_places(made.data) == made.places
