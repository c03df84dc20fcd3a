"""`sealtrace audit`: fetch over TLS, verify and read offline, and find out who rewrote a log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from audit_roles import Desk, Site, ran
from audit_samples import QUERY_ID, SCOPE, grant_body
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from throwaway_ca import ThrowawayCa
from typer.testing import Result

from officers.audit_text import finding_line
from officers.desk.audit_copy import ADMISSIONS_FILE, DIRECTORY_FILE, SITE_FILE
from officers.desk.audit_words import entry_json, moment, summary
from protocol.admissions import Admissions
from protocol.audit_queries import OpenedEntry
from protocol.auditlog import KINDS, Entry
from protocol.directory import BOX, REGISTRAR, Principal
from protocol.findings import Finding, FindingKind, Severity
from protocol.names import CameraAddress
from protocol.signing import SigningKey
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.log_api import witness_checkpoint
from runtime.witness import Witness


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def site(tmp_path: Path, ca: ThrowawayCa) -> Iterator[Site]:
    made = ran(tmp_path, ca)
    yield made
    made.close()


@pytest.fixture(scope="module")
def fetched_once(tmp_path_factory: pytest.TempPathFactory, ca: ThrowawayCa) -> Desk:
    """The logs of a site that has gone off the air since."""
    made = ran(tmp_path_factory.mktemp("once"), ca)
    done = made.fetch()
    assert done.exit_code == 0, done.output
    made.close()
    return Desk(made.eve, made.out)


@pytest.fixture
def desk(fetched_once: Desk, tmp_path: Path) -> Desk:
    """A copy of its own of the fetched logs, and nobody to ask."""
    shutil.copytree(fetched_once.out, tmp_path / "logs")
    return Desk(fetched_once.eve, tmp_path / "logs")


def last_line(done: Result) -> str:
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.slow
def test_fetched_logs_verify_offline(desk: Desk) -> None:
    done = desk.verify()
    assert done.exit_code == 0, done.output
    assert last_line(done).startswith("sound: 4 logs, 16 entries, 1 query, 2 grants")
    for words in (
        "asked by ana: contact tracing of a confirmed patient",
        "approved by bo, cy",
        "granted by c1, c3: 2 grants, 2 received, 6 slots",
        "1 match of 40 sightings: 2 candidates",
    ):
        assert words in done.stdout


@pytest.mark.slow
def test_without_the_key_the_structure_is_verified(desk: Desk) -> None:
    for how in ({"officer": False}, {}):
        done = desk.verify(*([] if "officer" in how else ["--without-key"]), **how)
        assert done.exit_code == 0, done.output
        assert "structure only" in last_line(done)
        assert "contact tracing" not in done.stdout


def test_the_report_as_json(desk: Desk) -> None:
    report = json.loads(desk.verify("--json").stdout)
    assert (report["sound"], report["auditor"], report["damaged"]) == (True, "eve", [])
    assert report["queries"][0]["approvers"] == ["bo", "cy"]
    assert {log["entries"] for log in report["logs"]} == {8, 3, 2}


@pytest.mark.slow
def test_fetching_again_takes_only_what_is_new(site: Site) -> None:
    first = json.loads(site.fetch("--json").stdout)
    assert {item["log"]: item["new"] for item in first} == {
        "aggregator": 8,
        "c1": 3,
        "c2": 2,
        "c3": 3,
    }
    site.roles["c2"].add("refusal", {"query_digest": b"", "reason": "none"})
    site.witness()
    again = json.loads(site.fetch("--json").stdout)
    assert {item["log"]: item["new"] for item in again} == {
        "aggregator": 0,
        "c1": 0,
        "c2": 1,
        "c3": 0,
    }
    assert site.verify().exit_code == 0


@pytest.mark.slow
def test_a_log_rewritten_between_two_fetches_is_found_out(site: Site) -> None:
    site.fetch()
    c1 = site.roles["c1"]
    c1.restart("second.db")
    for _ in range(4):
        c1.add("started", {"version": "1"}, None)
    done = site.fetch()
    assert done.exit_code == 1
    assert "kept as evidence" in done.stdout
    assert site.verify().exit_code == 1
    assert site.kinds_found() >= {"log-inconsistent"}


@pytest.mark.slow
def test_a_log_cut_short_between_two_fetches_is_found_out(site: Site) -> None:
    site.fetch()
    c1 = site.roles["c1"]
    c1.restart("second.db")
    c1.add("started", {"version": "1"}, None)
    site.fetch()
    assert site.verify().exit_code == 1
    assert site.kinds_found() >= {"log-inconsistent"}


@pytest.mark.parametrize("place", [0, 1, 7, 400, -1])
def test_one_altered_byte_is_noticed(desk: Desk, place: int) -> None:
    path = desk.out / "logs" / "c1" / "entries.cborseq"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    for arguments in ([], ["--without-key"], ["--json"]):
        assert desk.verify(*arguments).exit_code == 1
    assert last_line(desk.verify()).startswith("NOT sound")


@pytest.mark.slow
def test_a_custodian_that_is_down_is_said_and_the_rest_is_fetched(site: Site) -> None:
    site.roles["c2"].stop()
    done = site.fetch("--json")
    site.roles["c2"].restart()
    assert done.exit_code == 1
    told = {item["log"]: item for item in json.loads(done.stdout)}
    assert told["c2"]["unreachable"] is True
    assert told["c1"]["problem"] is None
    verified = site.verify()
    assert verified.exit_code == 0, verified.output
    assert "log-missing" in verified.stdout


@pytest.mark.slow
def test_a_role_with_another_certificate_or_key_is_not_believed(site: Site) -> None:
    c1 = site.roles["c1"]
    forged = AuditLog(
        site.folder / "forged.db",
        c1.origin,
        s.signing_key("c2"),
        {"eve": s.sealing_key("eve").public},
    )
    forged.append("started", s.NOW_MS, "c1", None, {"version": "1"})
    real, c1.log = c1.log, forged
    c1.restart()
    done = site.fetch()
    assert done.exit_code == 1
    c1.log = real
    forged.close()
    c1.restart()
    assert "log-missing" in site.verify().stdout or site.verify().exit_code == 1


def other_history(site: Site, keeper: str, witness: str, *, entries: int) -> None:
    """Show ``witness`` another history of ``keeper``'s log, under that role's own key."""
    role, shown = site.roles[keeper], site.roles[witness]
    with AuditLog(
        site.folder / f"{keeper}-other.db", role.origin, s.signing_key(keeper), role.log.auditors
    ) as log:
        for _ in range(entries):
            log.append("started", s.NOW_MS, keeper, None, {"version": "another"})
        shown.witness.close()
        shown.witness = Witness(
            site.folder / f"{witness}-new.db", shown.origin, s.signing_key(witness)
        )
        witness_checkpoint(
            shown.witness,
            log.checkpoint(),
            None,
            directory=s.directory(),
            time_s=site.time_ms // 1000,
        )
    shown.restart()


@pytest.mark.slow
def test_a_witness_that_was_shown_another_history_is_asked_and_tells(site: Site) -> None:
    other_history(site, "c1", "c3", entries=3)
    done = site.fetch()
    assert done.exit_code == 1
    assert "'c3' was shown another history of its first 3 entries" in done.stdout
    assert site.kinds_found() == {"log-forked"}
    for arguments in ([], ["--without-key"]):
        told = site.verify(*arguments)
        assert told.exit_code == 1
        assert "under the signature of 'c1': the log has two" in told.stdout


@pytest.mark.slow
def test_a_log_that_is_shown_shorter_than_witnesses_saw_it_is_found_out(site: Site) -> None:
    other_history(site, "c1", "c3", entries=5)
    done = site.fetch()
    assert done.exit_code == 1
    assert "it shows 3 entries, and 'c3' has cosigned 5 of it" in done.stdout
    assert "log-inconsistent" in site.kinds_found()


@pytest.mark.slow
def test_a_role_that_does_not_tell_what_it_saw_is_noted_and_the_logs_are_fetched(
    site: Site,
) -> None:
    c2 = site.roles["c2"]
    c2.witness.close()  # every question to it fails now
    done = site.fetch()
    assert "'c2' does not say what it has seen" in done.stderr
    assert done.exit_code == 0, done.output
    verified = site.verify()
    assert verified.exit_code == 0, verified.output
    assert "witness-silent" in verified.stdout


@pytest.mark.slow
def test_what_is_not_covered_yet_is_said_in_the_last_line(site: Site) -> None:
    site.time_ms = system_ms()
    site.roles["c2"].add("refusal", {"query_digest": b"", "reason": "none"})
    site.fetch()
    done = site.verify()
    assert done.exit_code == 0, done.output
    assert "sound but for 1 entry not yet cosigned (c2)" in last_line(done)
    report = json.loads(site.verify("--json").stdout)
    assert (report["sound"], report["covered"]) == (True, False)
    (c2,) = (log for log in report["logs"] if log["origin"].endswith("/c2"))
    assert (c2["quorum"], c2["covered_size"], c2["entries"]) == (3, 2, 3)


def test_a_folder_fetched_before_witnesses_were_asked_still_verifies(desk: Desk) -> None:
    shutil.rmtree(desk.out / "witnessed")
    done = desk.verify()
    assert done.exit_code == 0, done.output
    assert "witness-silent" in done.stdout


def test_entries_are_shown_opened_and_filtered(desk: Desk) -> None:
    everything = json.loads(desk.run("show", str(desk.out), "--json").stdout)
    assert len(everything) == 16
    assert [item["time_ms"] for item in everything] == sorted(i["time_ms"] for i in everything)
    grants = json.loads(desk.run("show", str(desk.out), "--kind", "grant", "--json").stdout)
    assert [item["summary"] for item in grants] == ["3 slots of cam-1; face, meta, live"] * 2
    of_query = desk.run("show", str(desk.out), "--query", QUERY_ID.hex()[:6], "--json")
    assert len(json.loads(of_query.stdout)) == 8
    of_log = desk.run("show", str(desk.out), "--log", "c2", "--json")
    assert len(json.loads(of_log.stdout)) == 2
    table = desk.run("show", str(desk.out)).stdout
    assert "ana asks: contact tracing of a confirmed patient" in table
    assert "bo approves" in table
    assert desk.run("show", str(desk.out), "--since", "2099-01-01", "--json").stdout == "[]\n"
    sealed = desk.run("show", str(desk.out), "--without-key", "--kind", "grant").stdout
    assert "sealed" in sealed
    assert desk.run("show", str(desk.out), "--kind", "nonsense").exit_code == 2


def test_the_wrong_passphrase_is_said(desk: Desk) -> None:
    done = desk.verify(passphrase="not the passphrase")
    assert done.exit_code == 1
    assert "passphrase does not open" in done.output


def test_folders_that_are_not_of_this_site(desk: Desk, tmp_path: Path) -> None:
    missing = desk.run("verify", str(tmp_path / "nowhere"))
    assert (missing.exit_code, "not a folder of audit logs" in missing.output) == (1, True)
    value = json.loads((desk.out / SITE_FILE).read_text())
    (desk.out / SITE_FILE).write_text(json.dumps(value | {"authority": "58" + "66" * 31}))
    for done in (desk.verify(), desk.run("fetch", "--out", str(desk.out))):
        assert done.exit_code == 1
        assert "authority" in done.output
    (desk.out / SITE_FILE).write_text("{")
    assert "damaged" in desk.verify().output


def test_a_directory_altered_in_the_folder_is_refused(desk: Desk) -> None:
    path = desk.out / DIRECTORY_FILE
    forged = s.directory().revoke("c1", at_ms=1).sign(s.signing_key("ana"))
    path.write_bytes(forged.to_bytes())
    assert desk.verify().exit_code == 1


@pytest.mark.slow
def test_a_newer_directory_is_taken_from_the_aggregator(site: Site) -> None:
    newer = site.directory.revoke("di", at_ms=s.NOW_MS)
    site.signed_directory = newer.sign(s.authority()).to_bytes()
    site.fetch()
    assert "directory version 4" in site.verify().stdout


@pytest.mark.slow
def test_a_box_that_the_registrar_admitted_is_known_to_the_audit(site: Site) -> None:
    registrar, box = SigningKey("registrar", bytes([7]) * 32), SigningKey("box-9", bytes(32))
    listed = {
        **site.directory.principals,
        "registrar": Principal("registrar", frozenset({REGISTRAR}), registrar.verify_key),
    }
    newer = site.directory.next_version(listed, at_ms=s.NOW_MS)
    site.signed_directory = newer.sign(s.authority()).to_bytes()
    admitted = Principal("box-9", frozenset({BOX}), box.verify_key, cameras=("cam-9",))
    made = Admissions(s.SITE, 1, s.NOW_MS, {"box-9": admitted}, {})
    case = s.case(cameras=("cam-9",), query_id=bytes(16))
    scope = replace(SCOPE, address=CameraAddress(s.SITE, "box-9", "cam-9"))
    body = grant_body(case, "c2", grant_id=bytes(16), scopes=[scope.to_value()])
    site.roles["c2"].add("grant", body, bytes(16))
    site.fetch()
    assert "no longer says that 'box-9'" in site.verify().stdout
    site.signed_admissions = made.sign(registrar).to_bytes()
    assert site.fetch().exit_code == 0
    assert (site.out / ADMISSIONS_FILE).read_bytes() == site.signed_admissions
    assert "no longer says" not in site.verify().stdout


@pytest.mark.slow
def test_a_station_that_imports_films_of_a_camera_is_known_to_the_audit(site: Site) -> None:
    listed = dict(site.directory.principals)
    listed["box-2"] = replace(listed["box-2"], recordings=("cam-1",))
    newer = site.directory.next_version(listed, at_ms=s.NOW_MS)
    case = s.case(cameras=("cam-1",), query_id=bytes(16))
    scope = replace(SCOPE, address=CameraAddress(s.SITE, "box-2", "cam-1"))
    body = grant_body(case, "c2", grant_id=bytes(16), scopes=[scope.to_value()])
    site.roles["c2"].add("grant", body, bytes(16))
    site.fetch()
    assert "no longer says that 'box-2' speaks for camera 'cam-1'" in site.verify().stdout
    site.signed_directory = replace(newer, form=2).sign(s.authority(), 2).to_bytes()
    assert site.fetch().exit_code == 0
    assert "no longer says" not in site.verify().stdout


@pytest.mark.slow
def test_a_grant_that_was_not_approved_fails_the_audit(site: Site) -> None:
    case = s.case(approvers=("bo",), purpose="curiosity")
    site.roles["c2"].add("grant", grant_body(case, "c2"))
    site.fetch()
    done = site.verify()
    assert done.exit_code == 1
    assert "grant-unauthorized (c2 #2" in done.stdout
    assert "1 of 2 approvals" in done.stdout


@given(
    kind=st.sampled_from(sorted(KINDS)),
    body=st.dictionaries(
        st.sampled_from(
            ["approval", "epoch", "epochs", "digest", "query", "reason", "scopes", "version", "x"]
        ),
        st.none() | st.integers() | st.binary() | st.text() | st.lists(st.integers() | st.text()),
    ),
    time_ms=st.integers(0, 2**63 - 1),
)
@settings(max_examples=examples(150), deadline=None)
def test_whatever_a_log_says_is_shown_and_cannot_steer_the_terminal(
    kind: str, body: dict[str, object], time_ms: int
) -> None:
    item = OpenedEntry("c1", "sealtrace/x/c1", 0, Entry(kind, time_ms, "c1", None, {}), body)
    assert summary(item).isprintable()
    assert moment(time_ms)
    json.dumps(entry_json(item))
    finding = Finding(FindingKind.TIME_WRONG, Severity.NOTE, "x", f"\x1b[2J{body}")
    assert finding_line(finding)[0].isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ko"])
def test_an_audit_is_written_as_one_page_in_a_language(
    desk: Desk, tmp_path: Path, language: str
) -> None:
    to = tmp_path / "audit.html"
    done = desk.run("page", str(desk.out), "--out", str(to), "--language", language)
    assert done.exit_code == 0, done.output
    assert "is written: sound: 4 logs" in done.stdout
    text = to.read_text()
    assert f'<html lang="{language}">' in text
    assert "contact tracing of a confirmed patient" in text
    assert to.stat().st_mode & 0o777 == 0o600
    again = desk.run("page", str(desk.out), "--out", str(to), "--language", language)
    assert again.exit_code == 1
    assert "exists already" in again.output
    forced = desk.run("page", str(desk.out), "--out", str(to), "--language", language, "--force")
    assert (forced.exit_code, to.read_text()) == (0, text)


@pytest.mark.slow
def test_a_page_without_the_key_tells_no_contents(desk: Desk, tmp_path: Path) -> None:
    to = tmp_path / "audit.html"
    done = desk.run("page", str(desk.out), "--out", str(to), officer=False)
    assert done.exit_code == 0, done.output
    assert "contact tracing" not in to.read_text()
    assert "only what stands in the clear was checked" in to.read_text()
