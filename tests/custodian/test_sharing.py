"""A day's keys are opened only if its board shared them as the site's directory said then."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from custodian_site import DAY_MS, Asked, Make, Time, approved, make_announcement, read_grant

from custodian.custodian import Custodian
from protocol import hpke
from protocol.directory import CUSTODIAN, Directory
from protocol.epoch import SealedShare, share_context
from protocol.errors import ClockSkew, ShareInvalid
from protocol.names import epoch_of
from protocol.sharing import LARGEST_DELAY_MS, LARGEST_LEAD_MS


def asked(message: bytes, now_ms: int = s.NOW_MS) -> Asked:
    day_ms = epoch_of(now_ms) * DAY_MS
    case = approved(now_ms, window_from_ms=day_ms, window_to_ms=day_ms + DAY_MS // 4, live=False)
    return Asked(case, [message], now_ms)


def grants(custodian: Custodian, message: bytes, now_ms: int = s.NOW_MS) -> int:
    """Return how many scopes a custodian grants."""
    data = custodian.granter.grant(asked(message, now_ms).to_bytes())
    return len(read_grant(data, custodian.config.name).scopes)


def put(custodian: Custodian, directory: Directory) -> None:
    assert custodian.accept_directory(directory.sign(s.authority()).to_bytes())


def with_threshold(directory: Directory, threshold: int, *, at_ms: int) -> Directory:
    changed = directory.next_version(directory.principals, at_ms=at_ms)
    return replace(changed, threshold=threshold)


@pytest.mark.parametrize(
    ("threshold", "among"),
    [
        (1, ("c1",)),
        (1, s.CUSTODIANS),
        (2, ("c1", "c2")),
        (3, s.CUSTODIANS),
        (2, ("c1", "mallory")),
        (2, ("c1", "c2", "mallory")),
        (2, ("c1", "c2", "c3", "mallory")),
        (2, ("c1", "box-1", "eve")),
    ],
)
def test_a_board_that_shares_otherwise_than_the_directory_says_opens_nothing(
    make: Make, threshold: int, among: tuple[str, ...]
) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1, make("c2")], threshold=threshold, among=among)
    with pytest.raises(ShareInvalid, match="no directory"):
        grants(c1, message)


def test_one_root_given_out_for_all_opens_nothing_to_one_custodian_alone(make: Make) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1], roots=[bytes(32)] * 3)
    with pytest.raises(ShareInvalid, match="one root twice"):
        grants(c1, message)


def test_two_shares_sealed_to_one_key_open_nothing(make: Make) -> None:
    c1 = make("c1")
    announced, _ = make_announcement([c1])
    key = c1.ring.private(s.EPOCH).public
    context = share_context(announced.address, s.EPOCH, announced.generation, "c3")
    stolen = SealedShare(
        key.key_id, key.seal(b"".join(s.roots()[:2]), purpose="epoch-share", context=context)
    )
    twice = replace(announced, shares={**announced.shares, "c3": stolen})
    with pytest.raises(ShareInvalid, match="one key"):
        grants(c1, twice.sign(s.signing_key("box-1")).to_bytes())


def test_a_share_sealed_to_a_key_that_is_not_ours_opens_nothing(make: Make) -> None:
    c1 = make("c1")
    announced, _ = make_announcement([c1])
    other = hpke.PrivateKey.generate().public
    shares = {**announced.shares, "c1": SealedShare(other.key_id, announced.shares["c1"].sealed)}
    with pytest.raises(ShareInvalid, match="day key"):
        grants(c1, replace(announced, shares=shares).sign(s.signing_key("box-1")).to_bytes())


def test_too_few_shares_to_ever_open_are_refused(make: Make) -> None:
    c1 = make("c1")
    announced, _ = make_announcement([c1])
    alone = replace(announced, shares={"c1": announced.shares["c1"]})
    with pytest.raises(ShareInvalid, match="2 are needed"):
        grants(c1, alone.sign(s.signing_key("box-1")).to_bytes())


def test_a_custodian_whose_day_key_the_board_lacked_keeps_nothing_closed(make: Make) -> None:
    c1 = make("c1")
    announced, message = make_announcement([c1])
    assert sorted(announced.shares) == ["c1", "c3"]
    assert grants(c1, message) == 1


def test_an_announcement_dated_ahead_or_long_before_its_day_is_refused(
    make: Make, time: Time
) -> None:
    c1 = make("c1")
    board = s.signing_key("box-1")
    announced, _ = make_announcement([c1])

    def dated(at_ms: int) -> bytes:
        return replace(announced, announced_at_ms=at_ms).sign(board).to_bytes()

    for at_ms in (s.NOW_MS + LARGEST_LEAD_MS, (s.EPOCH - 1) * DAY_MS):
        assert grants(c1, dated(at_ms)) == 1
    for at_ms in (s.NOW_MS + LARGEST_LEAD_MS + 1, (s.EPOCH - 1) * DAY_MS - 1):
        with pytest.raises(ClockSkew):
            grants(c1, dated(at_ms))


def test_what_was_announced_before_the_directory_changed_still_opens(
    make: Make, time: Time
) -> None:
    c1, c2 = make("c1"), make("c2")
    _, before = make_announcement([c1])
    put(c1, s.directory().revoke("c3", at_ms=s.NOW_MS))
    assert grants(c1, before) == 1
    _, after = make_announcement([c1, c2], among=("c1", "c2"), generation=2)
    assert grants(c1, after) == 1
    with pytest.raises(ShareInvalid):
        grants(c2, after)  # which has not heard of that directory
    c1.close()
    c1 = make("c1", again=True)  # and it remembers both
    assert grants(c1, before) == 1


def test_a_board_that_missed_a_directory_may_go_by_the_former_one_for_eight_days_only(
    make: Make, time: Time
) -> None:
    c1, c2 = make("c1"), make("c2")
    put(c1, with_threshold(s.directory(), 3, at_ms=s.NOW_MS))
    changed_ms = time.ms
    for late_ms, opens in ((LARGEST_DELAY_MS, True), (LARGEST_DELAY_MS + DAY_MS, False)):
        time.ms = changed_ms + late_ms
        c1.rounds.go()
        _, stale = make_announcement([c1], now_ms=time.ms)
        if opens:
            assert grants(c1, stale, time.ms) == 1
        else:
            with pytest.raises(ShareInvalid):
                grants(c1, stale, time.ms)
        c2.rounds.go()
        _, right = make_announcement([c1, c2], now_ms=time.ms, threshold=3)
        assert grants(c1, right, time.ms) == 1


def test_a_directory_that_comes_back_to_a_former_rule_is_in_force(make: Make, time: Time) -> None:
    c1 = make("c1")
    three = with_threshold(s.directory(), 3, at_ms=s.NOW_MS)
    put(c1, three)
    put(c1, with_threshold(three, 2, at_ms=s.NOW_MS))
    time.ms += 2 * LARGEST_DELAY_MS
    c1.rounds.go()
    _, message = make_announcement([c1], now_ms=time.ms)
    assert grants(c1, message, time.ms) == 1


def test_the_database_of_the_former_version_goes_by_the_directory_in_force(
    make: Make, time: Time
) -> None:
    c1 = make("c1")
    with c1.store._lock:
        for table in ("directories", "opened", "receipts", "readers", "box_rights"):
            c1.store._db.conn.execute(f"DROP TABLE {table}")
        c1.store._db.conn.execute("PRAGMA user_version = 1")
    c1.close()
    c1 = make("c1", again=True)
    _, message = make_announcement([c1])
    assert grants(c1, message) == 1
    _, alone = make_announcement([c1], threshold=1, among=("c1",), generation=2)
    with pytest.raises(ShareInvalid):
        grants(c1, alone)


def test_a_kept_directory_that_the_authority_did_not_sign_allows_nothing(make: Make) -> None:
    c1 = make("c1")
    forged = with_threshold(s.directory(), 1, at_ms=s.NOW_MS).sign(s.signing_key("ana"))
    c1.store.add_directory(2, forged.to_bytes(), now_ms=s.NOW_MS)
    c1.close()
    c1 = make("c1", again=True)
    _, message = make_announcement([c1], threshold=1)
    with pytest.raises(ShareInvalid):
        grants(c1, message)


def test_a_new_custodian_opens_what_is_shared_with_it_too(make: Make) -> None:
    c1 = make("c1")
    principals = {**s.directory().principals, "c4": s.principal("c4", CUSTODIAN)}
    put(c1, s.directory().next_version(principals, at_ms=s.NOW_MS))
    _, message = make_announcement([c1], among=(*s.CUSTODIANS, "c4"))
    assert grants(c1, message) == 1
