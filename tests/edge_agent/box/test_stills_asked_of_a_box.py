"""A box sends stills under a query that stands, to who confirms it; else it says why not."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import protocol_samples as s
import pytest
import query_samples_v2 as v2
from hostile_cbor import shared_references, string_references
from structlog.testing import capture_logs

from edge_agent.notices import Notices
from edge_agent.stills.answering import (
    ANSWERED_AGAIN,
    REQUESTS_A_MINUTE,
    STILLS_A_MINUTE,
    StillAnswers,
    TooManyRequests,
)
from edge_agent.stills.ring import StillRing
from protocol.about_queries import Withdrawal
from protocol.directory import INVESTIGATOR, Directory
from protocol.directory_forms import sign_forms
from protocol.errors import AuthenticationFailed, MalformedMessage, ProtocolError
from protocol.names import SightingName
from protocol.policy import parse_policy, sign_policy
from protocol.query import Asked
from protocol.signing import Signed
from protocol.v2.evidence import SealedStill
from protocol.v2.notices import Notice, NoticedQuery
from protocol.v2.stills import (
    REASONS,
    REQUEST_AGE_MS,
    StillAnswer,
    StillRequest,
    open_answer,
)
from runtime.trust import Trust

MINUTE_MS = 60_000
POLICY = b'cover = "off"\n' + v2.POLICY_TEXT


def with_dan(directory: Directory | None = None) -> Directory:
    """The sample site with a second investigator who confirms, and one who does not."""
    found = directory or s.directory()
    more = [
        s.principal(name, INVESTIGATOR, seal_key=s.sealing_key(name).public)
        for name in ("dan", "fay")
    ]
    return replace(found, principals={**found.principals, **{one.name: one for one in more}})


class Board:
    """What answers on box-1, with clocks that the test sets and stills of its own."""

    def __init__(self, folder: Path, directory: Directory) -> None:
        installed = folder / "installed.cbor"
        installed.write_bytes(sign_forms(directory, s.authority())[2])
        self.directory = directory
        self.trust = Trust(
            site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=folder
        )
        self.now_ms = s.NOW_MS
        self.now_s = 1000.0
        self.notices = Notices(self.trust, file=folder / "notice", now_ms=lambda: self.now_ms)
        self.ring = StillRing(folder / "stills.sqlite", max_bytes=1 << 20, hours=72)
        self.number = 1
        self.answers = self.begin()
        self.signed = self.ask()
        self.tell()

    def begin(self) -> StillAnswers:
        return StillAnswers(
            "box-1",
            board=s.signing_key("box-1"),
            trust=self.trust,
            standing=self.notices.standing,
            ring=self.ring,
            films=("cam-film",),
            now_ms=lambda: self.now_ms,
            now_s=lambda: self.now_s,
        )

    def ask(self, **changes: Any) -> Signed:
        """The query that stands: of cam-1, slots 38 to 43, for three stills."""
        changes.setdefault("asks", Asked(evidence_stills=3))
        changes.setdefault("confirmers", ("dan",))
        changes.setdefault("live", False)
        digest = parse_policy(POLICY).digest
        query = v2.query(policy_digest=digest, **changes)
        return query.sign(s.signing_key("ana"))

    def tell(self, *, approvers: tuple[str, ...] = ("bo", "cy"), withdrawn: bool = False) -> None:
        """Bring the query in a newer notice."""
        self.number += 1
        digest = parse_policy(POLICY).digest
        approvals = tuple(
            s.approval(self.signed, one, policy_digest=digest).to_bytes() for one in approvers
        )
        gone = Withdrawal(self.signed.digest, "a mistake", s.NOW_MS).sign(s.signing_key("ana"))
        noticed = NoticedQuery(
            self.signed.to_bytes(), approvals, (gone.to_bytes(),) if withdrawn else ()
        )
        signature = sign_policy(POLICY, s.authority())
        made = Notice(s.SITE, self.number, s.NOW_MS, POLICY, signature, (noticed,))
        self.notices.accept(made.sign(s.signing_key("aggregator")).to_bytes())

    def keep(self, *names: SightingName) -> None:
        for name in names:
            self.ring.put(
                name, SealedStill(s.SITE, name, bytes(12), b"of " + name.sighting_id).to_bytes()
            )

    def request(self, *names: SightingName, by: str = "ana", **changes: Any) -> bytes:
        values: dict[str, Any] = {
            "site": s.SITE,
            "query_digest": self.signed.digest,
            "box": "box-1",
            "sightings": names,
            "nonce": secrets.token_bytes(16),
            "requested_at_ms": self.now_ms,
        }
        return StillRequest(**(values | changes)).sign(s.signing_key(by)).to_bytes()

    def told(self, data: bytes) -> list[StillAnswer]:
        """Verify the answers to a request as a reader does."""
        answered = [open_answer(one, self.directory) for one in self.answers.answer(data)]
        assert all(box == "box-1" for box, _ in answered)
        assert all(one.reason in {*REASONS, ""} for _, one in answered)
        return [one for _, one in answered]

    def outcomes(self, *names: SightingName, **changes: Any) -> list[tuple[str, str]]:
        return [(one.outcome, one.reason) for one in self.told(self.request(*names, **changes))]


def name(
    number: int = 1, *, camera: str = "cam-1", slot: int = 40, box: str = "box-1"
) -> SightingName:
    return SightingName(box, camera, s.EPOCH, s.GENERATION, slot, number.to_bytes(8, "big"))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    one = Board(tmp_path, with_dan())
    yield one
    one.ring.close()


SENT = ("sent", "")


def test_who_confirms_gets_the_still_and_nobody_else_can_open_it(board: Board) -> None:
    board.keep(name())
    for officer in ("ana", "dan"):
        (answer,) = board.told(board.request(name(), by=officer))
        assert answer.open(officer, s.sealing_key(officer)).sealed == b"of " + name().sighting_id
        for other in ("aggregator", "eve", "fay", "ana" if officer == "dan" else "dan"):
            with pytest.raises(AuthenticationFailed):
                answer.open(officer, s.sealing_key(other))


def test_each_answer_is_logged_with_officer_query_and_numbers(board: Board) -> None:
    board.keep(name(1))
    with capture_logs() as logs:
        board.told(board.request(name(1), name(2)))
    (told,) = [one for one in logs if one["event"] == "stills_answered"]
    assert (told["officer"], told["asked"], told["sent"]) == ("ana", 2, 1)
    assert told["query_digest"] == board.signed.digest.hex()
    assert told["reasons"] == ["unknown"]
    assert board.answers.figures() == {"stills.sent": 1, "stills.refused": 1}


def test_what_there_is_none_of_is_answered_with_why(board: Board) -> None:
    board.ring.put(name(1), b"", reason="others-near")
    assert board.outcomes(name(1), name(2)) == [("none", "others-near"), ("none", "unknown")]
    board.ring.put(name(3), b"sealed")
    board.ring.clear()
    board.now_ms += 72 * 3_600_000
    assert board.ring.why_gone(name(3), board.now_ms) == "kept-no-longer"


@pytest.mark.parametrize("by", ["bo", "eve", "aggregator", "box-2"])
def test_nobody_but_an_investigator_is_answered_at_all(board: Board, by: str) -> None:
    board.keep(name())
    with pytest.raises(ProtocolError):
        board.answers.answer(board.request(name(), by=by))


def test_an_investigator_who_does_not_confirm_is_refused(board: Board) -> None:
    board.keep(name())
    assert board.outcomes(name(), by="fay") == [("refused", "not-confirming")]


def test_an_altered_request_is_not_answered(board: Board) -> None:
    board.keep(name())
    signed = Signed.parse(board.request(name()), kind="still-request")
    forged = replace(signed, payload=signed.payload.replace(b"cam-1", b"cam-2")).to_bytes()
    with pytest.raises(ProtocolError):
        board.answers.answer(forged)


def test_a_request_for_another_box_or_site_is_not_answered(board: Board) -> None:
    with pytest.raises(MalformedMessage, match="not for this box"):
        board.answers.answer(board.request(name(box="box-2"), box="box-2"))
    with pytest.raises(MalformedMessage, match="of site"):
        board.answers.answer(board.request(name(), site="elsewhere"))


@pytest.mark.parametrize("off_ms", [-REQUEST_AGE_MS - 1, REQUEST_AGE_MS + 1])
def test_an_old_request_and_one_from_the_future_are_refused(board: Board, off_ms: int) -> None:
    board.keep(name())
    asked = board.outcomes(name(), requested_at_ms=board.now_ms + off_ms)
    assert asked == [("refused", "too-old")]


def test_the_same_request_is_answered_a_few_times_and_counted_once(board: Board) -> None:
    board.keep(name())
    data = board.request(name())
    for _ in range(ANSWERED_AGAIN):
        assert [one.outcome for one in board.told(data)] == ["sent"]
    assert [one.reason for one in board.told(data)] == ["seen-before"]
    board.keep(name(2), name(3))
    assert board.outcomes(name(2), name(3)) == [SENT, SENT], "one of three was used up"


def test_another_request_under_the_same_number_is_refused(board: Board) -> None:
    board.keep(name(1), name(2))
    nonce = bytes(16)
    assert board.outcomes(name(1), nonce=nonce) == [SENT]
    assert board.outcomes(name(2), nonce=nonce) == [("refused", "seen-before")]


def test_a_start_forgets_neither_requests_nor_counts(board: Board) -> None:
    board.keep(*(name(number) for number in range(4)))
    data = board.request(name(0), name(1), name(2))
    assert {one.outcome for one in board.told(data)} == {"sent"}
    for _ in range(ANSWERED_AGAIN - 1):
        board.told(data)
    board.answers = board.begin()
    assert {one.reason for one in board.told(data)} == {"seen-before"}
    assert board.outcomes(name(3)) == [("refused", "over-cap")]


def test_a_second_confirmer_sees_the_same_stills_at_no_cost(board: Board) -> None:
    names = [name(number) for number in range(4)]
    board.keep(*names)
    assert board.outcomes(*names[:3]) == [SENT] * 3
    assert board.outcomes(*names[:3], by="dan") == [SENT] * 3
    assert board.outcomes(names[3], by="dan") == [("refused", "over-cap")]


def test_a_withdrawal_stops_it(board: Board) -> None:
    board.keep(name())
    assert board.outcomes(name()) == [SENT]
    board.tell(withdrawn=True)
    assert board.outcomes(name()) == [("refused", "no-such-query")]


def test_a_query_that_is_not_approved_gets_nothing(board: Board) -> None:
    board.keep(name())
    board.tell(approvers=("bo",))
    assert board.outcomes(name()) == [("refused", "no-such-query")]


def test_a_query_of_which_no_notice_has_come_gets_nothing(board: Board) -> None:
    board.keep(name())
    assert board.outcomes(name(), query_digest=bytes(32)) == [("refused", "no-such-query")]
    board.answers = StillAnswers(
        "box-1",
        board=s.signing_key("box-1"),
        trust=board.trust,
        standing=lambda: None,
        ring=board.ring,
        now_ms=lambda: board.now_ms,
    )
    assert board.outcomes(name()) == [("refused", "no-such-query")]


def test_a_query_that_asks_for_no_stills_gets_none(board: Board) -> None:
    board.keep(name())
    board.signed = board.ask(asks=Asked(), live=True)
    board.tell()
    assert board.outcomes(name()) == [("refused", "no-such-query")]


def test_a_query_that_is_over_gets_nothing(board: Board) -> None:
    board.keep(name())
    board.now_ms = s.query().not_after_ms
    assert board.outcomes(name()) == [("refused", "no-such-query")]


def test_only_the_querys_cameras_and_quarter_hours_are_answered(board: Board) -> None:
    names = [name(slot=37), name(slot=38), name(slot=43), name(slot=44), name(camera="cam-2")]
    board.keep(*names)
    out = ("refused", "out-of-scope")
    assert board.outcomes(*names) == [out, SENT, SENT, out, out]


def test_of_imported_films_there_are_none(board: Board) -> None:
    board.signed = board.ask(cameras=("cam-1", "cam-film"))
    board.tell()
    assert board.outcomes(name(camera="cam-film")) == [("none", "recording")]


def test_stills_are_sent_at_a_bounded_rate(board: Board) -> None:
    board.signed = board.ask(asks=Asked(evidence_stills=20))
    board.tell()
    board.keep(*(name(number) for number in range(16)))
    names = [name(number) for number in range(16)]
    sent = sum(board.outcomes(*names).count(SENT) for _ in range(STILLS_A_MINUTE // 16))
    assert sent == STILLS_A_MINUTE
    assert board.outcomes(name(0)) == [("later", "too-many")]
    board.now_s += 61
    assert board.outcomes(name(0)) == [SENT]


def test_a_flood_of_requests_is_not_even_read(board: Board) -> None:
    for _ in range(REQUESTS_A_MINUTE):
        with pytest.raises(ProtocolError):
            board.answers.answer(b"junk")
    begin_s = time.perf_counter()
    for _ in range(1000):
        with pytest.raises(TooManyRequests):
            board.answers.answer(board_sized := b"\xff" * 16_384)
    assert len(board_sized) * 1000 / (time.perf_counter() - begin_s) > 1e6, "bytes a second"
    board.now_s += 61
    board.keep(name())
    assert board.outcomes(name()) == [SENT]


def test_hostile_bytes_are_refused_and_answered_by_nothing(board: Board) -> None:
    valid = board.request(name())
    altered = (valid[:at] + bytes([valid[at] ^ 1]) + valid[at + 1 :] for at in range(len(valid)))
    cut = (valid[:size] for size in range(0, len(valid), 7))
    for data in (*altered, *cut, shared_references(), string_references(), bytes(1 << 20)):
        board.now_s += 61
        with pytest.raises(ProtocolError):
            board.answers.answer(data)


def test_what_the_disk_cannot_count_is_not_sent(board: Board) -> None:
    board.keep(name())
    board.ring.close()  # from now on nothing can be read or written
    assert board.outcomes(name()) == [("later", "failed")]


def test_who_has_no_key_to_seal_to_is_refused(tmp_path: Path) -> None:
    directory = with_dan()
    keyless = replace(directory.principals["dan"], seal_key=None)
    board = Board(tmp_path, replace(directory, principals={**directory.principals, "dan": keyless}))
    board.keep(name())
    assert board.outcomes(name(), by="dan")[0][0] == "refused"
    board.ring.close()
