"""Cameras found on the network: what they may say, and what is thrown away."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.camera_setup import discovery
from edge_agent.camera_setup.discovery import (
    DiscoveryProblem,
    FoundCamera,
    NotAnAnswer,
    discover,
    parse_answer,
    probe_message,
)
from edge_agent.camera_setup.soap import MAX_DEPTH, XmlRefused, parse_envelope, parse_xml, plain

ID = "urn:uuid:11111111-2222-3333-4444-555555555555"
SCOPES = (
    "onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/Door%20cam "
    "onvif://www.onvif.org/hardware/DS-2CD onvif://www.onvif.org/location/country/de"
)


def match(
    endpoint: str = "urn:uuid:cam-1",
    types: str = "dn:NetworkVideoTransmitter",
    scopes: str = SCOPES,
    addresses: str = "http://127.0.0.1/onvif/device_service",
) -> str:
    return (
        f"<d:ProbeMatch><a:EndpointReference><a:Address>{endpoint}</a:Address>"
        f"</a:EndpointReference><d:Types>{types}</d:Types><d:Scopes>{scopes}</d:Scopes>"
        f"<d:XAddrs>{addresses}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion></d:ProbeMatch>"
    )


def answer(relates_to: str = ID, *matches: str, head: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{head}'
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
        'xmlns:dn="http://www.onvif.org/ver10/network/wsdl">'
        f"<s:Header><a:RelatesTo>{relates_to}</a:RelatesTo></s:Header>"
        f"<s:Body><d:ProbeMatches>{''.join(matches or [match()])}</d:ProbeMatches></s:Body>"
        "</s:Envelope>"
    ).encode()


class Camera:
    """Answers each question on loopback with what `says` makes of the question's id."""

    def __init__(self, says: Callable[[str], list[bytes]]) -> None:
        self.questions: list[bytes] = []
        self._says = says
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                data, asker = self._socket.recvfrom(65536)
            except OSError:
                return
            if data == b"stop":
                return
            self.questions.append(data)
            found = re.search(rb"<a:MessageID>([^<]+)<", data)
            assert found is not None
            for each in self._says(found[1].decode()):
                self._socket.sendto(each, asker)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"stop", self.address)


@pytest.fixture
def camera() -> Iterator[Callable[[Callable[[str], list[bytes]]], Camera]]:
    made: list[Camera] = []

    def make(says: Callable[[str], list[bytes]]) -> Camera:
        made.append(Camera(says))
        return made[-1]

    yield make
    for each in made:
        each.close()


CameraMaker = Callable[[Callable[[str], list[bytes]]], Camera]


@pytest.mark.slow
def test_a_camera_is_found_and_describes_itself(camera: CameraMaker) -> None:
    there = camera(lambda asked: [answer(asked)])
    assert discover(timeout_s=0.5, address=there.address) == [
        FoundCamera(
            host="127.0.0.1",
            endpoint="urn:uuid:cam-1",
            services=("http://127.0.0.1/onvif/device_service",),
            name="Door cam",
            hardware="DS-2CD",
            location="country/de",
        )
    ]
    assert len(there.questions) == 2
    assert there.questions[0] == there.questions[1]
    header, body = parse_envelope(there.questions[0])
    assert header.words("Action").endswith("/discovery/Probe")
    assert body.words("Probe", "Types") == "dn:NetworkVideoTransmitter"


@pytest.mark.slow
def test_what_answers_twice_is_listed_once_and_rubbish_is_not(camera: CameraMaker) -> None:
    there = camera(
        lambda asked: [
            b"\xff\xfe\x00",
            b"<a/>",
            answer("urn:uuid:another-question"),
            answer(asked, match("urn:uuid:far", addresses="http://10.9.9.9/onvif")),
            answer(asked),
            answer(asked.removeprefix("urn:"), match("uuid:cam-1")),
            answer(asked, match("urn:uuid:printer", types="wprt:PrintDeviceType", scopes="")),
            answer(asked, match("urn:uuid:cam-2", types=""), match("urn:uuid:cam-3", scopes="")),
            b"x" * 60_000,
        ]
    )
    found = discover(timeout_s=0.6, address=there.address)
    assert [each.endpoint[-5:] for each in found] == ["cam-1", "cam-2", "cam-3", "d:far"]
    assert [each.elsewhere for each in found] == [False, False, False, True]


@pytest.mark.slow
def test_nobody_there_is_an_empty_list() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert discover(timeout_s=0.3, address=silent.getsockname()) == []


def test_a_flood_of_cameras_is_cut_off(
    camera: CameraMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "MAX_CAMERAS", 5)
    there = camera(
        lambda asked: [
            answer(asked, *(match(f"urn:uuid:{i}-{j}") for j in range(4))) for i in range(9)
        ]
    )
    assert len(discover(timeout_s=0.5, address=there.address)) == 5


@pytest.mark.parametrize("own", ["10.0.0.256", "camera", "::1", ""])
def test_an_interface_that_is_none_is_named(own: str) -> None:
    with pytest.raises(DiscoveryProblem, match=r"ip -4 addr|no network"):
        discover(timeout_s=0.2, interface=own)


def test_an_interface_of_another_machine_is_named() -> None:
    with pytest.raises(DiscoveryProblem, match=r"--interface"):
        discover(timeout_s=0.2, interface="203.0.113.7")


def test_own_addresses_are_addresses() -> None:
    for own in discovery.own_addresses():
        assert socket.inet_aton(own)
        assert not own.startswith("127.")


