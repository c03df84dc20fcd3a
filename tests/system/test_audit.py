"""An auditor judges the logs of a whole site offline; each alteration of them has its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
from film_set import FilmSet

from protocol.auditlog import Entry


@pytest.fixture
def copy(fetched_logs: Path, tmp_path: Path) -> Path:
    """A copy of the fetched logs that a test may spoil."""
    made = tmp_path / "logs"
    shutil.copytree(fetched_logs, made)
    return made


def verify(films: FilmSet, folder: Path, *options: str) -> dict[str, Any]:
    """Verify fetched logs as the auditor; return the report."""
    printed = films.site.local.run(
        "eve", "audit", "verify", str(folder), "--json", *options, expect=None
    )
    report: dict[str, Any] = json.loads(printed)
    return report


def wrongs(report: dict[str, Any]) -> set[str]:
    """The names of what fails the audit."""
    return {f["kind"] for f in report["findings"] if f["severity"] == "wrong"}


def entries_of(folder: Path, log: str) -> list[bytes]:
    data = (folder / "logs" / log / "entries.cborseq").read_bytes()
    found, rest = [], data
    while rest:
        item = cbor2.loads(rest[: _item_bytes(rest)])
        found.append(item)
        rest = rest[_item_bytes(rest) :]
    return found


def _item_bytes(data: bytes) -> int:
    """Length of the CBOR byte string at the front (RFC 8949, 3.1)."""
    kind = data[0] & 0x1F
    if kind < 24:
        return 1 + kind
    width = 1 << (kind - 24)
    return 1 + width + int.from_bytes(data[1 : 1 + width], "big")


def write_entries(folder: Path, log: str, entries: list[bytes]) -> None:
    path = folder / "logs" / log / "entries.cborseq"
    path.write_bytes(b"".join(cbor2.dumps(entry) for entry in entries))


def index_of(entries: list[bytes], kind: str) -> int:
    return next(n for n, entry in enumerate(entries) if Entry.parse(entry).kind == kind)


def test_the_logs_of_an_honest_site_are_sound(film_set: FilmSet, fetched_logs: Path) -> None:
    film_set.site.local.run("eve", "audit", "verify", str(fetched_logs))
    report = verify(film_set, fetched_logs)
    assert report["sound"] is True
    assert wrongs(report) == set()
    origins = {log["origin"].rpartition("/")[2] for log in report["logs"]}
    assert origins == {"aggregator", "c1", "c2", "c3"}
    query = next(q for q in report["queries"] if q["decisions"])
    assert query["requester"] == "ana"
    assert sorted(query["approvers"]) == ["bo", "cy"]
    assert sorted(query["granting_custodians"]) == ["c1", "c2", "c3"]
    assert query["candidates"] == 2
    assert query["decisions"] == 2


def test_without_the_auditors_key_the_structure_alone_is_judged(
    film_set: FilmSet, fetched_logs: Path
) -> None:
    report = verify(film_set, fetched_logs, "--without-key")
    assert report["sound"] is True
    assert all(not query["purpose"] for query in report["queries"])


def alter_an_entry(folder: Path) -> None:
    entries = entries_of(folder, "c1")
    at = index_of(entries, "grant")
    spoiled = bytearray(entries[at])
    spoiled[-1] ^= 1
    entries[at] = bytes(spoiled)
    write_entries(folder, "c1", entries)


def remove_the_grant(folder: Path) -> None:
    entries = entries_of(folder, "c1")
    del entries[index_of(entries, "grant")]
    write_entries(folder, "c1", entries)


def remove_what_the_aggregator_received(folder: Path) -> None:
    entries = entries_of(folder, "aggregator")
    kept = [entry for entry in entries if Entry.parse(entry).kind != "grant-received"]
    assert len(kept) < len(entries)
    write_entries(folder, "aggregator", kept)


def cut_the_end_off(folder: Path) -> None:
    entries = entries_of(folder, "aggregator")
    write_entries(folder, "aggregator", entries[:-2])


def put_nonsense_in(folder: Path) -> None:
    entries = entries_of(folder, "c2")
    entries[1] = b"\x00nonsense"
    write_entries(folder, "c2", entries)


def speak_for_another(folder: Path) -> None:
    write_entries(folder, "c2", entries_of(folder, "c3"))


def forge_a_checkpoint(folder: Path) -> None:
    path = sorted((folder / "logs" / "c3" / "checkpoints").glob("*.txt"))[-1]
    lines = path.read_text().splitlines()
    lines[1] = str(int(lines[1]) + 1)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (alter_an_entry, "entry-altered"),
        (remove_the_grant, "log-inconsistent"),
        (remove_the_grant, "grant-not-logged"),
        (remove_what_the_aggregator_received, "match-without-grant"),
        (cut_the_end_off, "log-inconsistent"),
        (put_nonsense_in, "entry-malformed"),
        (speak_for_another, "actor-false"),
        (forge_a_checkpoint, "checkpoint-invalid"),
    ],
)
def test_what_was_tampered_with_has_its_name(
    film_set: FilmSet, copy: Path, spoil: Callable[[Path], None], name: str
) -> None:
    spoil(copy)
    report = verify(film_set, copy)
    assert report["sound"] is False
    assert name in wrongs(report)


def test_a_missing_policy_is_told(film_set: FilmSet, copy: Path) -> None:
    for path in (copy / "policies").iterdir():
        path.unlink()
    assert "policy-unknown" in {f["kind"] for f in verify(film_set, copy)["findings"]}


def test_a_missing_log_is_told(film_set: FilmSet, copy: Path) -> None:
    shutil.rmtree(copy / "logs" / "c2")
    kinds = {f["kind"] for f in verify(film_set, copy)["findings"]}
    assert "log-missing" in kinds


def test_fetching_again_finds_out_a_log_that_was_rewritten(film_set: FilmSet, copy: Path) -> None:
    """The auditor's folder remembers: what it holds is not what the custodian shows now."""
    alter_an_entry(copy)
    said = film_set.site.local.run("eve", "audit", "fetch", "--out", str(copy), expect=1)
    assert "c1" in said
