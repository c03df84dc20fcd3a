"""`sealtrace subject`: what an investigator can do, and what each mistake is answered with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge_agent.enrol import template_from_photos
from edge_agent.enrol_cli import app
from edge_agent.vision.models import VisionModels
from protocol import hpke
from protocol.directory import AUTHORITY, INVESTIGATOR, Directory, Principal
from protocol.enrolment import WitnessSheet
from protocol.errors import AuthenticationFailed
from protocol.keytree import FOLLOWED, MODALITIES
from protocol.sightings import dequantise_template
from protocol.signing import SigningKey
from protocol.templates import SubjectFile
from runtime.bundle import MODALITY_OF, load_bundle
from runtime.clothes_words import UPPER
from runtime.keyfiles import write_secret

pytestmark = pytest.mark.models


@dataclass
class Office:
    """An investigator's folder: officer.toml, the directory, and a photo or two."""

    folder: Path
    sealing: hpke.PrivateKey
    photos: Path

    @property
    def config(self) -> Path:
        return self.folder / "officer.toml"

    @property
    def out(self) -> Path:
        return self.folder / "p.subject"

    def enrol(self, *photos: str, **changed: str) -> Result:
        return self.run(*(photos or ("obama.jpg",)), **changed)

    def run(self, *photos: str, **changed: str) -> Result:
        options = {
            "config": str(self.config),
            "pseudonym": "patient-17",
            "consent": "C-2031/17",
            "out": str(self.out),
        } | changed
        arguments = [
            f"--{name}={value}" if value else f"--{name}" for name, value in options.items()
        ]
        for photo in photos:
            arguments.append(f"--photo={self.photos / photo}")
        return CliRunner().invoke(app, ["enrol", *arguments])


@pytest.fixture
def office(
    tmp_path: Path, model_bundle_path: Path, model_bundle_key: bytes, photos_path: Path
) -> Office:
    authority, identity = SigningKey.generate(AUTHORITY), SigningKey.generate("ines")
    sealing = hpke.PrivateKey.generate()
    ines = Principal("ines", frozenset({INVESTIGATOR}), identity.verify_key, sealing.public)
    directory = Directory("north", 1, 1_700_000_000_000, 1, {"ines": ines})
    (tmp_path / "directory.cbor").write_bytes(directory.sign(authority).to_bytes())
    (tmp_path / "officer.toml").write_text(
        f"""
site = "north"
name = "ines"
authority = "{authority.verify_key.raw.hex()}"
identity = "identity.secret"
directory = "directory.cbor"
bundle = "{model_bundle_path}"
bundle_keys = ["{model_bundle_key.hex()}"]
"""
    )
    return Office(tmp_path, sealing, photos_path)


def test_the_subject_file_opens_for_the_investigator_alone(
    office: Office, models: VisionModels
) -> None:
    result = office.enrol("obama.jpg", "obama2.jpg")
    assert result.exit_code == 0, result.output
    assert "agreement" in result.output
    assert "warning" not in result.output
    subject = SubjectFile.parse(office.out.read_bytes())
    assert (subject.pseudonym, subject.consent_reference) == ("patient-17", "C-2031/17")
    assert subject.models == (models.model_id,)
    (template,) = subject.open(office.sealing)
    expected = template_from_photos(
        [office.photos / "obama.jpg", office.photos / "obama2.jpg"], models
    )
    assert dequantise_template(template.row, template.scale) @ expected.vector > 0.999
    with pytest.raises(AuthenticationFailed):
        subject.open(hpke.PrivateKey.generate())
    assert template.row.tobytes() not in office.out.read_bytes()
    assert office.out.stat().st_mode & 0o077 == 0


def test_show_tells_what_is_clear(office: Office) -> None:
    assert "warning: enrolled from one photo only" in office.enrol().output
    shown = CliRunner().invoke(app, ["show", str(office.out)])
    assert shown.exit_code == 0
    assert "patient-17" in shown.output
    assert "C-2031/17" in shown.output
    wrong = CliRunner().invoke(app, ["show", str(office.config)])
    assert wrong.exit_code == 1
    assert "not a subject file" in wrong.output


