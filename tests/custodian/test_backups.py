"""A custodian is backed up while it works, lost, and put back: without a key that was destroyed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from custodian_site import (
    CHEAP,
    DAY_MS,
    PASSPHRASE,
    Asked,
    Make,
    Time,
    approved,
    make_announcement,
    read_grant,
)
from serving import Serving
from throwaway_ca import ThrowawayCa
from typer.testing import CliRunner

from custodian import backups
from custodian.api import make_app
from custodian.cli import app
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from protocol.about_queries import Withdrawal
from protocol.errors import ProtocolError, QueryWithdrawn
from runtime.backup.configuration import FILE, Configuration, opened
from runtime.backup.logs import LogWouldFork
from runtime.backup.manifest import MANIFEST, SIGNATURE, BackupInvalid
from runtime.backup.restoring import NotRestored
from runtime.backup.role import Asked as AskedOfLog
from runtime.config import load
from runtime.errors import OperationError
from runtime.logcopy import write_copy
from runtime.witness import Witness

ALONE = AskedOfLog(alone=True)
DATABASES = ("custodian.db", "witness.db", "audit.db")


def quiet(_text: str) -> None:
    """Hear what is being done, and say nothing."""


def config_of(folder: Path, name: str = "c1") -> tuple[Path, CustodianConfig]:
    path = folder / name / "custodian.toml"
    return path, load(path, CustodianConfig)


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., Path]:
    def made(name: str = "monday") -> Path:
        path, config = config_of(tmp_path)
        backups.back_up(path, config, PASSPHRASE, tmp_path / name, tell=quiet, cost=CHEAP)
        return tmp_path / name

    return made


def put_back(
    folder: Path, backup: Path, asked: AskedOfLog = ALONE, *, replaced: bool = False
) -> backups.PutBack:
    _, config = config_of(folder)
    return backups.put_back(backup, config, PASSPHRASE, asked, replace=replaced, tell=quiet)


def lose(custodian: Custodian) -> None:
    """Lose the machine's disk: the state is gone."""
    custodian.close()
    shutil.rmtree(custodian.config.state_dir)


def ask(custodian: Custodian, now_ms: int = s.NOW_MS) -> Asked:
    _, message = make_announcement([custodian], now_ms=now_ms)
    return Asked(approved(now_ms), [message], now_ms)


def withdraw(custodian: Custodian, asked: Asked) -> None:
    signed = Withdrawal(asked.case.query.digest, "no longer", s.NOW_MS).sign(s.signing_key("bo"))
    assert custodian.withdrawals.submit(signed.to_bytes(), s.directory())


