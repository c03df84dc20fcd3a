"""A whole day of every role, with every look-up and connection recorded: only the site's peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import wire_record
from wire_record import Contact

_SUPPORT = Path(__file__).resolve().parents[1] / "support"
_DAY_TIMEOUT_S = 280
_SILENCED = ("ORT_", "OTEL_", "SEALTRACE")


@dataclass(frozen=True)
class Day:
    """What the day's processes did: whom they spoke to, which ran, what they left in their home."""

    contacts: list[Contact]
    ran: set[str]
    allowed: dict[str, set[int]]
    home: Path


@pytest.fixture(scope="module")
def day(
    tmp_path_factory: pytest.TempPathFactory,
    mosquitto_program: str,
    photos_path: Path,
    model_bundle_path: Path,
) -> Iterator[Day]:
    """Everybody's day, in a network without a way out, without a variable that silences anybody."""
    assert mosquitto_program
    folder, home = tmp_path_factory.mktemp("day"), tmp_path_factory.mktemp("home")
    record = folder / "record"
    prefix = wire_record.alone_and_recorded(record)
    if prefix is None:
        pytest.skip("needs strace, iproute2 and a network namespace (root, or user namespaces)")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_SILENCED)}
    clips = _SUPPORT.parents[1] / ".sealtrace" / "demo" / "clips"
    done = subprocess.run(
        [*prefix, sys.executable, str(_SUPPORT / "whole_day.py"), str(folder / "site"),
         str(photos_path), str(model_bundle_path), str(clips)],
        env={**environment, "HOME": str(home), "PYTHONPATH": str(_SUPPORT)},
        capture_output=True, text=True, timeout=_DAY_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    ports = json.loads((folder / "site" / "ports.json").read_text())
    custodians = {ports[name] for name in ("c1", "c2", "c3")}
    offices = custodians | {ports["aggregator"]}
    allowed = {
        "edge run": {ports["broker"]},
        "broker serve": {ports["spare"]},  # its own, to see that it listens
        "aggregator serve": {ports["headquarters"], *custodians},
        "registrar serve": {ports["broker"], *offices},
        "box join": {ports["registrar"]},
        "box renew": {ports["registrar"]},
        "box claim": {ports["registrar"], ports["broker"]},
        "query file": {ports["aggregator"]},
        "query approve": {ports["aggregator"]},
        "query wait": {ports["aggregator"]},
        "trace show": offices,  # custodians for their receipts of what they opened
        "audit fetch": offices,
    }
    yield Day(list(wire_record.contacts(record)), wire_record.roles_seen(record), allowed, home)


def test_every_role_had_its_day(day: Day) -> None:
    assert day.ran >= {*day.allowed, "custodian serve", "broker serve", "subject enrol"}
    assert day.ran >= {"audit verify", "release update"}
    spoke = {one.role for one in day.contacts}
    assert spoke >= {"edge run", "aggregator serve", "box join", "query file", "audit fetch"}


def test_only_the_sites_peers_are_looked_up_or_spoken_to(day: Day) -> None:
    found = wire_record.strangers(day.contacts, day.allowed)
    assert not found, "\n".join(sorted({f"{one.role}: {one.line}" for one in found})[:20])


def test_no_library_keeps_an_identifier_of_the_machine(day: Day) -> None:
    assert not [path for path in day.home.rglob("*") if path.is_file()]
