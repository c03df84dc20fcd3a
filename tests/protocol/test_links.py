"""Which companions are one person goes to officers as numbers, and as nothing else."""

from __future__ import annotations

import pytest

from protocol import hpke
from protocol.encoding import decode, encode
from protocol.errors import AuthenticationFailed, MalformedMessage, UnsupportedVersion
from protocol.links import Links
from protocol.names import CameraAddress

ONE, TWO = CameraAddress("seoul", "gate-1", "cam-1"), CameraAddress("seoul", "gate-2", "cam-7")
LINKS = Links({(ONE, b"e" * 8): 271_828, (TWO, b"f" * 8): 271_828, (ONE, b"g" * 8): 314_159}, 2, 1)
DIGEST = bytes(32)


def test_links_open_for_the_officer_they_were_sealed_to_and_say_what_was_said() -> None:
    officer = hpke.PrivateKey.generate()
    sealed = LINKS.seal(officer.public, query_digest=DIGEST)
    assert Links.open(sealed, officer, query_digest=DIGEST) == LINKS


def test_links_of_another_query_do_not_open() -> None:
    officer = hpke.PrivateKey.generate()
    sealed = LINKS.seal(officer.public, query_digest=DIGEST)
    with pytest.raises(AuthenticationFailed):
        Links.open(sealed, officer, query_digest=b"x" * 32)


def test_nothing_but_numbers_and_names_of_episodes_is_told() -> None:
    told = decode(LINKS.to_bytes(), what="links")
    assert set(told) == {"v", "contacts", "without", "left_out"}
    assert told["contacts"] == [
        [271_828, [["seoul", "gate-1", "cam-1", b"e" * 8], ["seoul", "gate-2", "cam-7", b"f" * 8]]],
        [314_159, [["seoul", "gate-1", "cam-1", b"g" * 8]]],
    ]


@pytest.mark.parametrize(
    "contacts",
    [
        "words",
        [[99_999, [["seoul", "gate-1", "cam-1", b"e" * 8]]]],
        [[1_000_000, [["seoul", "gate-1", "cam-1", b"e" * 8]]]],
        [[True, [["seoul", "gate-1", "cam-1", b"e" * 8]]]],
        [[271_828, []]],
        [[271_828, [["seoul", "gate-1", "cam-1", b"short"]]]],
        [[271_828, [["seoul", "Gate 1", "cam-1", b"e" * 8]]]],
        [[271_828, [["seoul", "gate-1", "cam-1", b"e" * 8, 0.91]]]],
        [[271_828, [["seoul", "gate-1", "cam-1", b"e" * 8]] * 2]],
        [[271_828, [["seoul", "gate-1", "cam-1", b"e" * 8]]]] * 2,
    ],
)
def test_links_that_say_anything_else_are_refused(contacts: object) -> None:
    value = decode(LINKS.to_bytes(), what="links") | {"contacts": contacts}
    with pytest.raises(MalformedMessage):
        Links.parse(encode(value))


def test_links_of_a_form_to_come_are_refused_by_their_number() -> None:
    value = decode(LINKS.to_bytes(), what="links") | {"v": 3}
    with pytest.raises(UnsupportedVersion):
        Links.parse(encode(value))
