"""What was found in version 2 opens once m custodians agree; who lies or is away spoils nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from sqlite3 import IntegrityError

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from row_desk import RowDesk, Spoil, found_as, founds_of, name_of, says
from store_file import altering
from throwaway_ca import ThrowawayCa

from protocol.names import SLOT_MS, SightingName
from protocol.results import Candidate
from protocol.sealing import LIVE_ENVELOPE
from protocol.v2.release import digest_of

CAP = 6


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[RowDesk]:
    one = RowDesk(tmp_path, monkeypatch, ca, max_candidates=CAP)
    yield one
    one.close()


def who(candidates: list[Candidate]) -> list[bytes]:
    return [candidate.sighting_id for candidate in candidates]


def ids(*people: str) -> list[bytes]:
    return [name_of(one).sighting_id for one in people]


def requests(desk: RowDesk) -> int:
    return sum(len(asked) for asked in desk.asked.values())


def test_what_is_found_opens_and_is_sealed_to_who_asked_and_who_confirms(desk: RowDesk) -> None:
    desk.open(founds_of("one", "two"))
    for officer in ("ana", "bea"):
        one, two = desk.candidates(officer)
        assert {one.sighting_id, two.sighting_id} == set(ids("one", "two"))
        assert one.row == v2.sighting("one").row
        assert one.episode == v2.sighting("one").episode
        assert (one.score, one.impossible, one.name) == (0.9, None, name_of("one"))
    assert desk.candidates("cleo") == []
    assert desk.openings("cleo") == []


def test_every_row_that_opened_stands_under_the_custodians_receipts(desk: RowDesk) -> None:
    desk.open(founds_of("one", "two"))
    (opening,) = desk.openings("bea")
    assert set(opening.rows) == {name_of("one"), name_of("two")}
    assert len(opening.receipts) >= 2
    for custodian, (_, salt) in opening.receipts.items():
        (receipt,) = desk.receipts(custodian)
        assert receipt.digest == digest_of(salt, opening.rows)
        assert (receipt.rows, receipt.total) == (2, 2)
    (told,) = desk.logged("opened-rows")
    assert (told["rows"], told["candidates"]) == (2, 2)
    assert len(told["release_ids"]) == len(opening.receipts)  # type: ignore[arg-type]
    assert desk.record.progress == {"rows": 2, "candidates": 2}


def test_a_row_that_was_opened_is_not_asked_for_again(desk: RowDesk) -> None:
    desk.open(founds_of("one", kind=LIVE_ENVELOPE), more_may_come=True)
    asked = requests(desk)
    desk.open(founds_of("one"))
    desk.later()
    desk.open()
    assert requests(desk) == asked
    assert who(desk.candidates()) == ids("one")
    assert len(desk.openings()) == 1


def test_who_is_found_again_for_another_subject_costs_no_request(desk: RowDesk) -> None:
    desk.open(founds_of("one"))
    asked = requests(desk)
    desk.open(founds_of("one", subject="P-18"))
    assert requests(desk) == asked
    assert [one.subject for one in desk.candidates()] == ["P-17", "P-18"]


def test_a_better_score_takes_the_place_of_a_worse_one(desk: RowDesk) -> None:
    through = ids("two")[0]
    found = founds_of("one", score=None, through=through) + founds_of("two", score=0.7)
    desk.open(found)
    assert {c.sighting_id: c.score for c in desk.candidates()} == dict(
        zip(ids("one", "two"), [None, 0.7], strict=True)
    )
    desk.open(founds_of("one", score=0.8) + founds_of("two", score=0.6))
    assert {c.sighting_id: c.score for c in desk.candidates("bea")} == dict(
        zip(ids("one", "two"), [0.8, 0.7], strict=True)
    )


def test_contacts_are_not_told_unless_they_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa
) -> None:
    desk = RowDesk(tmp_path, monkeypatch, ca, contacts=False)
    try:
        desk.open(founds_of("one"))
        (one,) = desk.candidates()
        assert one.row == replace(v2.sighting("one").row, encounters=())
    finally:
        desk.close()


def test_what_cannot_be_true_is_shown_with_the_reason(desk: RowDesk) -> None:
    true = v2.sighting("one")
    later_ms = s.NOW_MS + SLOT_MS
    row = replace(true.row, first_ms=later_ms, last_ms=later_ms, masks=(), encounters=())
    desk.open([found_as(replace(true, row=row))])
    (one,) = desk.candidates()
    assert one.impossible == "it ends outside of its slot"
    assert desk.record.progress["lying.cam-1"] == 1


def test_a_row_that_does_not_open_is_shown_for_it_was_released(desk: RowDesk) -> None:
    (one,) = founds_of("one")
    cut = one.sealed[:-1] + bytes([one.sealed[-1] ^ 1])
    other = bytes(32) + one.sealed[32:]
    desk.open([replace(one, sealed=cut), replace(one, sealed=other, subject="P-18")])
    spoilt, keyless = desk.candidates()
    assert "does not open" in str(spoilt.impossible)
    assert "does not open" in str(keyless.impossible)
    assert not desk.accused, "all said the same, so nobody lied"


def other_value(values: dict[SightingName, dict[int, bytes]]) -> None:
    for of_row in values.values():
        of_row[max(of_row)] = s.fixed("lie", 32)


def other_rows(values: dict[SightingName, dict[int, bytes]]) -> None:
    name, of_row = values.popitem()
    values[replace(name, sighting_id=b"somebody")] = of_row


def more_rows(values: dict[SightingName, dict[int, bytes]]) -> None:
    name, of_row = next(iter(values.items()))
    values[replace(name, sighting_id=b"somebody")] = of_row


def other_roots(values: dict[SightingName, dict[int, bytes]]) -> None:
    for of_row in values.values():
        of_row[17] = of_row.pop(min(of_row))


def nothing(_values: object) -> None:
    """Change nothing."""


LIES: dict[str, Spoil] = {
    "another value": says(other_value),
    "another row": says(other_rows),
    "a row too many": says(more_rows),
    "roots that it cannot have": says(other_roots),
    "what does not open": says(nothing, sealed=b"x" * 500),
    "rows of another query": says(nothing, query_digest=bytes(32)),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("liar", ["c1", "c3"])
def test_one_that_lies_keeps_nothing_closed_and_is_named(
    desk: RowDesk, lie: str, liar: str
) -> None:
    desk.spoils[liar] = LIES[lie]
    desk.open(founds_of("one"))
    assert [c.row for c in desk.candidates()] == [v2.sighting("one").row]
    assert {refusal.custodian for refusal in desk.accused} == {liar}


def test_an_old_release_is_not_taken_again(desk: RowDesk) -> None:
    desk.spoils["c1"] = says(nothing, release_id=b"one and the same")
    desk.open(founds_of("one"), more_may_come=True)
    assert not desk.accused
    desk.open(founds_of("two"))
    assert {refusal.custodian for refusal in desk.accused} == {"c1"}
    assert who(desk.candidates()) == ids("one", "two")


def test_with_too_few_custodians_hits_wait_and_open_when_one_comes_back(desk: RowDesk) -> None:
    desk.down = {"c1", "c3"}
    desk.open(founds_of("one", "two"))
    assert desk.candidates() == []
    words = desk.run.rows.words()
    assert words.startswith("2 hits wait for custodian c1, c3")
    assert "nobody there" in words
    desk.open()
    assert len(desk.asked["c2"]) == 1
    desk.later()
    assert desk.run.rows.is_due(desk.monotonic_s)
    desk.open()
    assert len(desk.asked["c2"]) == 1, "who has answered is not asked again"
    desk.down = {"c1"}
    desk.later()
    desk.open()
    assert set(who(desk.candidates())) == set(ids("one", "two"))
    assert len(desk.asked["c2"]) == 1
    assert desk.run.rows.words() == ""
    assert not desk.run.rows.is_due(desk.monotonic_s + 3600)
    assert [set(o.rows) for o in desk.openings()] == [{name_of("one"), name_of("two")}] * 2
    assert sum(int(str(told["rows"])) for told in desk.logged("opened-rows")) == 2


def test_values_that_contradict_each_other_wait_for_the_silent_custodian(desk: RowDesk) -> None:
    desk.down, desk.spoils["c3"] = {"c1"}, says(other_value)
    desk.open(founds_of("one"))
    (closed,) = desk.candidates()
    assert "does not open" in str(closed.impossible), "two sign for it, so it is shown"
    assert not desk.accused, "of two that differ nobody knows who lies"
    desk.later()
    desk.open()
    assert desk.run.rows.words().startswith("1 hit waits for custodian c1")
    desk.down = set()
    desk.later()
    desk.open()
    (one,) = desk.candidates("bea")
    assert (one.row, one.impossible) == (v2.sighting("one").row, None)
    assert {refusal.custodian for refusal in desk.accused} == {"c3"}


def test_a_refusal_is_told_and_what_stays_closed_is_given_up(desk: RowDesk) -> None:
    outside = replace(name_of("one"), slot=s.SLOT + 20)
    (one,) = founds_of("one")
    for _ in range(4):
        desk.open([replace(one, name=outside)])
        desk.later()
    assert desk.candidates() == []
    assert not desk.run.rows.waiting
    closed = desk.run.rows.words_of_closed()
    assert closed.startswith("what is known of 1 hit stayed closed")
    assert "slot is not covered" in closed
    assert {len(asked) for asked in desk.asked.values()} == {3}, "a clock may be behind: not more"


def test_no_more_rows_are_asked_for_than_the_query_may_bring(desk: RowDesk) -> None:
    desk.open(founds_of(*(f"person {n}" for n in range(CAP - 2))), more_may_come=False)
    desk.open(founds_of(*(f"other {n}" for n in range(CAP))))
    rows = {row for request in desk.asked["c1"] for row in request.rows}
    assert len(rows) == CAP
    assert len(desk.candidates()) == CAP
    assert desk.record.progress["dropped"] == desk.record.progress["left_out.cam-1"] == CAP - 2


def test_after_a_restart_what_was_opened_is_known_and_counts(desk: RowDesk) -> None:
    desk.open(founds_of(*(f"person {n}" for n in range(CAP - 1))))
    asked = requests(desk)
    desk.begin()
    desk.open(founds_of(*(f"person {n}" for n in range(CAP - 1))))
    assert requests(desk) == asked
    desk.open(founds_of(*(f"other {n}" for n in range(3))))
    assert len(desk.candidates()) == CAP
    assert desk.record.progress["rows"] == CAP


@pytest.mark.slow
def test_hits_that_waited_when_the_process_ended_open_after_it(desk: RowDesk) -> None:
    people = [f"person {n}" for n in range(CAP)]
    desk.down = {"c1", "c3"}
    desk.open(founds_of(*people))
    desk.down = set()
    desk.begin()
    desk.open(founds_of(*people))
    assert set(who(desk.candidates())) == set(ids(*people))


def test_what_opened_while_the_disk_was_full_is_kept_later(desk: RowDesk) -> None:
    with altering(desk.store) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON results"
            " BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    with pytest.raises(IntegrityError):
        desk.open(founds_of("one"))
    assert (desk.candidates(), desk.openings()) == ([], [])
    with altering(desk.store) as connection:
        connection.execute("DROP TRIGGER refuse")
    asked = requests(desk)
    desk.open()
    assert requests(desk) == asked
    assert who(desk.candidates()) == ids("one")
    assert len(desk.openings()) == len(desk.logged("opened-rows")) == 1


def test_nothing_of_a_row_lies_on_the_disk_in_the_plain(desk: RowDesk) -> None:
    desk.open(founds_of("one"))
    sighting = v2.sighting("one")
    secrets = [sighting.sighting_id, sighting.episode, sighting.row.to_bytes()]
    files = [path for path in desk.database.parent.glob("a*.db*") if path.is_file()]
    data = b"".join(path.read_bytes() for path in files)
    assert desk.case.query.to_bytes()[-32:] in data, "what is in the plain would be seen"
    assert [secret for secret in secrets if secret in data] == []