def test_the_documents_hash_is_kept_and_a_sheet_for_the_witness_lies_beside(
    office: Office,
) -> None:
    document = office.folder / "consent.pdf"
    document.write_bytes(b"I consent.")
    digest = hashlib.sha256(b"I consent.").digest()
    result = office.enrol(**{"consent-document": str(document)})
    assert result.exit_code == 0, result.output
    subject = SubjectFile.parse(office.out.read_bytes())
    assert (subject.consent_document, subject.investigator) == (digest, "ines")
    (template,) = subject.open(office.sealing)
    assert [reference.digest for reference in subject.references] == [template.digest]
    sheet_file = office.folder / "p.witness"
    sheet = WitnessSheet.parse(sheet_file.read_bytes())
    assert sheet == WitnessSheet.of(subject)
    assert sheet.code in result.output
    assert template.row.tobytes() not in sheet_file.read_bytes()
    assert sheet_file.stat().st_mode & 0o077 == 0
    assert "nobody has signed" in shown(office)
    signed = sheet.signed_by(SigningKey.generate("bo"), witnessed_at_ms=1)
    sheet_file.write_bytes(signed.to_bytes())
    assert digest.hex()[:20] in shown(office)
    assert "bo (p.witness" in shown(office)
    sheet_file.write_bytes(replace(signed, pseudonym="other").to_bytes())
    assert "of another enrolment" in shown(office)
    sheet_file.unlink()
    assert "missing" in shown(office)


def test_without_a_document_nobody_can_witness_and_it_is_said(office: Office) -> None:
    stale = office.folder / "p.witness"
    stale.write_bytes(b"of an earlier enrolment")
    kept = office.enrol()
    assert kept.exit_code == 1
    assert "p.witness exists" in kept.output
    result = office.enrol(force="")
    assert result.exit_code == 0, result.output
    assert "nobody can witness" in result.output
    assert not stale.exists()
    assert "none was given" in shown(office)


def shown(office: Office) -> str:
    result = CliRunner().invoke(app, ["show", str(office.out)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_file_is_not_replaced_unless_asked(office: Office) -> None:
    office.out.write_text("precious")
    refused = office.enrol()
    assert refused.exit_code == 1
    assert "--force" in refused.output
    assert office.out.read_text() == "precious"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pseudonym": "../../x"}, "pseudonym"),
        ({"consent": "  "}, "consent"),
        ({"consent-document": "/nowhere"}, "/nowhere"),
        ({"consent-document": "/dev/null"}, "regular file"),
        ({"bundle": "/nowhere"}, "not a signed model bundle"),
        ({"config": "/nowhere/officer.toml"}, "officer.toml"),
    ],
)
def test_mistakes_are_answered_in_one_message(
    office: Office, changed: dict[str, str], said: str
) -> None:
    result = office.enrol(**changed)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output
    assert not office.out.exists()


def test_a_photo_of_nobody_leaves_no_file(office: Office) -> None:
    (office.folder / "text.jpg").write_text("no photo")
    result = office.enrol(str(office.folder / "text.jpg"))
    assert result.exit_code == 1
    assert "not an image" in result.output
    assert not office.out.exists()


