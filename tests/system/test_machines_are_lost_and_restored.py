"""A custodian and the aggregator are lost, and put back from backups: a query finds the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from puppet_box import PuppetBox, person, slots_ago
from query_desk import QueryDesk, template_of
from running_site import SERVERS, RunningSite, plan_with_dan
from waiting import wait_for

from protocol.names import SLOT_MS
from protocol.results import Candidate
from protocol.sightings import quantise_template

SUBJECT = person(11)
NOT_YET_COSIGNED = {"cosignatures-missing", "not-yet-cosigned"}
LOST = {"c1": "custodian", "aggregator": "aggregator"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RunningSite]:
    cameras = {"cam-1": {"source": "file:none.mp4"}}
    made = RunningSite(plan_with_dan(cameras, bundle=None), tmp_path)
    try:
        made.start(*SERVERS)
        yield made
    finally:
        made.stop()


def config_of(site: RunningSite, name: str) -> str:
    return str(site.folder(name) / f"{LOST[name]}.toml")


def found_by(desk: QueryDesk, window: tuple[int, int]) -> list[tuple[bytes, float | None]]:
    """Ask, have it approved, read the candidates: which sightings, and how like."""
    case = desk.draft([template_of(*quantise_template(SUBJECT))], ["cam-1"], *window)

    def told(candidate: Candidate) -> tuple[bytes, float | None]:
        return candidate.sighting_id, candidate.score

    return sorted(map(told, desk.run(case)))


def audited(site: RunningSite, logs: str) -> list[dict[str, str]]:
    """Fetch all logs into a folder; return what verifying them finds."""
    site.local.run("eve", "audit", "fetch", "--out", logs)
    told = site.local.run("eve", "audit", "verify", logs, "--json", expect=None)
    findings: list[dict[str, str]] = json.loads(told)["findings"]
    return findings


def kinds(findings: list[dict[str, str]]) -> set[str]:
    return {one["kind"] for one in findings}


def test_what_was_lost_with_its_machine_answers_as_before_and_its_log_goes_on(
    site: RunningSite, tmp_path: Path
) -> None:
    desk, slot_ms = QueryDesk(site), slots_ago(3)
    with PuppetBox(site, "box-1") as box:
        box.show(slot_ms, person(12), SUBJECT)
    site.wait_stored("cam-1", 2)
    window = (slot_ms, slot_ms + SLOT_MS)
    before = found_by(desk, window)
    assert len(before) == 1
    for name, role in LOST.items():
        backup = str(tmp_path / name)
        site.command(role, "backup", "--out", backup, "--config", config_of(site, name))
    assert found_by(desk, window) == before  # the logs go on after the backup
    logs = str(tmp_path / "eve")
    wait_for(
        lambda: not kinds(audited(site, logs)) & NOT_YET_COSIGNED,
        "all others to have seen what the logs have since",
    )
    for name in LOST:
        site.kill(name)
        shutil.rmtree(site.folder(name))
    for name, role in LOST.items():
        folder = site.local.paths.root / ("custodians" if role == "custodian" else "") / name
        restore = [role, "restore", str(tmp_path / name), "--config", str(folder / f"{role}.toml")]
        said = site.command(*restore, expect=1)
        assert "would show a second history" in " ".join(said.split())
        said = site.command(*restore, "--log-copy", logs)
        assert "is in order" in said
        assert not list(folder.rglob("day-keys.secret*"))
        site.start(name)
    assert found_by(desk, window) == before
    assert [one for one in audited(site, logs) if one["severity"] == "wrong"] == []
