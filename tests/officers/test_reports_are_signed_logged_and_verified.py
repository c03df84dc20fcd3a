"""`sealtrace trace report`: two files and a signature, logged; what was altered does not pass."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import protocol_samples as s
import pytest
from candidates import candidate_of
from officer_site import OfficerSite
from typer.testing import Result

from officers import query_cli
from officers.desk.report.verifying import FileAltered, verify_file
from officers.trace_cli import app
from protocol.auditlog import Entry
from protocol.exports import Export
from protocol.names import CameraAddress
from protocol.results import Candidate
from protocol.sightings import Encounter, MaskStatus
from protocol.signing import Signed

POLICY = (
    b'policy_schema = 2\ncontacts = "near"\npurposes = ["exercise"]\nconfirmations = 2\n'
    b"enrolment_without_witness = true\n"
) + s.POLICY_TEXT
FORMS = ("json", "csv-line-list", "csv-contacts", "csv-persons", "go-data-contacts", "fhir")


def candidate(camera: str, from_s: int, to_s: int) -> Candidate:
    return candidate_of(
        subject="P-17",
        address=CameraAddress(s.SITE, f"box-{camera[-1]}", camera),
        sighting_id=os.urandom(8),
        first_seen_ms=s.NOW_MS + from_s * 1000,
        last_seen_ms=s.NOW_MS + to_s * 1000,
        mask=MaskStatus.MASKED,
        mask_confidence=0.93,
        quality=0.8,
        modality="face",
        model=s.MODEL,
        score=0.7,
        log10_lr=3.0,
        encounters=(Encounter(b"stranger", 1.25, 4.0, MaskStatus.UNMASKED, 0.88),),
    )


@dataclass
class Told:
    """A query of ana's that dan confirms: of two candidates both confirm the first."""

    site: OfficerSite
    id: str

    def run(self, *arguments: str, officer: str = "ana") -> Result:
        return self.site.run(app, officer, *arguments)

    def report(self, folder: Path, *more: str, officer: str = "ana") -> Path:
        base = folder / "report"
        done = self.run("report", self.id, "--out", str(base), *more, officer=officer)
        assert done.exit_code == 0, done.output
        return base

    def exported(self) -> int:
        entries = map(Entry.parse, self.site.aggregator.written_log.entries())
        return sum(entry.kind == "exported" for entry in entries)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    site = OfficerSite(tmp_path_factory.mktemp("officers"), policy=POLICY)
    filed = site.run(
        query_cli.app, "ana", "file", "--subject", str(site.subject_file("P-17")),
        "--all-cameras", "--from", "-2h", "--to", "now", "--purpose", "contact tracing",
        "--confirmer", "dan", "--yes", "--json",
    )  # fmt: skip
    made = Told(site, json.loads(filed.stdout)["id"])
    for one in (candidate("cam-1", 0, 60), candidate("cam-2", 300, 320)):
        site.add_candidate(one, site.record(made.id).digest, readers=("ana", "dan"))
    for officer in ("ana", "dan"):
        assert made.run("confirm", made.id, "1", "--yes", officer=officer).exit_code == 0
    assert made.run("confirm", made.id, "2", "--yes").exit_code == 0
    yield made
    site.close()