def files_of(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def test_a_custodian_that_was_lost_remembers_withdrawals_and_its_log(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1 = make()
    asked = ask(c1)
    assert read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    withdraw(c1, asked)
    entries = c1.log.entries()
    backup = take()  # while it runs
    lose(c1)
    assert put_back(tmp_path, backup).files == dict.fromkeys(DATABASES, "put back")
    again = make(again=True)
    assert again.log.entries()[: len(entries)] == entries
    with pytest.raises(QueryWithdrawn):
        again.granter.grant(asked.to_bytes())


def test_no_day_key_is_in_a_backup_and_what_is_put_back_opens_no_day_of_before(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1 = make()
    asked = ask(c1)
    held = {epoch: c1.ring.private(epoch).seed for epoch in c1.ring.epochs()}
    backup = take()
    taken = b"".join(one.read_bytes() for one in backup.iterdir())
    assert not any(seed in taken for seed in held.values())
    assert c1.config.key_file.read_bytes() not in taken
    lose(c1)
    put_back(tmp_path, backup)
    again = make(again=True)
    assert set(held) & set(again.ring.epochs())  # it takes part again, by other keys
    assert not any(again.ring.private(epoch).seed in held.values() for epoch in again.ring.epochs())
    with pytest.raises(ProtocolError):
        again.granter.grant(asked.to_bytes())


def test_a_backup_of_before_brings_no_destroyed_key_back(
    make: Make, take: Callable[..., Path], time: Time, tmp_path: Path
) -> None:
    c1 = make()
    asked, seed = ask(c1), c1.ring.private(s.EPOCH).seed
    former = c1.config.key_file.read_bytes()
    backup = take()
    for _ in range(17):
        time.ms += DAY_MS
        c1.go_round()
    assert c1.ring.destroyed_before > s.EPOCH
    key_file = c1.config.key_file.read_bytes()
    lose(c1)
    put_back(tmp_path, backup)
    again = make(again=True)
    assert not any(again.ring.private(epoch).seed == seed for epoch in again.ring.epochs())
    with pytest.raises(ProtocolError):
        again.granter.grant(asked.to_bytes())
    assert key_file != former


def test_day_keys_of_a_snapshot_beside_a_newer_database_are_destroyed_at_the_start(
    make: Make, time: Time
) -> None:
    c1 = make()
    former = c1.config.key_file.read_bytes()
    for _ in range(17):
        time.ms += DAY_MS
        c1.go_round()
    before = c1.ring.destroyed_before
    c1.close()
    c1.config.key_file.write_bytes(former)
    again = make(again=True)
    assert again.ring.destroyed_before >= before
    assert min(again.ring.epochs()) >= before


def test_keys_on_the_machine_stay_when_a_spoilt_database_is_put_back(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1 = make()
    asked = ask(c1)
    backup = take()
    c1.journal.write("refusal", {"reason": "after the backup"})
    entries = c1.log.entries()
    c1.close()
    spoilt = c1.config.database
    spoilt.write_bytes(b"x" * 8192)
    found = put_back(tmp_path, backup)
    assert found.files["custodian.db"].startswith("put back; what was there is in ")
    assert found.files["audit.db"].startswith("left as it is")  # a log never goes back
    (aside,) = spoilt.parent.glob("replaced-*/custodian.db")
    assert aside.read_bytes() == b"x" * 8192
    again = make(again=True)
    assert again.log.entries()[: len(entries)] == entries
    assert read_grant(again.granter.grant(asked.to_bytes()), "c1")


@pytest.mark.slow
def test_nothing_is_put_over_a_running_custodian_or_another_history(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1 = make()
    backup = take()
    with pytest.raises(NotRestored, match="stop it first"):
        put_back(tmp_path, backup)
    lose(c1)
    make(again=True).close()  # somebody starts it on an empty folder
    before = {name: (c1.config.state_dir / name).read_bytes() for name in DATABASES}
    with pytest.raises(NotRestored, match="started on an empty folder"):
        put_back(tmp_path, backup)
    assert before == {name: (c1.config.state_dir / name).read_bytes() for name in DATABASES}
    found = put_back(tmp_path, backup, replaced=True)
    assert found.files["audit.db"].startswith("put back; what was there is in ")


def test_going_back_from_a_newer_version_is_done_when_it_is_said_so(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1 = make()
    backup = take()
    c1.close()
    for name in ("custodian.db", "audit.db"):
        with closing(sqlite3.connect(c1.config.state_dir / name)) as newer:
            newer.execute("PRAGMA user_version = 99")
    with pytest.raises(NotRestored, match=r"schema 99.*put aside"):
        put_back(tmp_path, backup)
    found = put_back(tmp_path, backup, replaced=True)
    assert found.files["audit.db"].startswith("put back; what was there is in ")
    make(again=True)


@pytest.mark.processes
def test_a_backup_that_is_killed_looks_like_none_and_the_next_one_is_made(
    make: Make, tmp_path: Path
) -> None:
    c1 = make()
    path, config = config_of(tmp_path)
    out, partial = tmp_path / "monday", tmp_path / ".monday.partial"

    def killed_at(step: int) -> int:
        """Have a process of its own make the backup, and end it without a word at a step."""
        child = os.fork()
        if child == 0:
            said: list[str] = []

            def tell(text: str) -> None:
                said.append(text)
                if len(said) > step:
                    os._exit(9)

            try:
                backups.back_up(path, config, PASSPHRASE, out, tell=tell, cost=CHEAP)
            finally:
                os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    steps = 0
    while killed_at(steps) == 9:
        steps += 1
        assert not out.exists()
        with pytest.raises(BackupInvalid, match="is no backup, or one that was not finished"):
            backups.checked(partial, config, c1.key, tell=quiet)
    assert steps > len(DATABASES)
    assert backups.checked(out, config, c1.key, tell=quiet)
    assert files_of(out) == sorted((*DATABASES, FILE, MANIFEST, SIGNATURE))
    assert not partial.exists()


def test_a_backup_that_fails_leaves_nothing_and_none_is_written_over(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1 = make()
    path, config = config_of(tmp_path)
    out = tmp_path / "tuesday"

    def tell(text: str) -> None:
        if text == "audit.db":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backups.back_up(path, config, PASSPHRASE, out, tell=tell, cost=CHEAP)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))
    before = take()
    with pytest.raises(OperationError, match="exists already"):
        backups.back_up(path, config, PASSPHRASE, before, tell=quiet, cost=CHEAP)
    assert backups.checked(before, config, c1.key, tell=quiet)


def test_what_another_laid_where_a_backup_is_made_is_neither_cleared_nor_filled(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    make()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    (tmp_path / ".monday.partial").symlink_to(precious)
    with pytest.raises(OperationError, match="not a folder of this account"):
        take()
    assert files_of(precious) == ["file"]


@pytest.mark.parametrize("name", [*DATABASES, FILE, MANIFEST])
def test_a_backup_that_was_damaged_or_altered_is_refused_and_changes_nothing(
    make: Make, take: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    c1 = make()
    backup = take()
    lose(c1)
    path = backup / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BackupInvalid):
        put_back(tmp_path, backup)
    assert [one for one in c1.config.state_dir.rglob("*") if one.name in DATABASES] == []


def test_a_backup_of_another_or_by_another_is_refused(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    make()
    c2 = make("c2")
    backup = take()
    with pytest.raises(BackupInvalid, match="is not what custodian 'c2'"):
        backups.checked(backup, c2.config, c2.key, tell=quiet)


def test_an_auditors_copy_brings_the_log_to_where_it_was_and_names_what_is_forgotten(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1 = make()
    asked = ask(c1)
    backup = take()
    withdraw(c1, asked)
    c1.journal.write("refusal", {"reason": "after the backup"})
    entries = c1.log.entries()
    write_copy(tmp_path / "eve" / "logs" / "c1", c1.log.copy())
    lose(c1)
    copy = AskedOfLog(log_copy=tmp_path / "eve", alone=True)
    found = put_back(tmp_path, backup, copy)
    assert found.log.continued == 2
    assert found.log.since["withdrawal"] == 1
    again = make(again=True)
    assert again.log.entries()[: len(entries)] == entries


def test_a_copy_of_another_history_or_one_altered_is_refused(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1, c2 = make(), make("c2")
    backup = take()
    c1.journal.write("refusal", {"reason": "after the backup"})
    copy = c1.log.copy()
    lose(c1)
    write_copy(tmp_path / "altered", replace(copy, entries=(*copy.entries[:-1], copy.entries[0])))
    write_copy(tmp_path / "other", c2.log.copy())
    for name in ("altered", "other"):
        with pytest.raises(LogWouldFork):
            put_back(tmp_path, backup, AskedOfLog(log_copy=tmp_path / name, alone=True))
    assert not (c1.config.state_dir / "audit.db").exists()


@pytest.fixture
def watched(make: Make, ca: ThrowawayCa) -> Iterator[tuple[Custodian, Custodian]]:
    """A custodian c1 whose directory says where c2 is, and c2, which answers there."""
    c2 = make("c2")
    with Serving(make_app(c2), c2.config.tls) as serving:
        listed = s.directory()
        people = {**listed.principals, "c2": replace(listed.principals["c2"], url=serving.url)}
        yield make(directory=replace(listed, principals=people)), c2


def cosign(log: Custodian, witness: Witness) -> None:
    seen = witness.last_seen(log.log.origin)
    text = log.log.checkpoint()
    witness.cosign(
        text,
        origin=log.log.origin,
        key=log.key.verify_key,
        proof=log.log.prove_consistency(seen),
        time_s=1,
    )


@pytest.mark.slow
def test_a_log_of_which_others_have_seen_more_is_not_put_back(
    watched: tuple[Custodian, Custodian], take: Callable[..., Path], tmp_path: Path
) -> None:
    c1, c2 = watched
    backup = take()
    c1.journal.write("refusal", {"reason": "after the backup"})
    cosign(c1, c2.witness)
    write_copy(tmp_path / "copy", c1.log.copy())
    size = c1.log.size
    lose(c1)
    with pytest.raises(LogWouldFork, match=f"'c2' has seen {size}"):
        put_back(tmp_path, backup, AskedOfLog())
    assert not (c1.config.state_dir / "custodian.db").exists()
    found = put_back(tmp_path, backup, AskedOfLog(log_copy=tmp_path / "copy"))
    assert (found.log.size, found.log.more) == (size, [])


@pytest.mark.slow
def test_a_shorter_log_is_put_back_when_it_is_said_so_and_the_others_are_named(
    watched: tuple[Custodian, Custodian], take: Callable[..., Path], tmp_path: Path
) -> None:
    c1, c2 = watched
    backup = take()
    c1.journal.write("refusal", {"reason": "after the backup"})
    cosign(c1, c2.witness)
    lose(c1)
    found = put_back(tmp_path, backup, AskedOfLog(shorter=True))
    assert [one.name for one in found.log.more] == ["c2"]


@pytest.mark.slow
def test_of_two_histories_none_is_put_back_nor_continued_by_the_others_copy(
    watched: tuple[Custodian, Custodian], make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1, c2 = watched
    backup = take()
    c1.journal.write("refusal", {"reason": "after the backup"})
    cosign(c1, c2.witness)
    write_copy(tmp_path / "copy", c1.log.copy())
    lose(c1)
    put_back(tmp_path, backup, AskedOfLog(shorter=True))
    again = make(again=True)  # another history of the same number, and longer
    again.journal.write("refusal", {"reason": "another"})
    forked = take("tuesday")
    lose(again)
    for shorter in (False, True):
        with pytest.raises(LogWouldFork, match="it is of another history"):
            put_back(tmp_path, forked, AskedOfLog(shorter=shorter))
    with pytest.raises(LogWouldFork, match="tells another history than ours"):
        put_back(tmp_path, forked, AskedOfLog(log_copy=tmp_path / "copy", alone=True))
    assert not (c1.config.state_dir / "audit.db").exists()


def test_what_was_cosigned_since_the_backup_is_not_forgotten(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1, c2 = make(), make("c2")
    cosign(c2, c1.witness)
    backup = take()
    c2.journal.write("refusal", {"reason": "after the backup"})
    cosign(c2, c1.witness)
    c1.close()
    for replaced in (False, True):
        found = put_back(tmp_path, backup, replaced=replaced)
        assert found.files["witness.db"].startswith("left as it is")
    again = make(again=True)
    assert again.witness.last_seen(c2.log.origin) == c2.log.size


def test_where_nobody_can_be_asked_it_must_be_said(
    make: Make, take: Callable[..., Path], tmp_path: Path
) -> None:
    c1 = make()
    take()
    lose(c1)
    with pytest.raises(OperationError, match="--without-witnesses"):
        put_back(tmp_path, tmp_path / "monday", AskedOfLog())


@pytest.mark.slow
def test_a_machine_that_is_empty_gets_its_configuration_back_by_the_passphrase_alone(
    make: Make, tmp_path: Path
) -> None:
    c1 = make()
    path, config = config_of(tmp_path)
    shutil.copytree(Path(config.tls.ca).parent, path.parent / "tls")
    text = path.read_text().replace(str(config.tls.ca.parent), "tls")
    path.write_text(text)
    key = (path.parent / "tls" / "c1.key").read_bytes()
    environment = {"SEALTRACE_PASSPHRASE": PASSPHRASE.decode()}
    backup = tmp_path / "monday"
    arguments = ["--config", str(path)]
    done = CliRunner().invoke(app, ["backup", "--out", str(backup), *arguments], env=environment)
    assert done.exit_code == 0, done.output
    assert "left out: the day keys" in done.output
    assert key not in b"".join(one.read_bytes() for one in backup.iterdir())
    files = opened(backup / FILE, PASSPHRASE, backups.PURPOSE).files
    c1.close()
    shutil.rmtree(path.parent)
    wrong = CliRunner().invoke(
        app, ["restore", str(backup), *arguments], env={"SEALTRACE_PASSPHRASE": "another one"}
    )
    assert wrong.exit_code == 1
    assert not path.exists()
    checked = CliRunner().invoke(
        app, ["restore", str(backup), *arguments, "--check"], env=environment
    )
    assert checked.exit_code == 0, checked.output
    assert "is whole" in checked.output
    assert files_of(path.parent) == []  # no key stays where a backup was only read
    (tmp_path / "older").mkdir()  # a configuration of another day, by the same passphrase
    for one in backup.iterdir():
        shutil.copy(one, tmp_path / "older")
    other = Configuration(
        path.name, {**files, path.name: (files[path.name][0] + b"# old\n", 0o600)}
    )
    (tmp_path / "older" / FILE).write_bytes(other.seal(PASSPHRASE, backups.PURPOSE, cost=CHEAP))
    mixed = CliRunner().invoke(
        app, ["restore", str(tmp_path / "older"), *arguments], env=environment
    )
    assert "is not what was written" in " ".join(mixed.output.split())
    assert not path.exists()
    done = CliRunner().invoke(
        app, ["restore", str(backup), *arguments, "--without-witnesses"], env=environment
    )
    assert done.exit_code == 0, done.output
    assert f"{path} is in order" in done.output
    assert (path.parent / "tls" / "c1.key").read_bytes() == key
    assert path.read_text() == text
