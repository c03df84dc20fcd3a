"""A new modality is a line in protocol/keytree.py, not a search through the house."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from protocol.keytree import MODALITIES

ROOT = Path(__file__).resolve().parents[2]
ROLES = (
    "protocol", "runtime", "edge_agent", "custodian", "aggregator", "officers", "provisioning",
    "models", "demo", "sealtrace",
)  # fmt: skip
MAY_NAME_THEM = {
    "protocol/keytree.py",  # where they are defined
    "runtime/bundle.py",  # which network makes which
    "officers/desk/modality_words.py",  # what officers read of each
    "officers/desk/report/asked.py",  # the same in a report, for its translation
    "officers/file_cli.py",  # the help of --modality
    # the network that is called by what it is made for
    "models/appearance/export.py",
    "models/appearance/source.py",
    "models/appearance/train.py",
    "models/appearance/training.py",
}
CONSTANTS = {modality.upper() for modality in MODALITIES}
AS_A_WORD = re.compile(rf"\b({'|'.join(MODALITIES)})\b", re.IGNORECASE)
"""Where no modality is a word, not even of prose, there is nothing to parse."""


def names_a_modality(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=value):
            return value in MODALITIES
        case ast.Name(id=name):
            return name in CONSTANTS
        case ast.Attribute(attr=name) | ast.keyword(arg=name) | ast.arg(arg=name):
            return name in MODALITIES
    return False


def naming(source: str) -> bool:
    return AS_A_WORD.search(source) is not None and any(
        names_a_modality(node) for node in ast.walk(ast.parse(source))
    )


@pytest.mark.slow
def test_no_other_code_names_a_modality() -> None:
    found = {
        str(path.relative_to(ROOT))
        for role in ROLES
        for path in (ROOT / role).rglob("*.py")
        if naming(path.read_text("utf-8"))
    }
    assert found == MAY_NAME_THEM


def test_the_search_finds_every_way_to_name_one() -> None:
    for source in ("x = 'face'", "sighting.face", "seal(face=1)", "def f(face): ...", "use(FACE)"):
        assert naming(source), source
    assert not naming("face_detector = surface(faces)")
