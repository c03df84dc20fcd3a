"""The log on disk: durable, append-only, provable, witnessed, and exportable."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from merkle_reference import LEAVES, ROOTS

from protocol import hpke
from protocol.audit import LogCopy
from protocol.auditlog import (
    Entry,
    check_consistency,
    check_entries,
    check_inclusion,
    root_of,
    verify_checkpoint,
    verify_cosignature,
)
from protocol.errors import CheckpointInvalid, LogForked, LogInconsistent
from protocol.merkle import leaf_hash
from protocol.signing import SigningKey
from runtime.auditlog import AuditLog
from runtime.database import StorageError, StorageFull, open_database
from runtime.logcopy import LogCopyInvalid, read_copy, write_copy
from runtime.merkletable import SCHEMA, MerkleTable
from runtime.witness import Witness

ORIGIN = "sealtrace/site/custodian-1"
KEY = SigningKey("custodian-1", bytes(range(32)))
WITNESS_KEY = SigningKey("hq", bytes(range(1, 33)))
AUDITOR = hpke.PrivateKey.generate()
AUDITORS = {"auditor": AUDITOR.public}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog(tmp_path / "log.db", ORIGIN, KEY, AUDITORS) as one:
        yield one


def fill(log: AuditLog, count: int) -> None:
    for number in range(count):
        log.append("refusal", 1000 + number, "custodian-1", None, {"reason": f"number {number}"})


def test_the_tree_hashes_as_rfc_9162_says(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "tree.db", [SCHEMA])) as database:
        table = MerkleTable(database)
        assert table.root(table.size).hex() == ROOTS[0]
        for size, leaf in enumerate(LEAVES, 1):
            table.append(leaf)
            assert table.root(table.size).hex() == ROOTS[size]
    assert leaf_hash(b"").hex() == ROOTS[1]
    assert root_of(LEAVES).hex() == ROOTS[8]


def test_an_entry_is_numbered_from_zero_and_only_the_auditor_reads_it(log: AuditLog) -> None:
    assert log.append("refusal", 5, "custodian-1", b"query", {"reason": "no approvals"}) == 0
    assert log.append("started", 6, "custodian-1", None, {"version": "1"}) == 1
    first, second = log.entries()
    assert b"no approvals" not in first
    entry = Entry.parse(first)
    assert (entry.kind, entry.time_ms, entry.query_id) == ("refusal", 5, b"query")
    assert entry.open("auditor", AUDITOR) == {"reason": "no approvals"}
    assert log.entries(1) == [second]
    assert log.entries(0, 1) == [first]
    assert log.size == 2
    with pytest.raises(ValueError, match="no such kind"):
        log.append("gossip", 7, "custodian-1", None, {})


def test_an_append_is_synced_before_it_returns(log: AuditLog, tmp_path: Path) -> None:
    assert log._database.conn.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    with sqlite3.connect(tmp_path / "log.db") as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.processes
def test_what_was_appended_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from protocol.signing import SigningKey\n"
        "from runtime.auditlog import AuditLog\n"
        f"log = AuditLog(Path(sys.argv[1]), {ORIGIN!r}, SigningKey('c', bytes(32)), {{}})\n"
        "for number in range(20):\n"
        "    print(log.append('started', number, 'c', None, {'version': '1'}), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "log.db"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -9
    assert done.stdout.split() == [b"%d" % number for number in range(20)]
    with AuditLog(path, ORIGIN, SigningKey("c", bytes(32)), {}) as log:
        assert [Entry.parse(entry).time_ms for entry in log.entries()] == list(range(20))


def test_checkpoints_verify_and_are_kept(log: AuditLog) -> None:
    texts = [log.checkpoint()]
    fill(log, 3)
    texts.append(log.checkpoint())
    assert log.checkpoint() == texts[1]
    assert log.checkpoints() == tuple(texts)
    assert log.checkpoint(0) == texts[0]
    checkpoint = verify_checkpoint(texts[1], origin=ORIGIN, key=KEY.verify_key)
    assert checkpoint == log.head()
    check_entries(log.entries(), checkpoint)
    with pytest.raises(CheckpointInvalid, match="no checkpoint of size 2"):
        log.checkpoint(2)


@settings(max_examples=examples(25), deadline=None)
@given(count=st.integers(1, 40), data=st.data())
def test_any_entry_and_any_growth_can_be_proved(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject
) -> None:
    with AuditLog(tmp_path_factory.mktemp("log") / "log.db", ORIGIN, KEY, {}) as log:
        earlier_size = data.draw(st.integers(0, count))
        fill(log, earlier_size)
        earlier = log.head()
        fill(log, count - earlier_size)
        later = log.head()
        check_consistency(earlier, later, log.prove_consistency(earlier_size))
        index = data.draw(st.integers(0, count - 1))
        entry = log.entries(index, index + 1)[0]
        check_inclusion(entry, index, later, log.prove_inclusion(index))


def test_proofs_of_what_is_not_there_are_refused(log: AuditLog) -> None:
    fill(log, 3)
    for index, size in [(3, None), (-1, None), (2, 2), (0, 4)]:
        with pytest.raises(CheckpointInvalid):
            log.prove_inclusion(index, size)
    for earlier, later in [(4, None), (3, 2), (-1, None), (1, 4), (0, 4), (4, 4)]:
        with pytest.raises(CheckpointInvalid):
            log.prove_consistency(earlier, later)


def test_cosignatures_are_checked_kept_and_shown(log: AuditLog, tmp_path: Path) -> None:
    fill(log, 2)
    text = log.checkpoint()
    witness = Witness(tmp_path / "witness.db", "hq", WITNESS_KEY)
    key = KEY.verify_key
    line = witness.cosign(text, origin=ORIGIN, key=key, proof=None, time_s=99)
    log.add_cosignature(2, line, witness="hq", key=WITNESS_KEY.verify_key)
    cosigned = log.checkpoint(2)
    assert verify_cosignature(cosigned, witness="hq", key=WITNESS_KEY.verify_key) == 99
    assert verify_checkpoint(cosigned, origin=ORIGIN, key=key).size == 2
    assert log.checkpoints() == (cosigned,)
    with pytest.raises(CheckpointInvalid):
        log.add_cosignature(2, line, witness="hq", key=key)
    with pytest.raises(CheckpointInvalid):
        log.add_cosignature(2, line, witness="custodian-2", key=WITNESS_KEY.verify_key)
    fill(log, 1)
    log.checkpoint()
    with pytest.raises(CheckpointInvalid):
        log.add_cosignature(3, line, witness="hq", key=WITNESS_KEY.verify_key)


def test_a_witness_cosigns_only_what_continues(log: AuditLog, tmp_path: Path) -> None:
    path = tmp_path / "witness.db"
    witness = Witness(path, "hq", WITNESS_KEY)
    assert witness.last_seen(ORIGIN) == 0

    def cosign(text: str, proof: object) -> None:
        witness.cosign(
            text,
            origin=ORIGIN,
            key=KEY.verify_key,
            proof=proof,  # type: ignore[arg-type]
            time_s=1,
        )

    fill(log, 2)
    first = log.checkpoint()
    cosign(first, None)
    fill(log, 3)
    second = log.checkpoint()
    with pytest.raises(LogInconsistent, match="no proof"):
        cosign(second, None)
    assert witness.last_seen(ORIGIN) == 2
    cosign(second, log.prove_consistency(witness.last_seen(ORIGIN)))
    witness.close()

    witness = Witness(path, "hq", WITNESS_KEY)
    assert witness.last_seen(ORIGIN) == 5
    with pytest.raises(LogInconsistent, match="not a continuation"):
        cosign(first, None)
    with AuditLog(tmp_path / "fork.db", ORIGIN, KEY, {}) as fork:
        fill(fork, 5)
        with pytest.raises(LogForked):
            cosign(fork.checkpoint(), None)
        fill(fork, 1)
        with pytest.raises(LogInconsistent, match="rewritten"):
            cosign(fork.checkpoint(), fork.prove_consistency(5))
    other = AuditLog(tmp_path / "other.db", "sealtrace/site/other", KEY, {})
    with pytest.raises(CheckpointInvalid):
        cosign(other.checkpoint(), None)
    assert witness.last_seen(ORIGIN) == 5


def test_a_changed_file_is_refused_at_opening(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with AuditLog(path, ORIGIN, KEY, AUDITORS) as log:
        fill(log, 4)
        log.checkpoint()
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TRIGGER leaf_no_update")
        raw.execute("UPDATE leaf SET hash = zeroblob(32) WHERE id = 2")
    with pytest.raises(StorageError, match="not the one that was signed for"):
        AuditLog(path, ORIGIN, KEY, AUDITORS)
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TRIGGER leaf_no_delete")
        raw.execute("DELETE FROM leaf WHERE id = 2")
    with pytest.raises(StorageError, match="entries of the audit log are missing"):
        AuditLog(path, ORIGIN, KEY, AUDITORS)


def test_a_changed_entry_shows_in_the_audit(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with AuditLog(path, ORIGIN, KEY, AUDITORS) as log:
        fill(log, 4)
        checkpoint = log.head()
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TRIGGER leaf_no_update")
        raw.execute("UPDATE leaf SET entry = ? WHERE id = 2", [b"forged"])
    with (
        AuditLog(path, ORIGIN, KEY, AUDITORS) as log,
        pytest.raises(Exception, match="altered"),
    ):
        check_entries(log.entries(), checkpoint)


def test_a_full_disk_means_no_entry(log: AuditLog) -> None:
    fill(log, 1)
    pages = log._database.conn.execute("PRAGMA page_count").fetchone()[0]
    log._database.conn.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull):
        for _ in range(100):
            log.append("refusal", 1, "c", None, {"reason": "x" * 1000})
    size = log.size
    log._database.conn.execute("PRAGMA max_page_count = 1000000")
    assert log.append("refusal", 1, "c", None, {"reason": "fits again"}) == size
    check_entries(log.entries(), log.head())


def test_threads_append_without_losing_any(log: AuditLog) -> None:
    indexes: list[int] = []

    def work() -> None:
        for number in range(20):
            indexes.append(log.append("started", number, "c", None, {"version": "1"}))
            log.checkpoint()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(indexes) == list(range(80))
    check_entries(log.entries(), log.head())


def test_a_copy_is_written_and_read_back(log: AuditLog, tmp_path: Path) -> None:
    fill(log, 3)
    log.checkpoint()
    fill(log, 2)
    folder = tmp_path / "copies" / "custodian-1"
    write_copy(folder, log.copy())
    copy = read_copy(folder)
    assert copy == log.copy()
    assert copy.origin == ORIGIN
    assert len(copy.entries) == 5
    assert [
        verify_checkpoint(t, origin=ORIGIN, key=KEY.verify_key).size for t in copy.checkpoints
    ] == [3, 5]


def test_copies_of_one_log_are_merged_and_forks_kept(log: AuditLog, tmp_path: Path) -> None:
    fill(log, 2)
    bare = log.copy()
    line = Witness(tmp_path / "w.db", "hq", WITNESS_KEY).cosign(
        bare.checkpoints[0], origin=ORIGIN, key=KEY.verify_key, proof=None, time_s=1
    )
    log.add_cosignature(2, line, witness="hq", key=WITNESS_KEY.verify_key)
    folder = tmp_path / "copy"
    write_copy(folder, log.copy())
    write_copy(folder, bare)  # fetched before the cosignature came: must not lose it
    assert read_copy(folder).checkpoints == log.checkpoints()
    with AuditLog(tmp_path / "fork.db", ORIGIN, KEY, {}) as fork:
        fill(fork, 2)
        write_copy(folder, fork.copy())
        assert set(read_copy(folder).checkpoints) == {*log.checkpoints(), *fork.checkpoints()}


@settings(max_examples=examples(50), deadline=None)
@given(garbage=st.binary(min_size=1, max_size=60))
def test_a_damaged_copy_is_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    folder = tmp_path_factory.mktemp("copy")
    write_copy(folder, LogCopy(ORIGIN, (b"one", b"two"), ()))
    path = folder / "entries.cborseq"
    path.write_bytes(path.read_bytes() + garbage)
    try:
        copy = read_copy(folder)
    except LogCopyInvalid as error:
        assert str(path) in str(error)
    else:
        assert copy.entries[:2] == (b"one", b"two")
        assert len(copy.entries) > 2
