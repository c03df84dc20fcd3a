"""A pseudonym that stands for somebody else is noticed, and nothing of either is told."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edge_agent.enrol import Enrolled
from edge_agent.same_pseudonym import PseudonymTaken, check_pseudonym, files_of
from protocol import hpke
from protocol.keytree import APPEARANCE, FACE
from protocol.sightings import quantise_template
from protocol.templates import SALT_BYTES, SubjectFile, Template
from runtime.keyfiles import Cost, write_secret

SEED = bytes(range(96))
KEY = hpke.PrivateKey(SEED)
MODEL = "sample-64@00000000"
PASSPHRASE = b"four words make one"


def person(number: int, *, model: str = MODEL, modality: str = FACE) -> Enrolled:
    vector = np.random.default_rng(number).standard_normal(64).astype(np.float32)
    return Enrolled(vector / np.linalg.norm(vector), modality, model, 0.9, 1.0)


def enrolled(
    folder: Path,
    name: str,
    one: Enrolled,
    *,
    pseudonym: str = "P-17",
    to: hpke.PublicKey | None = None,
) -> Path:
    row, scale = quantise_template(one.vector)
    template = Template(one.modality, one.model_id, os.urandom(SALT_BYTES), row, scale)
    subject = SubjectFile.enrol(pseudonym, "C-1", [template], to or KEY.public, enrolled_at_ms=1)
    path = folder / name
    path.write_bytes(subject.to_bytes())
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "sealing.secret"
    path.parent.mkdir()
    write_secret(path, SEED, PASSPHRASE, "sealing", cost=Cost(memory_kib=64))
    return path


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_bytes(PASSPHRASE)
    return path


def check(one: Enrolled, folder: Path, key: Path, passphrase: Path | None) -> None:
    check_pseudonym(
        [one],
        files_of("P-17", [folder, folder]),
        key,
        passphrase_file=passphrase,
        calibrations=dict,
    )


def test_the_same_person_may_be_enrolled_again(
    tmp_path: Path, key: Path, passphrase: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrolled(tmp_path, "a.subject", person(1))
    check(person(1), tmp_path, key, passphrase)
    assert capsys.readouterr().err == ""


def test_somebody_else_under_the_same_pseudonym_is_refused_and_nothing_is_told_of_them(
    tmp_path: Path, key: Path, passphrase: Path
) -> None:
    path = enrolled(tmp_path, "a.subject", person(1))
    with pytest.raises(PseudonymTaken) as raised:
        check(person(2), tmp_path, key, passphrase)
    said = str(raised.value)
    assert str(path) in said
    assert "--anyway" in said
    assert not any(char.isdigit() for char in said.replace(str(path), "").replace("P-17", ""))


def test_other_pseudonyms_and_what_is_no_subject_file_are_passed_by(
    tmp_path: Path, key: Path, passphrase: Path
) -> None:
    enrolled(tmp_path, "a.subject", person(1), pseudonym="P-18")
    (tmp_path / "b.subject").write_bytes(b"nothing")
    (tmp_path / "c.subject").mkdir()
    check(person(2), tmp_path, tmp_path / "no-key-is-needed", None)


@pytest.mark.parametrize("why", ["key", "model", "clothes", "passphrase"])
def test_where_nobody_can_tell_it_is_said(
    tmp_path: Path, key: Path, passphrase: Path, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    others = hpke.PrivateKey.generate().public if why == "key" else None
    model = "other-64@00000000" if why == "model" else MODEL
    one = person(1, model=model, modality=APPEARANCE if why == "clothes" else FACE)
    enrolled(tmp_path, "a.subject", one, to=others)
    now = person(2, modality=APPEARANCE if why == "clothes" else FACE)
    check(now, tmp_path, key, None if why == "passphrase" else passphrase)
    said = capsys.readouterr().err
    assert "has the same pseudonym, and whether it is the same person cannot be told" in said
