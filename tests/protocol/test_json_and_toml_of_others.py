"""JSON and TOML of others are read or refused with one kind of error, and read in one place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import httpx
import pytest

from protocol.textformats import parse_json, parse_toml
from runtime.problems import ProblemError, json_of

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "protocol", "runtime", "custodian", "aggregator", "edge_agent", "officers", "provisioning",
    "models", "demo", "sealtrace",
)  # fmt: skip
OF_OUR_OWN = {
    "protocol/textformats.py",
    # columns of our own databases, written by the same program
    "aggregator/store/postgresql/health.py",
    "aggregator/store/postgresql/queries.py",
    "aggregator/store/sqlite/health.py",
    "aggregator/store/sqlite/intake.py",
    "aggregator/store/sqlite/queries.py",
    "custodian/destruction.py",
    "custodian/rounds.py",
    "provisioning/registrar/store.py",
    # a script for first boot, which reads the claim on its card without our code
    "provisioning/fleet/image/firstboot_scripts.py",
    # what ships with the program, and the demo's own processes
    "demo/handed_over.py",
    "demo/local_site.py",
    "demo/officers.py",
    "demo/processes.py",
    "demo/tour/auditing.py",
    "models/build.py",
    # reports and counts that ship with the program, and files whose hash was checked before
    "models/appearance/anatomy.py",
    "models/appearance/source.py",
    "models/calibration/counts.py",
    "models/person_detector/tfjs.py",
}


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "NaN", "[-Infinity]", "1e999", "9" * 5000, "", "'a'", "{}x"],
)
def test_what_is_not_json_of_finite_numbers_is_a_value_error(text: str) -> None:
    for spelt in (text, text.encode()):
        with pytest.raises(ValueError, match=r"."):
            parse_json(spelt)


def test_bytes_that_are_no_text_are_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(b"\xff\xfe\xff")


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "a = " + "{a=" * 5000, "a = " + "9" * 5000, "a = 2026-99-99", "a"],
)
def test_what_is_not_toml_is_a_toml_error(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        parse_toml(text)


def test_what_is_json_or_toml_is_read() -> None:
    assert parse_json(b'{"a": [1, 2.5, null, "x"]}') == {"a": [1, 2.5, None, "x"]}
    assert parse_toml('a = 1\n[b]\nc = "x"') == {"a": 1, "b": {"c": "x"}}


@pytest.mark.parametrize("content", [b"[" * 100_000, b"<html>", b"", b"NaN"])
def test_a_server_whose_answer_is_no_json_is_said_to_be_another(content: bytes) -> None:
    request = httpx.Request("GET", "https://h/")
    with pytest.raises(ProblemError, match="no JSON"):
        json_of(httpx.Response(200, content=content, request=request))


@pytest.mark.slow
def test_nothing_else_reads_json_or_toml_of_others() -> None:
    reading = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\b(json|tomllib)\.loads?\(|\.json\(\)", path.read_text())
    }
    assert reading == OF_OUR_OWN
