"""What a role keeps on disk of the directory is the newest that it has seen, whatever the race."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from structlog.testing import capture_logs

from protocol.admissions import Admissions
from protocol.boxterms import BoxTerms
from protocol.directory import Directory
from protocol.directory_forms import sign_forms
from protocol.errors import DirectoryRollback, PrincipalRevoked
from runtime.trust import Trust, TrustError

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


def both_forms(directory: Directory) -> tuple[bytes, bytes]:
    signed = sign_forms(directory, AUTHORITY)
    return signed[1], signed[2]


def left_version_1(directory: Directory, box: str, at_ms: int) -> Directory:
    principals = dict(directory.principals)
    principals[box] = replace(principals[box], version_1_until_ms=at_ms, recordings=("cam-9",))
    admitted = {"box-9": BoxTerms(("cam-9",), at_ms), "box-8": BoxTerms(("cam-9",))}
    return replace(directory, principals=principals, admitted=admitted)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_either_form_of_a_directory_may_come_first_and_the_second_counts(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    newer = left_version_1(s.directory().revoke("bo", at_ms=s.NOW_MS), "box-1", 7)
    forms = both_forms(newer)
    trust = opened(tmp_path)
    changed = [trust.accept(forms[number]) for number in order]
    assert changed == [True, order == (0, 1)]
    for role in (trust, opened(tmp_path)):  # also after a restart
        assert role.directory == replace(newer, form=2)
        assert role.signed == forms[1]
        assert (role.signed_in(1), role.signed_in(2)) == forms
        assert role.readable_in(1) == forms[0]
        assert not any(role.accept(data) for data in forms)


def test_a_first_form_of_a_newer_version_counts_at_once_and_takes_nothing_back(
    tmp_path: Path,
) -> None:
    trust = opened(tmp_path)
    before = left_version_1(s.directory(), "box-1", 7).next_version(
        left_version_1(s.directory(), "box-1", 7).principals, at_ms=s.NOW_MS
    )
    assert trust.accept(both_forms(before)[1])
    later = before.revoke("bo", at_ms=s.NOW_MS)
    assert trust.accept(both_forms(later)[0])
    for role in (trust, opened(tmp_path)):
        assert role.directory.version == later.version
        assert role.directory.form == 2
        assert role.directory.principals["box-1"].version_1_until_ms == 7
        assert role.directory.principals["box-1"].recordings == ()
        assert role.directory.admitted == {"box-9": BoxTerms((), 7)}
        with pytest.raises(PrincipalRevoked):
            role.directory.require("bo", "approver")
        with pytest.raises(DirectoryRollback):
            role.accept(both_forms(before)[1])
    assert trust.accept(both_forms(later)[1])
    assert trust.directory.principals["box-1"].recordings == ("cam-9",)
    assert trust.directory.admitted == later.admitted


def test_a_second_form_that_contradicts_the_first_is_left_aside_and_told(tmp_path: Path) -> None:
    trust = opened(tmp_path)
    version = s.directory().version
    other = replace(s.directory().revoke("bo", at_ms=s.NOW_MS), version=version)
    with capture_logs() as logged:
        assert not trust.accept(both_forms(other)[1])
    assert [entry["event"] for entry in logged] == ["directory_contradicted"]
    assert trust.directory.form == 1
    assert trust.directory.require("bo", "approver")


def test_the_first_form_is_read_beside_the_installed_directory(tmp_path: Path) -> None:
    forms = both_forms(s.directory())
    (tmp_path / "installed.cbor").write_bytes(forms[1])
    (tmp_path / "installed-1.cbor").write_bytes(forms[0])
    trust = opened(tmp_path)
    assert trust.directory.form == 2
    assert (trust.signed_in(1), trust.signed_in(2)) == forms
    other = replace(s.directory().revoke("bo", at_ms=s.NOW_MS), version=s.directory().version)
    (tmp_path / "installed-1.cbor").write_bytes(both_forms(other)[0])
    with pytest.raises(TrustError, match="two different directories"):
        opened(tmp_path)


def test_an_installed_directory_that_contradicts_what_was_in_force_changes_nothing(
    tmp_path: Path,
) -> None:
    newer = s.directory().revoke("bo", at_ms=s.NOW_MS)
    assert opened(tmp_path).accept(both_forms(newer)[1])
    other = replace(s.directory(), version=newer.version)
    (tmp_path / "installed.cbor").write_bytes(both_forms(other)[1])
    with capture_logs() as logged:
        trust = opened(tmp_path)
    assert "directory_contradicted" in {entry["event"] for entry in logged}
    assert trust.signed == both_forms(newer)[1]


@pytest.mark.parametrize("older", [1, 2])
def test_a_form_that_was_left_behind_keeps_the_newer_one_from_nobody(
    tmp_path: Path, older: int
) -> None:
    trust = opened(tmp_path)
    before = s.directory().revoke("bo", at_ms=s.NOW_MS)
    newer = before.revoke("box-1", at_ms=s.NOW_MS)
    files = {1: tmp_path / "installed-1.cbor", 2: tmp_path / "installed.cbor"}
    for form, path in files.items():
        path.write_bytes(both_forms(before if form == older else newer)[form - 1])
    assert trust.reload()
    assert trust.directory.version == newer.version
    for role in (trust, opened(tmp_path)):
        with pytest.raises(PrincipalRevoked):
            role.directory.require("box-1", "box")
    assert not trust.reload()


def test_what_the_second_form_says_survives_the_registrars_admissions(tmp_path: Path) -> None:
    trust = opened(tmp_path)
    newer = left_version_1(s.directory().revoke("bo", at_ms=s.NOW_MS), "box-1", 7)
    assert trust.accept(both_forms(replace(newer, places=bytes(32)))[1])
    registrar = s.signing_key("registrar")
    revoked = Admissions(s.SITE, 1, s.NOW_MS, {}, {"box-2": s.NOW_MS}).sign(registrar)
    assert trust.accept(revoked.to_bytes())
    for role in (trust, opened(tmp_path)):
        directory = role.directory
        assert directory.principals["box-2"].revoked_at_ms == s.NOW_MS
        assert directory.principals["box-1"] == newer.principals["box-1"]
        assert (directory.form, directory.places) == (2, bytes(32))