def test_services_are_web_addresses_and_the_answering_machine_comes_first() -> None:
    given_addresses = (
        "http://10.0.0.9/a http://127.0.0.1:8080/b file:///etc/passwd javascript:alert(1) "
        "http://user:secret@127.0.0.1/ http://[fe80::1/ http://127.0.0.1:99999/ ftp://127.0.0.1/ "
        "https://[fe80::1]/c http:///d"
    )
    (found,) = parse_answer(answer(ID, match(addresses=given_addresses)), ID, "127.0.0.1")
    assert found.services == ("http://127.0.0.1:8080/b", "http://10.0.0.9/a", "https://[fe80::1]/c")
    many = " ".join(f"http://127.0.0.1/{i}" for i in range(50))
    (found,) = parse_answer(answer(ID, match(addresses=many)), ID, "127.0.0.1")
    assert len(found.services) == discovery.MAX_XADDRS


def test_names_cannot_steer_the_terminal() -> None:
    scopes = "onvif://www.onvif.org/name/%1b%5b2J%0d%0aroot%20%e2%80%ae" + "x" * 500
    (found,) = parse_answer(answer(ID, match(scopes=scopes)), ID, "127.0.0.1")
    assert found.name.isprintable()
    assert found.name.startswith("?[2J root")
    assert len(found.name) <= 80


@pytest.mark.parametrize("relates_to", ["", "urn:uuid:0", ID[:-1], ID + "0"])
def test_an_answer_to_another_question_is_none(relates_to: str) -> None:
    with pytest.raises(NotAnAnswer):
        parse_answer(answer(relates_to), ID, "127.0.0.1")


def test_a_message_of_another_kind_is_none() -> None:
    with pytest.raises(NotAnAnswer):
        parse_answer(answer().replace(b"ProbeMatches", b"ResolveMatches"), ID, "127.0.0.1")
    with pytest.raises(NotAnAnswer):
        parse_answer(answer().replace(b"a:RelatesTo", b"a:MessageID"), ID, "127.0.0.1")


LAUGHS = (
    "<!DOCTYPE lolz [<!ENTITY lol 'lol'>"
    + "".join(f"<!ENTITY lol{i} '{f'&lol{i - 1 or str()};' * 10}'>" for i in range(1, 10))
    + "]>"
)


@pytest.mark.parametrize(
    "head",
    [
        LAUGHS,
        "<?x y?> <!-- --> <!DOCTYPE a>",
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1/x">]>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1/p"> %p;]>',
        "<!DOCTYPE a>",
    ],
)
def test_a_document_type_is_refused_where_it_begins(head: str) -> None:
    with pytest.raises(XmlRefused, match="document type"):
        parse_answer(answer(ID, match(scopes="&lol9;"), head=head), ID, "127.0.0.1")


def test_a_document_type_in_another_encoding_is_refused_too() -> None:
    with pytest.raises(XmlRefused, match="document type"):
        parse_xml("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".encode("utf-16"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<a>",
        b"<a/><b/>",
        b"<a>&undefined;</a>",
        b"<a>\xff</a>",
        b"<a>" * (MAX_DEPTH + 2) + b"</a>" * (MAX_DEPTH + 2),
        b"<a>" + b"<b/>" * 30_000 + b"</a>",
        b"<a>" + b" " * (1 << 20) + b"</a>",
        b"<a b='1' b='2'/>",
    ],
)
def test_what_is_no_decent_xml_is_refused(data: bytes) -> None:
    with pytest.raises(XmlRefused):
        parse_xml(data)


def test_text_is_cut_and_read_by_name() -> None:
    root = parse_xml(
        b'<x:a xmlns:x="urn:x" x:k="v">one<b>two</b><x:b>' + b"y" * 9000 + b"</x:b></x:a>"
    )
    assert (root.namespace, root.name, root.attributes, root.text) == (
        "urn:x",
        "a",
        {"k": "v"},
        "one",
    )
    assert root.words("b") == "two"
    assert root.child("b", "urn:x") is not root.child("b")
    assert len(root.children[1].text) < 9000
    assert [each.name for each in root.walk()] == ["a", "b", "b"]
    assert root.at("b", "c") is None


@given(st.binary(max_size=400))
def test_no_datagram_breaks_the_parser(data: bytes) -> None:
    for datagram in (data, answer(ID, match(scopes="@")).replace(b"@", data)):
        try:
            cameras = parse_answer(datagram, ID, "127.0.0.1")
        except (XmlRefused, NotAnAnswer):
            continue
        for each in cameras:
            assert (each.name + each.hardware + each.location + each.endpoint).isprintable()


@given(st.text(max_size=300))
def test_whatever_is_shown_is_one_printable_line(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable()
    assert len(shown) <= 200


def test_each_question_is_its_own() -> None:
    assert probe_message("urn:uuid:a") != probe_message("urn:uuid:b")


@pytest.mark.slow
def test_the_question_reaches_the_multicast_group(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as group:
        group.bind(("", 0))
        membership = socket.inet_aton(discovery.MULTICAST[0]) + socket.inet_aton("127.0.0.1")
        group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        group.settimeout(10)
        monkeypatch.setattr(
            discovery, "MULTICAST", (discovery.MULTICAST[0], group.getsockname()[1])
        )
        heard: list[bytes] = []

        def camera() -> None:
            data, asker = group.recvfrom(65536)
            heard.append(data)
            found = re.search(rb"<a:MessageID>([^<]+)<", data)
            assert found is not None
            group.sendto(answer(found[1].decode()), asker)

        thread = threading.Thread(target=camera, daemon=True)
        thread.start()
        found = discover(timeout_s=0.6, interface="127.0.0.1")
        thread.join(60)
    assert len(heard) == 1
    assert [each.name for each in found] == ["Door cam"]
