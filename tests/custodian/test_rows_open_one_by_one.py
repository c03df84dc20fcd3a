"""Custodians open single rows for an approved query: counted for good, logged, never too many."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from custodian_site import DAY_MS, Make, Time, make_announcement, opened_log
from hostile_cbor import BOMBS
from rows_asked import RowsAsked, approved, receipts_of, row

from custodian import tally
from custodian.custodian import Custodian
from custodian.errors import GrantFailed
from protocol import errors
from protocol.about_queries import MatcherKey, Withdrawal
from protocol.errors import ProtocolError
from protocol.keytree import DEPTH, META, descend, tree_top
from protocol.names import SightingName, slot_start_ms
from protocol.signing import Signed, sign
from protocol.v2.keys import row_key, row_value
from protocol.v2.release import ROW_REQUEST_KIND, open_row_key
from runtime.database import StorageError
from runtime.merkletable import MerkleTable

CAP = 5
Ready = tuple[Custodian, RowsAsked]


def capped(cap: int = CAP) -> s.Case:
    return approved(q2.query(max_candidates=cap))


def rows(*numbers: int) -> list[SightingName]:
    return [row(number) for number in numbers]


def withdrawn(asked: RowsAsked, officer: str = "ana") -> Signed:
    content = Withdrawal(asked.case.query.digest, "no longer", s.NOW_MS)
    return content.sign(s.signing_key(officer))


def kinds(custodian: Custodian) -> list[str]:
    return [kind for kind, _ in opened_log(custodian)]


@pytest.fixture
def ready(make: Make) -> Ready:
    c1 = make("c1", policy=q2.POLICY_TEXT)
    _, message = make_announcement([c1], version=2)
    return c1, RowsAsked(capped(), [message], rows(1, 2))


def test_two_custodians_open_a_row_and_one_does_not(make: Make) -> None:
    c1, c2 = (make(name, policy=q2.POLICY_TEXT) for name in ("c1", "c2"))
    announcement, message = make_announcement([c1, c2], version=2)
    asked = RowsAsked(capped(), [message], rows(1))
    leaves = [descend(tree_top(root, META, 2), DEPTH, 40).key for root in s.roots()]
    true = row_key(
        [row_value(leaf, row().sighting_id) for leaf in leaves], row().slot_name(s.SITE),
        row().sighting_id,
    )  # fmt: skip
    released = {c.config.name: asked.opened_by(c)[1][row()] for c in (c1, c2)}
    assert open_row_key(announcement, row(), released, true.commitment).key.key == true.key
    del released["c2"]
    with pytest.raises(errors.SharesMissing):
        open_row_key(announcement, row(), released, true.commitment)


def test_what_is_refused_of_one_box_is_not_said_of_another_box_of_its_camera(make: Make) -> None:
    c1 = make("c1", policy=q2.POLICY_TEXT)
    _, opens = make_announcement([c1], version=2)
    _, refused = make_announcement([c1], box="box-2", version=2)  # it has another camera
    asked = RowsAsked(capped(), [opens, refused], [row(1), row(2, generation=9)])
    _, opened = asked.opened_by(c1)
    assert set(opened) == {row(1)}
    left_out = str(opened_log(c1)[-1][1]["left_out"])
    assert "brings no announcement of its generation" in left_out
    assert "box-2" not in left_out


def test_the_entry_stands_in_the_log_where_the_receipt_says_and_tells_no_place(
    ready: Ready,
) -> None:
    c1, asked = ready
    release, _ = asked.opened_by(c1)
    kind, body = opened_log(c1)[release.entry_index]
    assert kind == "rows"
    assert (body["rows"], body["total"], body["digest"]) == (2, 2, release.digest)
    assert body["release_id"] == release.release_id
    assert body["query"] == asked.case.query.to_bytes()
    assert body["approvals"] == [approval.to_bytes() for approval in asked.case.approvals]
    told = {k: v for k, v in body.items() if k not in {"query", "approvals", "matcher_key"}}
    assert "cam-1" not in repr(told)
    assert receipts_of(c1, asked.case) == [release]


def test_no_more_distinct_rows_open_than_the_query_may_have_candidates(ready: Ready) -> None:
    c1, asked = ready
    assert asked.opened_by(c1)[0].total == 2
    asked.rows = rows(3, 4, 5, 6)
    before = c1.log.size
    with pytest.raises(errors.ScopeExceeded, match=r"max_candidates permits 5"):
        asked.opened_by(c1)
    assert kinds(c1)[before:] == ["refusal"]
    asked.rows = rows(3, 4, 5)
    assert asked.opened_by(c1)[0].total == CAP
    with pytest.raises(errors.ScopeExceeded):
        replace(asked, rows=rows(6)).opened_by(c1)
    assert [release.total for release in receipts_of(c1, asked.case)] == [2, 5]


def test_the_same_rows_again_cost_nothing_and_open_for_another_matcher(ready: Ready) -> None:
    c1, asked = ready
    first, values = asked.opened_by(c1)
    asked.rows = rows(1, 2, 3, 4, 5)
    asked.opened_by(c1)
    again = replace(asked, rows=rows(2, 1), matcher=s.sealing_key("another matcher"))
    second, same = again.opened_by(c1)
    assert same == values
    assert (second.rows, second.total) == (2, CAP)
    assert second.digest != first.digest  # another salt


def test_rows_that_were_opened_are_not_answered_without_end(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "MOST_REPEATS", 2)
    c1, asked = ready
    for _ in range(CAP + 2):
        asked.opened_by(c1)
    with pytest.raises(errors.ScopeExceeded, match="asked for again 2 times"):
        asked.opened_by(c1)
    assert len(receipts_of(c1, asked.case)) == CAP + 2
    assert replace(asked, rows=rows(1, 3)).opened_by(c1)[0].total == 3  # what is new still opens


def test_the_count_outlives_restarts(make: Make, ready: Ready) -> None:
    c1, asked = ready
    replace(asked, rows=rows(1, 2, 3, 4)).opened_by(c1)
    c1.close()
    again = make("c1", again=True)
    with pytest.raises(errors.ScopeExceeded):
        replace(asked, rows=rows(5, 6)).opened_by(again)
    assert replace(asked, rows=rows(1, 5)).opened_by(again)[0].total == CAP
    assert [r.total for r in receipts_of(again, asked.case)] == [4, CAP]


def test_each_query_has_a_count_of_its_own(ready: Ready) -> None:
    c1, asked = ready
    replace(asked, rows=rows(1, 2, 3, 4, 5)).opened_by(c1)
    other = replace(asked, case=capped(CAP - 1), rows=rows(1, 2))
    assert other.opened_by(c1)[0].total == 2


def test_many_at_once_open_no_more_than_one_by_one(ready: Ready) -> None:
    c1, asked = ready
    totals: list[int] = []

    def ask(number: int) -> None:
        try:
            totals.append(replace(asked, rows=rows(number)).opened_by(c1)[0].total)
        except errors.ScopeExceeded:
            totals.append(0)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(totals) == [0] * 5 + [1, 2, 3, 4, 5]


@pytest.mark.parametrize("when", ["before the log", "after it"])
def test_a_crash_opens_nothing_and_log_and_count_agree(
    make: Make, ready: Ready, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    class Crash(BaseException):
        """The process ends here."""

    def crash(*_args: object, **_more: object) -> int:
        raise Crash

    c1, asked = ready
    with monkeypatch.context() as patch:
        if when == "before the log":
            patch.setattr(MerkleTable, "append", crash)
        else:
            patch.setattr(type(c1.store), "keep_receipt", crash)
        with pytest.raises(Crash):
            asked.opened_by(c1)
    c1.close()
    again = make("c1", again=True)
    told = [body["total"] for kind, body in opened_log(again) if kind == "rows"]
    assert told == ([] if when == "before the log" else [2])
    assert receipts_of(again, asked.case) == []
    expected = 1 if when == "before the log" else 3
    assert replace(asked, rows=rows(9)).opened_by(again)[0].total == expected


def test_nothing_leaves_while_the_log_cannot_be_written(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    c1, asked = ready

    def full(*_args: object, **_more: object) -> int:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(MerkleTable, "append", full)
        with pytest.raises(StorageError):
            asked.opened_by(c1)
    assert asked.opened_by(c1)[0].total == 2
    assert kinds(c1).count("rows") == 1


def test_what_cannot_be_opened_is_left_out_and_counted_by_its_reason(make: Make) -> None:
    c1 = make("c1", policy=q2.POLICY_TEXT)
    _, second = make_announcement([c1], version=2)
    _, first = make_announcement([c1], generation=2)
    asked = RowsAsked(
        capped(),
        [second, first],
        [
            row(1),
            row(2, slot=37),  # before the window
            row(3, slot=42),  # has not begun
            row(4, generation=2),  # of version 1
            row(5, generation=3),  # not announced
            row(6, camera="cam-2"),
        ],
    )
    release, values = asked.opened_by(c1)
    assert list(values) == [row(1)]
    assert (release.rows, release.total) == (1, 1)
    told = opened_log(c1)[release.entry_index][1]["left_out"]
    assert isinstance(told, list)
    assert sum(count for _, count in told) == 5
    for number in range(1, 6):
        with pytest.raises(errors.ScopeExceeded):
            replace(asked, rows=[asked.rows[number]]).opened_by(c1)


def matcher_key(asked: RowsAsked, signer: str, digest: bytes | None = None) -> bytes:
    made = MatcherKey(digest or asked.case.query.digest, asked.matcher.public, s.NOW_MS)
    return made.sign(s.signing_key(signer)).to_bytes()


Change = Callable[[RowsAsked], RowsAsked]
REFUSALS: dict[str, tuple[Change, type[ProtocolError]]] = {
    "signed by an officer": (
        lambda a: replace(a, signer=s.signing_key("ana")),
        errors.UnknownSigner,
    ),
    "signed by a custodian": (
        lambda a: replace(a, signer=s.signing_key("c2")),
        errors.UnknownSigner,
    ),
    "dated too early": (lambda a: replace(a, now_ms=s.NOW_MS - DAY_MS), errors.ClockSkew),
    "one approval": (
        lambda a: replace(a, case=approved(q2.query(), "bo")),
        errors.ApprovalsMissing,
    ),
    "withdrawn": (lambda a: replace(a, withdrawals=[withdrawn(a)]), errors.QueryWithdrawn),
    "approval withdrawn": (
        lambda a: replace(a, withdrawals=[withdrawn(a, "bo")]),
        errors.QueryWithdrawn,
    ),
    "expired": (
        lambda a: replace(a, case=approved(q2.query(not_after_ms=s.NOW_MS - 1))),
        errors.QueryExpired,
    ),
    "more candidates than the policy permits": (
        lambda a: replace(a, case=approved(q2.query(max_candidates=101))),
        errors.PolicyViolation,
    ),
    "another policy": (
        lambda a: replace(a, case=approved(q2.query(policy_digest=bytes(32)))),
        errors.PolicyMismatch,
    ),
    "no witness": (
        lambda a: replace(a, case=approved(q2.query(subjects=(q2.subject(witnessed=b""),)))),
        errors.EnrolmentNotWitnessed,
    ),
    "another camera": (
        lambda a: replace(a, case=approved(q2.query(cameras=("cam-2",)))),
        errors.ScopeExceeded,
    ),
    "a window that lies ahead": (
        lambda a: replace(
            a,
            case=approved(
                q2.query(
                    window_from_ms=slot_start_ms(s.EPOCH, 44),
                    window_to_ms=slot_start_ms(s.EPOCH, 48),
                )
            ),
        ),
        errors.ScopeExceeded,
    ),
    "matcher's key of a stranger": (
        lambda a: replace(a, matcher_key=matcher_key(a, "ana")),
        errors.UnknownSigner,
    ),
    "matcher's key for another query": (
        lambda a: replace(a, matcher_key=matcher_key(a, "aggregator", bytes(32))),
        errors.ScopeExceeded,
    ),
    "no announcement": (lambda a: replace(a, announcements=[]), errors.MalformedMessage),
    "a row twice": (lambda a: replace(a, rows=[row(), row()]), errors.MalformedMessage),
    "no row": (lambda a: replace(a, rows=[]), errors.MalformedMessage),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_no_row_opens_and_the_refusal_is_logged(ready: Ready, name: str) -> None:
    c1, asked = ready
    change, error = REFUSALS[name]
    before = c1.log.size
    with pytest.raises(error):
        change(asked).opened_by(c1)
    assert set(kinds(c1)[before:]) <= {"refusal", "withdrawal"}
    assert kinds(c1)[-1] == "refusal"
    assert receipts_of(c1, asked.case) == []


@pytest.mark.parametrize("name", BOMBS)
def test_a_request_that_would_grow_is_refused_and_logged(ready: Ready, name: str) -> None:
    c1, asked = ready
    for data in (BOMBS[name], sign(ROW_REQUEST_KIND, BOMBS[name], asked.signer).to_bytes()):
        with pytest.raises(errors.MalformedMessage):
            c1.rows.open(data)
        assert kinds(c1)[-1] == "refusal"


def test_a_withdrawal_that_comes_while_it_is_decided_stops_it(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    c1, asked = ready
    private = type(c1.ring).private

    def late(ring: object, epoch: int) -> object:
        c1.withdrawals.submit(withdrawn(asked).to_bytes(), c1.trust.directory)
        return private(c1.ring, epoch)

    monkeypatch.setattr(type(c1.ring), "private", late)
    with pytest.raises(errors.QueryWithdrawn):
        asked.opened_by(c1)
    assert "rows" not in kinds(c1)


def test_retention_ends_for_rows_too(ready: Ready, time: Time) -> None:
    c1, asked = ready
    time.ms += 15 * DAY_MS
    base = q2.query(live=False)
    later = replace(
        base,
        requested_at_ms=base.requested_at_ms + 15 * DAY_MS,
        not_after_ms=base.not_after_ms + 15 * DAY_MS,
    )
    with pytest.raises(errors.RetentionEnded):
        replace(asked, case=approved(later), now_ms=time.ms).opened_by(c1)


def test_a_fault_of_its_own_opens_nothing_and_tells_nothing(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    c1, asked = ready

    def broken(*_args: object, **_more: object) -> bytes:
        raise RuntimeError("a secret")

    monkeypatch.setattr("custodian.rows.seal_rows", broken)
    with pytest.raises(GrantFailed) as failed:
        asked.opened_by(c1)
    assert "secret" not in str(failed.value)
    assert opened_log(c1)[-1][1]["reason"] == "custodian-failed: RuntimeError"


def test_its_disk_tells_no_row_that_was_opened(ready: Ready) -> None:
    c1, asked = ready
    asked.rows = [row(1, sighting_id=s.fixed("somebody", 8))]
    asked.opened_by(c1)
    c1.close()
    files = [path for path in c1.config.state_dir.iterdir() if path.is_file()]
    assert files
    for path in files:
        assert s.fixed("somebody", 8) not in path.read_bytes()


def test_receipts_come_in_pages(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    c1, asked = ready
    made = [replace(asked, rows=rows(number)).opened_by(c1)[0] for number in range(3)]
    monkeypatch.setattr("custodian.rows.MAX_RECEIPTS_BYTES", 1)
    assert receipts_of(c1, asked.case) == made[:1]
    assert receipts_of(c1, asked.case, from_entry=made[0].entry_index + 1) == made[1:2]
    assert receipts_of(c1, asked.case, from_entry=made[2].entry_index + 1) == []


@pytest.mark.parametrize("cap", [1, 4, 5])
def test_an_aggregator_that_lies_opens_at_most_n_cap_over_m_rows(make: Make, cap: int) -> None:
    """Each row takes the answers of 2 of 3 custodians: it shares out what each opens at most."""
    custodians = [make(name, policy=q2.POLICY_TEXT) for name in s.CUSTODIANS]
    _, message = make_announcement(custodians, version=2)
    case = capped(cap)
    answers: dict[SightingName, int] = {}
    used = dict.fromkeys(s.CUSTODIANS, 0)
    for number in range(3 * cap):
        # The best it can do: of each row it asks the two that have opened fewest.
        for custodian in sorted(custodians, key=lambda c: used[c.config.name])[:2]:
            try:
                RowsAsked(case, [message], rows(number)).opened_by(custodian)
            except errors.ScopeExceeded:
                continue
            used[custodian.config.name] += 1
            answers[row(number)] = answers.get(row(number), 0) + 1
    opened = sum(count >= 2 for count in answers.values())
    assert opened == 3 * cap // 2
