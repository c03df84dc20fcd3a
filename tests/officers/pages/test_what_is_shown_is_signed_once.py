"""The one page of signing: what was shown is signed, by passphrase, and handed in once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence

import protocol_samples as s
import pytest
from desk_pages import PageDesk, hidden, words_of
from officer_site import PASSPHRASE, OfficerSite
from officers_passkeys import Device, with_passkeys

from officers.pages.signatures import MOST_BY_PASSKEY, Signing
from protocol.encoding import decode
from protocol.signing import Signed, Unsigned
from runtime.errors import OperationError

ACT = Unsigned("sample", "ana", b"what is meant")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture
def desk(site: OfficerSite) -> Iterator[PageDesk]:
    made = PageDesk(site, "ana")
    yield made
    made.close()


class Headquarters:
    """Takes what was signed, and remembers it."""

    def __init__(self, *, fails: int = 0) -> None:
        self.taken: list[Sequence[Signed]] = []
        self.fails = fails

    def __call__(self, signed: Sequence[Signed]) -> str:
        if self.fails:
            self.fails -= 1
            raise OperationError("headquarters do not answer")
        self.taken.append(signed)
        return "/"


def waiting(desk: PageDesk, hand_in: Headquarters, *acts: Unsigned) -> str:
    made = Signing(acts or (ACT,), ("I mean what is meant.",), hand_in, "/")
    return f"/sign/{desk.house.signatures.add(made)}"


def test_the_statement_stands_above_the_passphrase_and_a_signature_verifies(desk: PageDesk) -> None:
    hand_in = Headquarters()
    path = waiting(desk, hand_in)
    shown = desk.get(path)
    assert "I mean what is meant." in words_of(shown)
    done = desk.post(path, {**hidden(shown), "passphrase": PASSPHRASE})
    assert (done.status_code, done.headers["location"]) == (303, "/")
    ((signed,),) = hand_in.taken
    key = desk.house.officer.directory.principals["ana"].verify_key
    assert signed.verify({"ana": key}.__getitem__) == ACT.payload


def test_a_second_sending_shows_the_receipt_and_signs_nothing(desk: PageDesk) -> None:
    hand_in = Headquarters()
    path = waiting(desk, hand_in)
    form = {**hidden(desk.get(path)), "passphrase": PASSPHRASE}
    assert [desk.post(path, form).headers["location"] for _ in range(2)] == ["/", "/"]
    assert len(hand_in.taken) == 1
    assert desk.get(path).headers["location"] == "/"


def test_a_wrong_passphrase_signs_nothing_and_the_next_try_waits(desk: PageDesk) -> None:
    hand_in = Headquarters()
    path = waiting(desk, hand_in)
    form = hidden(desk.get(path))
    wrong = desk.post(path, {**form, "passphrase": "another four words"})
    assert wrong.status_code == 422
    assert "Nothing was signed" in words_of(wrong)
    soon = desk.post(path, {**form, "passphrase": PASSPHRASE})
    assert "wait" in words_of(soon)
    assert hand_in.taken == []


def test_a_form_that_showed_something_else_signs_nothing_and_says_to_tell(desk: PageDesk) -> None:
    hand_in = Headquarters()
    path = waiting(desk, hand_in)
    form = {**hidden(desk.get(path)), "digest": "0" * 64, "passphrase": PASSPHRASE}
    answer = desk.post(path, form)
    assert "Tell the auditor" in words_of(answer)
    assert "<form" not in answer.text.partition("<main")[2]
    assert hand_in.taken == []


def test_what_could_not_be_handed_in_is_handed_in_again_not_signed_again(desk: PageDesk) -> None:
    hand_in = Headquarters(fails=1)
    path = waiting(desk, hand_in)
    form = hidden(desk.get(path))
    failed = desk.post(path, {**form, "passphrase": PASSPHRASE})
    assert "headquarters do not answer" in words_of(failed)
    assert "passphrase" not in hidden(failed)
    again = desk.post(path, hidden(failed))
    assert again.headers["location"] == "/"
    assert len(hand_in.taken) == 1


def test_several_are_signed_with_one_passphrase(desk: PageDesk) -> None:
    hand_in = Headquarters()
    other = Unsigned("sample", "ana", b"and this")
    path = waiting(desk, hand_in, ACT, other)
    desk.post(path, {**hidden(desk.get(path)), "passphrase": PASSPHRASE})
    assert [one.payload for one in hand_in.taken[0]] == [ACT.payload, other.payload]


def asserted(*acts: Unsigned) -> str:
    """What a browser sends that signed these, one after the other."""
    names = ("authenticatorData", "clientDataJSON", "signature")
    signed = [Device("ana").sign(one).signature for one in acts]
    parts = [decode(one, what="assertion") for one in signed]
    assert all(isinstance(one, list) for one in parts)
    return json.dumps(
        [
            {name: base64.urlsafe_b64encode(part).decode() for name, part in zip(names, one)}  # noqa: B905
            for one in parts
        ]
    )


@pytest.fixture
def with_passkey(site: OfficerSite, desk: PageDesk) -> PageDesk:
    newer = with_passkeys(
        desk.house.officer.directory.next_version(
            desk.house.officer.directory.principals, at_ms=s.NOW_MS
        ),
        "ana",
    )
    desk.house.officer.take_directory(newer.sign(s.authority(), 2).to_bytes())
    return desk


def test_several_are_signed_by_a_passkey_each_by_itself(with_passkey: PageDesk) -> None:
    hand_in = Headquarters()
    acts = [Unsigned("sample", "ana", f"sighting {n}".encode()) for n in range(3)]
    path = waiting(with_passkey, hand_in, *acts)
    shown = with_passkey.get(path)
    assert "the passkey is asked 3 times" in words_of(shown)
    for few_or_other in (
        asserted(*acts[:2]),
        asserted(*acts, acts[0]),
        asserted(acts[1], acts[0], acts[2]),
        asserted(*acts[:2], ACT),
        "[]",
        "{}",
        "7",
    ):
        refused = with_passkey.post(path, {**hidden(shown), "assertion": few_or_other})
        assert "The passkey's signature is not taken" in words_of(refused)
        assert hand_in.taken == []
    done = with_passkey.post(path, {**hidden(shown), "assertion": asserted(*acts)})
    assert done.headers["location"] == "/"
    (taken,) = hand_in.taken
    assert [(one.payload, one.by_passkey) for one in taken] == [(one.payload, True) for one in acts]
    resolver = with_passkey.house.officer.directory.resolver("investigator")
    assert [one.verify(resolver) for one in taken] == [one.payload for one in acts]


@pytest.mark.slow
def test_a_passkey_is_not_asked_without_end(with_passkey: PageDesk) -> None:
    acts = [Unsigned("sample", "ana", f"{n}".encode()) for n in range(MOST_BY_PASSKEY + 1)]
    shown = with_passkey.get(waiting(with_passkey, Headquarters(), *acts))
    assert "data-passkey" not in shown.text
    assert "Sign as ana" in words_of(shown)


@pytest.mark.slow
def test_what_waits_is_forgotten_when_the_desk_locks(desk: PageDesk) -> None:
    path = waiting(desk, Headquarters())
    desk.house.lock()
    desk.house.unlock(PASSPHRASE.encode())
    gone = desk.get(path)
    assert gone.status_code == 410
    assert "no longer here" in words_of(gone)
