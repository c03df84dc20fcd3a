"""Day keys are made ahead, survive restarts, and are destroyed on time; a leap destroys none."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from custodian_site import (
    CHEAP,
    DAY_MS,
    HOUR_MS,
    PASSPHRASE,
    Asked,
    Make,
    Time,
    approved,
    day_keys_of,
    make_announcement,
    opened_log,
    read_grant,
)
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from custodian.clock import confirm
from custodian.errors import KeyStoreError
from custodian.keystore import PURPOSE, KeyRing
from protocol.auditlog import Entry
from protocol.directory import Directory
from protocol.encoding import encode
from protocol.errors import RetentionEnded, ShareInvalid
from protocol.names import slot_start_ms
from protocol.policy import sign_policy
from runtime.keyfiles import KeyFileError, WrongPassphrase, read_secret, write_secret
from runtime.merkletable import MerkleTable

TODAY = s.EPOCH


def ring(path: Path, **changes: object) -> KeyRing:
    how = {"site": "vectors", "custodian": "c1", "cost": CHEAP} | changes
    return KeyRing.open(path, how.pop("passphrase", PASSPHRASE), **how)  # type: ignore[arg-type]


def test_keys_from_yesterday_to_days_ahead_are_published(make: Make) -> None:
    c1 = make("c1", extra="days_ahead = 3")
    assert sorted(day_keys_of(c1)) == list(range(TODAY - 1, TODAY + 4))
    assert ("day-keys-issued", {"epochs": list(range(TODAY - 14, TODAY + 4))}) in opened_log(c1)


@pytest.mark.parametrize("kind", ["day-keys-issued", "day-key-destroyed"])
def test_a_crash_before_the_log_is_written_hides_no_key(
    make: Make, time: Time, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    class Crash(BaseException):
        """The process ends here."""

    append = MerkleTable.append

    def crash(self: MerkleTable, data: bytes, *more: bool) -> int:
        if Entry.parse(data).kind == kind:
            raise Crash
        return int(append(self, data, *more))

    c1 = make("c1")
    time.ms += DAY_MS
    if kind == "day-key-destroyed":
        for _ in range(15):
            c1.rounds.go()
            time.ms += DAY_MS
    with monkeypatch.context() as patch:
        patch.setattr(MerkleTable, "append", crash)
        with pytest.raises(Crash):
            c1.rounds.go()
    c1.close()
    again = make("c1", again=True)
    logged = opened_log(again)
    made: list[int] = []
    for entry, body in logged:
        if entry == "day-keys-issued":
            assert isinstance(body["epochs"], list)
            made += body["epochs"]
    gone = [body["epoch"] for k, body in logged if k == "day-key-destroyed"]
    assert len(set(made)) == len(made)
    assert sorted(set(made) - set(gone)) == again.ring.epochs()


def test_the_announcement_stays_the_same_until_the_keys_change(make: Make, time: Time) -> None:
    c1 = make("c1")
    first = c1.rounds.day_keys
    time.ms += HOUR_MS
    c1.rounds.go()
    assert c1.rounds.day_keys == first
    time.ms += DAY_MS
    c1.rounds.go()
    assert c1.rounds.day_keys != first
    assert max(day_keys_of(c1)) == TODAY + 8


@pytest.mark.slow
def test_a_clock_that_had_leapt_to_and_fro_pushes_no_present_day_out(
    make: Make, time: Time
) -> None:
    c1 = make("c1")
    before = c1.rounds.day_keys
    for leap in range(1, 61):
        time.set_by = leap * 100 * DAY_MS
        c1.rounds.go()
        time.set_by = 0
    c1.rounds.go()
    assert sorted(day_keys_of(c1)) == list(range(TODAY - 1, TODAY + 8))
    assert c1.rounds.day_keys == before
    assert len(c1.ring.epochs()) > 512
    c1.close()
    assert sorted(day_keys_of(make("c1", again=True))) == list(range(TODAY - 1, TODAY + 8))


def test_keys_survive_a_restart(make: Make) -> None:
    c1 = make("c1")
    before = {epoch: key.raw for epoch, key in day_keys_of(c1).items()}
    c1.close()
    assert {e: k.raw for e, k in day_keys_of(make("c1", again=True)).items()} == before


def test_a_day_is_destroyed_when_its_retention_ends(make: Make, time: Time, tmp_path: Path) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    for _ in range(15):
        time.ms += DAY_MS
        c1.rounds.go()
    assert c1.ring.epochs()[0] == TODAY + 1
    assert [body for kind, body in opened_log(c1) if kind == "day-key-destroyed"] == [
        {"epoch": epoch} for epoch in range(TODAY - 14, TODAY + 1)
    ]
    with pytest.raises(RetentionEnded):
        c1.ring.private(TODAY)
    assert min(day_keys_of(c1, form=2)) == TODAY + 1
    # The clock of a thief does not help: the key is gone, whatever time it is.
    time.set_by = s.NOW_MS - time.ms
    confirm(c1.store, now_ms=s.NOW_MS)
    c1.rounds.go()
    assert c1.clock.now_ms() == s.NOW_MS
    with pytest.raises(RetentionEnded):
        c1.granter.grant(Asked(approved(s.NOW_MS), [message], s.NOW_MS).to_bytes())
    assert TODAY not in c1.ring.epochs()


def test_a_destroyed_key_leaves_no_copy_behind(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keys = ring(path)
    keys.make([10, 11])
    hold = os.open(path, os.O_RDONLY)  # the old file's content, reachable after its removal
    try:
        old = os.read(hold, 1 << 20)
        keys.destroy_before(11)
        os.lseek(hold, 0, os.SEEK_SET)
        left = os.read(hold, 1 << 20)
        assert len(left) == len(old)
        assert left != old
        assert b"SEALTRACE" not in left
    finally:
        os.close(hold)
    assert [p.name for p in tmp_path.iterdir()] == ["keys"]
    assert ring(path).epochs() == [11]
    assert keys.make([10]) == []
    assert ring(path).destroyed_before == 11


def test_every_writing_has_a_fresh_salt_and_nonce(tmp_path: Path) -> None:
    keys = ring(tmp_path / "keys")
    seen = set()
    for epoch in range(5):
        keys.make([epoch])
        lines = (tmp_path / "keys").read_text().splitlines()
        seen.add((lines[4], lines[5]))
    assert len(seen) == 5


def test_a_writing_that_was_cut_short_is_finished_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keys = ring(path)
    keys.make([1])
    os.link(path, tmp_path / "keys.former")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    assert ring(path).epochs() == [1]
    assert not (tmp_path / "keys.former").exists()


def test_no_key_stands_plain_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keys = ring(path)
    keys.make([1])
    seed = keys.private(1).seed
    assert seed in read_secret(path, PASSPHRASE, PURPOSE)
    assert seed not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_another_passphrase_custodian_or_version(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    ring(path)
    with pytest.raises(WrongPassphrase):
        ring(path, passphrase=b"something else")
    with pytest.raises(KeyStoreError, match="belongs to custodian 'c1'"):
        ring(path, custodian="c2")
    with pytest.raises(KeyStoreError, match="newer version"):
        newer = encode({"schema": 2})
        write_secret(path, newer, PASSPHRASE, PURPOSE, overwrite=True, cost=CHEAP)
        ring(path)


@given(st.binary(max_size=200))
@settings(max_examples=examples(30), deadline=None)
def test_a_damaged_key_file_is_told_from_a_key_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "keys"
    path.write_bytes(data)
    with pytest.raises(KeyFileError):
        ring(path)
    write_secret(path, data, PASSPHRASE, PURPOSE, overwrite=True, cost=CHEAP)
    with pytest.raises(KeyStoreError):
        ring(path)


def test_a_day_that_never_had_a_key(tmp_path: Path) -> None:
    with pytest.raises(ShareInvalid):
        ring(tmp_path / "keys").private(7)


def test_a_destruction_that_was_not_logged_is_logged_at_the_next_start(
    make: Make, time: Time
) -> None:
    c1 = make("c1")
    # As after a crash between destroying and logging.
    c1.store.set_fact("destroying", f"[{TODAY - 1}]")
    c1.ring.destroy_before(TODAY)
    c1.close()
    c1 = make("c1", again=True)
    assert ("day-key-destroyed", {"epoch": TODAY - 1}) in opened_log(c1)
    c1.rounds.go()
    assert [kind for kind, _ in opened_log(c1)].count("day-key-destroyed") == 1


def test_a_destruction_that_was_noted_and_did_not_happen_is_not_logged(make: Make) -> None:
    c1 = make("c1")
    c1.store.set_fact("destroying", f"[{TODAY}]")
    c1.close()
    c1 = make("c1", again=True)
    assert "day-key-destroyed" not in [kind for kind, _ in opened_log(c1)]


def test_a_new_custodian_has_keys_for_past_days_within_retention(make: Make) -> None:
    c1 = make("c1")
    assert sorted(day_keys_of(c1, form=2)) == list(range(TODAY - 14, TODAY + 8))
    assert sorted(day_keys_of(c1)) == list(range(TODAY - 1, TODAY + 8))
    for epoch, key in day_keys_of(c1).items():
        assert day_keys_of(c1, form=2)[epoch] == key


def test_keys_of_past_days_are_destroyed_on_the_date_of_all_others(make: Make, time: Time) -> None:
    c1 = make("c1")
    for day in range(4):
        time.ms = (TODAY + day) * DAY_MS + 60_000  # the first round of the day
        c1.rounds.go()
        assert c1.ring.epochs()[0] == TODAY + day - 14


def test_a_key_made_within_the_last_day_of_its_retention_goes_with_that_day(
    make: Make, time: Time
) -> None:
    midnight_ms = (TODAY + 1) * DAY_MS
    time.ms = midnight_ms - 2 * HOUR_MS
    c1 = make("c1")
    oldest = TODAY - 14
    assert c1.rounds.waiting == {oldest: 2 * HOUR_MS}
    time.ms = midnight_ms - 60_000
    c1.rounds.go()
    assert c1.ring.epochs()[0] == oldest
    time.ms = midnight_ms
    c1.rounds.go()
    assert c1.ring.epochs()[0] == oldest + 1


def test_a_machine_that_was_off_over_midnight_still_waits_out_what_was_left_of_that_day(
    make: Make, time: Time
) -> None:
    time.ms = (TODAY + 1) * DAY_MS - 2 * HOUR_MS
    make("c1").close()
    time.restart(off_ms=3 * HOUR_MS)
    c1 = make("c1", again=True)
    for party in ("aggregator", "c2"):
        c1.clock.heard(party, time.ms)
    c1.rounds.go()
    assert c1.clock.believed_ms == time.ms
    assert c1.rounds.waiting[TODAY - 14] == 2 * HOUR_MS
    time.ms += 2 * HOUR_MS
    c1.rounds.go()
    assert c1.ring.epochs()[0] == TODAY - 13


@pytest.mark.parametrize("days", [1, 14, 60])
def test_every_day_that_a_policy_keeps_can_be_sealed_to(make: Make, time: Time, days: int) -> None:
    kept = s.POLICY_TEXT.replace(b"retention_days = 14", b"retention_days = %d" % days)
    for name, minute in (("c1", 0), ("c2", 24 * 60 - 1)):
        time.ms = TODAY * DAY_MS + minute * 60_000
        custodian = make(name, policy=kept)
        assert sorted(day_keys_of(custodian, form=2)) == list(range(TODAY - days, TODAY + 8))


def test_a_day_whose_key_was_destroyed_gets_no_new_one(
    make: Make, time: Time, tmp_path: Path
) -> None:
    longer = s.POLICY_TEXT.replace(b"version = 1", b"version = 2").replace(
        b"retention_days = 14", b"retention_days = 30"
    )
    c1 = make("c1")
    for _ in range(3):
        time.ms += DAY_MS
        c1.rounds.go()
    first = c1.ring.epochs()[0]
    assert first == TODAY - 11
    (tmp_path / "c1/policy.toml").write_bytes(longer)
    (tmp_path / "c1/policy.toml.sig").write_bytes(sign_policy(longer, s.authority()))
    c1.reload()
    c1.rounds.go()
    assert c1.ring.epochs()[0] == first
    assert c1.ring.destroyed_before == first
    with pytest.raises(RetentionEnded):
        c1.ring.private(first - 1)


def test_a_key_file_that_was_lost_brings_no_destroyed_day_back(
    make: Make, time: Time, tmp_path: Path
) -> None:
    c1 = make("c1")
    for _ in range(3):
        time.ms += DAY_MS
        c1.rounds.go()
    first = c1.ring.epochs()[0]
    c1.close()
    c1.config.key_file.unlink()
    longer = s.POLICY_TEXT.replace(b"retention_days = 14", b"retention_days = 30")
    (tmp_path / "c1/policy.toml").write_bytes(longer)
    (tmp_path / "c1/policy.toml.sig").write_bytes(sign_policy(longer, s.authority()))
    again = make("c1", again=True)
    again.rounds.go()
    assert again.ring.epochs()[0] == first


def test_no_past_days_are_made_while_the_time_is_in_doubt(make: Make, time: Time) -> None:
    c1 = make("c1")
    time.set_by = 100 * DAY_MS
    c1.rounds.go()
    assert c1.clock.in_doubt
    leapt = [epoch for epoch in c1.ring.epochs() if epoch > TODAY + 10]
    assert leapt == list(range(TODAY + 99, TODAY + 108))


def test_a_custodian_of_the_former_version_makes_what_it_lacks(make: Make, time: Time) -> None:
    c1 = make("c1")
    c1.ring.destroy_before(TODAY - 3)
    c1.close()
    time.ms += 20 * DAY_MS  # it was off, and its keys ahead ran out
    c1 = make("c1", again=True)
    time.ms += DAY_MS
    c1.rounds.go()
    today = TODAY + 21
    assert set(range(today - 14, today + 8)) <= set(c1.ring.epochs())


def test_a_recording_of_a_past_day_opens_by_the_key_made_for_that_day(make: Make) -> None:
    c1, c2 = make("c1", directory=importing()), make("c2", directory=importing())
    _, message = make_announcement([c1, c2], epoch=TODAY - 14, version=2, origin="recorded")
    day = TODAY - 14
    case = approved(
        s.NOW_MS,
        window_from_ms=slot_start_ms(day, 0),
        window_to_ms=slot_start_ms(day + 1, 0),
        live=False,
    )
    asked = Asked(case, [message], s.NOW_MS)
    grant = read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    assert [(scope.epoch, scope.first_slot) for scope in grant.scopes] == [(day, 0)]


def importing() -> Directory:
    """The sample site, whose first box may import recordings of its camera."""
    directory = s.directory()
    box = replace(directory.principals["box-1"], recordings=("cam-1",))
    return replace(directory, form=2, principals={**directory.principals, "box-1": box})
