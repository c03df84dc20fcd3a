"""What a role keeps on disk of the directory is the newest that it has seen, whatever the race."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from structlog.testing import capture_logs

from protocol.admissions import Admissions
from protocol.directory import Directory
from protocol.errors import PrincipalRevoked
from runtime.trust import Trust

AUTHORITY = s.signing_key("authority")


def opened(folder: Path) -> Trust:
    installed = folder / "installed.cbor"
    if not installed.exists():
        installed.write_bytes(s.directory().sign(AUTHORITY).to_bytes())
    return Trust(site=s.SITE, authority=AUTHORITY.verify_key, installed=installed, state_dir=folder)


def test_an_overtaken_directory_is_not_written_over_the_newer_one(tmp_path: Path) -> None:
    trust = opened(tmp_path)
    first = s.directory().revoke("box-2", at_ms=s.NOW_MS)
    second = first.revoke("box-1", at_ms=s.NOW_MS)

    def overtake(directory: Directory) -> None:  # as another thread may, before the first is kept
        if directory.version == first.version:
            assert trust.accept(second.sign(AUTHORITY).to_bytes())

    trust.on_change(overtake)
    assert trust.accept(first.sign(AUTHORITY).to_bytes())
    assert trust.directory.version == second.version
    again = opened(tmp_path).directory
    assert again.version == second.version
    with pytest.raises(PrincipalRevoked):
        again.require("box-1", "box")


def test_overtaken_admissions_are_not_written_over_the_newer_ones(tmp_path: Path) -> None:
    trust = opened(tmp_path)
    lists = [
        Admissions(s.SITE, version, s.NOW_MS, {}, revoked).sign(s.signing_key("registrar"))
        for version, revoked in ((1, {}), (2, {"box-1": s.NOW_MS}))
    ]

    def overtake(_directory: Directory) -> None:
        if trust.admissions_version == 1:
            assert trust.accept(lists[1].to_bytes())

    trust.on_change(overtake)
    assert trust.accept(lists[0].to_bytes())
    assert opened(tmp_path).admissions_version == 2


def test_what_a_registrar_had_revoked_outlives_the_registrar(tmp_path: Path) -> None:
    trust = opened(tmp_path)
    registrar = s.signing_key("registrar")
    revoking = Admissions(s.SITE, 1, s.NOW_MS, {}, {"box-1": s.NOW_MS}).sign(registrar)
    trust.accept(revoking.to_bytes())
    trust.accept(s.directory().revoke("registrar", at_ms=s.NOW_MS).sign(AUTHORITY).to_bytes())
    for running in (trust, opened(tmp_path)):
        assert running.admissions_version == 1
        with pytest.raises(PrincipalRevoked):
            running.directory.require("box-1", "box")
        with pytest.raises(PrincipalRevoked, match="registrar"):
            running.accept(Admissions(s.SITE, 2, s.NOW_MS, {}, {}).sign(registrar).to_bytes())


def test_another_directory_of_the_version_in_force_changes_nothing_and_is_told_once(
    tmp_path: Path,
) -> None:
    trust = opened(tmp_path)
    other = replace(s.directory().revoke("bo", at_ms=s.NOW_MS), version=s.directory().version)
    registrar = s.signing_key("registrar")
    first, second = (
        Admissions(s.SITE, 1, s.NOW_MS, {}, revoked).sign(registrar).to_bytes()
        for revoked in ({}, {"box-1": s.NOW_MS})
    )
    assert trust.accept(first)
    with capture_logs() as logged:
        for data in (other.sign(AUTHORITY).to_bytes(), second, first, trust.signed) * 2:
            assert not trust.accept(data)
    told = [entry for entry in logged if entry["event"] == "directory_contradicted"]
    assert [(entry["list"], entry["log_level"]) for entry in told] == [
        ("directory", "critical"),
        ("admissions", "critical"),
    ]
    assert {told[0]["ours"], told[0]["theirs"]} == {
        hashlib.sha256(data).hexdigest()
        for data in (trust.signed, other.sign(AUTHORITY).to_bytes())
    }
    assert trust.directory.require("bo", "approver")