def test_nothing_is_sealed_to_who_is_not_the_investigator_of_a_signed_directory(
    office: Office,
) -> None:
    text = office.config.read_text()
    office.config.write_text(text.replace('name = "ines"', 'name = "mallory"'))
    assert "no investigator 'mallory'" in office.enrol().output
    office.config.write_text(text.replace('site = "north"', 'site = "south"'))
    assert office.enrol().exit_code == 1
    office.config.write_text(text)
    directory = bytearray((office.folder / "directory.cbor").read_bytes())
    directory[len(directory) // 2] ^= 1
    (office.folder / "directory.cbor").write_bytes(directory)
    assert office.enrol().exit_code == 1
    assert not office.out.exists()


def test_a_bundle_signed_by_a_stranger_is_refused(office: Office) -> None:
    lines = [line for line in office.config.read_text().splitlines() if "bundle_keys" not in line]
    office.config.write_text("\n".join(lines))
    result = office.enrol()
    assert result.exit_code == 1
    assert "no key trusted here" in result.output


def test_clothes_of_a_picture_make_a_template_beside_the_face_or_without(
    office: Office, model_bundle_path: Path, model_bundle_key: bytes
) -> None:
    made = [
        entry
        for entry in load_bundle(model_bundle_path, [model_bundle_key], roles=()).manifest.models
        if MODALITY_OF.get(entry.role) == FOLLOWED
    ]
    if not made:
        pytest.skip("the bundle has no network for clothes")
    body = {"appearance": str(office.photos / "astronaut.png"), "box": "40,0,250,500"}
    both = office.enrol(**body)
    assert both.exit_code == 0, both.output
    assert "1 photo" in both.output
    assert "a picture of their clothes" in both.output
    subject = SubjectFile.parse(office.out.read_bytes())
    assert {one.modality for one in subject.open(office.sealing)} == set(MODALITIES)
    alone = office.run(force="", **body)
    assert alone.exit_code == 0, alone.output
    subject = SubjectFile.parse(office.out.read_bytes())
    (template,) = subject.open(office.sealing)
    assert (template.modality, template.model) == (FOLLOWED, made[0].model_id)
    assert "photo" not in alone.output.replace("photo of", "")


def test_clothes_in_words_make_a_subject_file_that_says_so(
    office: Office, model_bundle_path: Path, model_bundle_key: bytes
) -> None:
    bundle = load_bundle(model_bundle_path, [model_bundle_key], roles=())
    if UPPER not in bundle.entry("appearance_embedder").parameters:
        pytest.skip("the bundle knows no words: build it anew")
    note = "by words: red jacket, dark trousers; a ranking aid, identifies nobody"
    result = office.run(words=" red jacket,  dark trousers")
    assert result.exit_code == 0, result.output
    subject = SubjectFile.parse(office.out.read_bytes())
    assert subject.words == "red jacket, dark trousers"
    assert f"enrolled {note}" in " ".join(result.output.split())
    (template,) = subject.open(office.sealing)
    assert (template.modality, template.model) == (FOLLOWED, bundle.model_id("appearance"))
    shown = CliRunner().invoke(app, ["show", str(office.out)])
    assert note in " ".join(shown.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("umbrella", "no garment with a colour"),
        ("red jacket, umbrella", "'umbrella' would be left out"),
        ("red\u202ejacket", "--words"),
    ],
)
def test_words_of_which_nothing_is_known_leave_no_file(
    office: Office, words: str, why: str
) -> None:
    result = office.run(words=words)
    assert result.exit_code == 1
    if "knows no words" not in result.output.replace("\n", " "):
        assert why in " ".join(result.output.split())
    assert not office.out.exists()


def test_words_go_with_no_photo(office: Office) -> None:
    result = office.enrol(words="red jacket")
    assert result.exit_code == 1
    assert "describes nobody in particular" in " ".join(result.output.split())


def test_neither_a_photo_nor_a_picture_is_nobody(office: Office) -> None:
    result = office.run()
    assert result.exit_code == 1
    assert "--photo of the face, or a picture with --appearance" in " ".join(result.output.split())
    assert not office.out.exists()


def test_a_pseudonym_of_somebody_else_is_refused_and_taken_anyway_if_told(office: Office) -> None:
    write_secret(office.folder / "sealing.secret", office.sealing.seed, None, "sealing")
    assert office.enrol().exit_code == 0
    other = {"out": str(office.folder / "q.subject")}
    again = office.enrol("obama2.jpg", **other)
    assert again.exit_code == 0, again.output
    refused = office.enrol("biden.jpg", force="", **other)
    assert refused.exit_code == 1
    assert "'patient-17' is somebody else in" in " ".join(refused.output.split())
    taken = office.enrol("biden.jpg", force="", anyway="", **other)
    assert taken.exit_code == 0, taken.output