@pytest.fixture(scope="module")
def once(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report that was made once."""
    return told.report(tmp_path_factory.mktemp("once"))


@pytest.fixture
def base(once: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(once.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / once.name


def words(result: Result) -> str:
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.mark.slow
def test_a_report_is_three_private_files_that_pass(told: Told, base: Path) -> None:
    assert sorted(path.name for path in base.parent.iterdir()) == [
        "report.html", "report.pdf", "report.sig",
    ]  # fmt: skip
    for path in base.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for kind in ("pdf", "html"):
        checked = told.run("verify-report", f"{base}.{kind}")
        assert checked.exit_code == 0, checked.output
        assert "genuine" in checked.output
        assert "ana, investigator of vectors" in words(checked)


@pytest.mark.slow
def test_only_what_enough_officers_confirmed_is_in_it(base: Path) -> None:
    page = base.with_suffix(".html").read_text()
    assert "P-17: 1 confirmed sightings at 1 cameras" in page
    assert "1 sightings that were found are not confirmed by as many officers" in page
    assert "ana, dan" in page


@pytest.mark.parametrize("form", FORMS)
def test_no_export_holds_what_too_few_confirmed(told: Told, form: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = told.run("export", told.id, "--format", form, "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "too few officers have confirmed them" in words(done)
    text = out.read_text()
    assert "undecided" not in text
    assert "box-2" not in text
    assert "box-1" in text or "cam-1" in text or form == "go-data-contacts"


@pytest.mark.parametrize("kind", ["pdf", "html"])
def test_one_altered_byte_is_noticed(told: Told, kind: str, base: Path) -> None:
    path = base.with_suffix(f".{kind}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    checked = told.run("verify-report", str(path))
    assert checked.exit_code == 1
    assert "is not the file that ana signed" in words(checked)


def test_a_signature_that_is_altered_missing_or_somebody_elses_does_not_pass(
    told: Told, base: Path
) -> None:
    signature = base.with_suffix(".sig")
    genuine = signature.read_bytes()
    digest = hashlib.sha256(base.with_suffix(".pdf").read_bytes()).digest()
    said = Export(bytes(32), "report", (digest,), 1)
    forged = Signed("export", "ana", said.sign(s.signing_key("dan")).payload, bytes(64))
    for data, reason in (
        (genuine[:-1] + bytes([genuine[-1] ^ 1]), "is no signature of an investigator"),
        (b"nonsense", "is no signature of an investigator"),
        (said.sign(s.signing_key("bo")).to_bytes(), "lists no investigator 'bo'"),
        (said.sign(s.signing_key("stranger")).to_bytes(), "lists no investigator"),
        (forged.to_bytes(), "is no signature of an investigator"),
    ):
        signature.write_bytes(data)
        checked = told.run("verify-report", f"{base}.pdf")
        assert checked.exit_code == 1
        assert reason in words(checked)
    signature.unlink()
    missing = told.run("verify-report", f"{base}.pdf")
    assert missing.exit_code == 1
    assert "report.sig" in words(missing)


def test_who_is_no_officer_checks_with_the_directory_and_the_authoritys_key(
    told: Told, base: Path, tmp_path: Path
) -> None:
    directory = told.site.officer("ana").with_name("directory.cbor")
    authority = s.authority().verify_key.raw.hex()
    given = ["verify-report", f"{base}.pdf", "--directory", str(directory), "--authority"]
    nobody = ["--officer", str(tmp_path / "none.toml")]
    assert told.run(*given, authority, *nobody).exit_code == 0
    other = s.signing_key("ana").verify_key.raw.hex()
    assert told.run(*given, other, *nobody).exit_code == 1
    wrong = told.run(*given, "12", *nobody)
    assert wrong.exit_code == 1
    assert "64 hex digits" in words(wrong)
    half = told.run("verify-report", f"{base}.pdf", "--directory", str(directory))
    assert half.exit_code == 1
    assert "go together" in words(half)


def test_what_says_that_it_was_made_after_its_signer_was_revoked_does_not_pass(
    base: Path,
) -> None:
    pdf, signature = base.with_suffix(".pdf"), base.with_suffix(".sig")
    made = verify_file(pdf, signature, s.directory())
    later = s.directory().revoke("ana", at_ms=made.exported_at_ms + 1)
    assert verify_file(pdf, signature, later).revoked
    before = s.directory().revoke("ana", at_ms=made.exported_at_ms)
    with pytest.raises(FileAltered, match="after they had been revoked"):
        verify_file(pdf, signature, before)


@pytest.mark.slow
def test_the_log_holds_the_digests_of_both_files(told: Told, tmp_path: Path) -> None:
    before = told.exported()
    base = told.report(tmp_path, officer="dan")
    assert told.exported() == before + 1
    signed = Signed.parse(base.with_suffix(".sig").read_bytes(), kind="export")
    said = Export.parse(signed.payload)
    assert signed.signer == "dan"
    assert said.form == "report"
    assert said.query_digest == told.site.record(told.id).digest
    files = [base.with_suffix(f".{kind}").read_bytes() for kind in ("pdf", "html")]
    assert list(said.files) == [hashlib.sha256(data).digest() for data in files]


@pytest.mark.slow
def test_files_that_exist_are_left_and_nothing_is_logged(told: Told, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    before = told.exported()
    refused = told.run("report", told.id, "--out", str(tmp_path / "report.pdf"))
    assert refused.exit_code == 1
    assert "exists already" in words(refused)
    assert told.exported() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    told.report(tmp_path, "--force")
    assert "mine" not in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_it_is_in_korean_when_asked(told: Told, tmp_path: Path) -> None:
    page = told.report(tmp_path, "--language", "ko").with_suffix(".html").read_text()
    assert "접촉자 추적 보고서" in page
    other = told.run("report", told.id, "--out", str(tmp_path / "x"), "--language", "tlh")
    assert other.exit_code == 2


@pytest.mark.slow
def test_the_heads_of_all_logs_are_in_it_and_who_is_silent(told: Told, base: Path) -> None:
    page = base.with_suffix(".html").read_text()
    custodian = told.site.custodians[0]
    assert custodian.config.name in page
    assert "not reached" in page  # nobody started one of the custodians
    assert page.count(">aggregator<") == 1


@pytest.mark.slow
def test_a_plan_that_is_none_is_refused_before_anything_is_fetched(
    told: Told, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.geojson"
    for text in ("", "[]", "{}", '{"type": "Point", "coordinates": [1, 2]}',
                 '{"type": "LineString", "coordinates": [[1, "x"]]}', "not json",
                 '{"type": "FeatureCollection", "features": 3}'):  # fmt: skip
        plan.write_text(text)
        refused = told.run("report", told.id, "--out", str(tmp_path / "r"), "--plan", str(plan))
        assert refused.exit_code == 1, text
        assert "is not a plan" in words(refused)
    plan.write_text('{"type": "LineString", "coordinates": [[1, 2], [3, 4]]}')
    told.report(tmp_path, "--plan", str(plan))


@pytest.mark.slow
def test_an_approver_makes_no_report(told: Told, tmp_path: Path) -> None:
    refused = told.run("report", told.id, "--out", str(tmp_path / "r"), officer="bo")
    assert refused.exit_code == 1
    assert list(tmp_path.iterdir()) == []
