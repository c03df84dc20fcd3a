"""`sealtrace box`: exit codes, what is said, and who is told of a revocation over mutual TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from demo.processes import ending_with_us
from protocol.directory import BOX
from protocol.errors import PrincipalRevoked
from provisioning.authority import SitePaths, SitePlan, create_site, open_site
from provisioning.authority.box_cli import app
from provisioning.authority.push import officer_tls
from provisioning.authority.terminal import ago
from runtime import http

Run = Callable[..., Result]


@pytest.fixture
def run(passphrase: bytes, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)

    def ran(*arguments: object, passphrase_given: bytes = passphrase) -> Result:
        monkeypatch.setenv("SEALTRACE_PASSPHRASE", passphrase_given.decode())
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return ran


def test_add_list_swap_revoke(run: Run, site: SitePaths) -> None:
    source = "rtsp://user:secret@10.0.0.7/s"
    assert run("add", site.root, "box-3", "--camera", f"door={source}", "--dry-run").exit_code == 0
    assert open_site(site.root).directory.version == 1
    done = run("add", site.root, "box-3", "--camera", f"door={source}")
    assert done.exit_code == 0, done.output
    assert "directory version 2" in done.stdout
    again = run("add", site.root, "box-3", "--camera", f"door={source}", passphrase_given=b"")
    assert again.exit_code == 0, again.output
    assert run("swap", site.root, "box-3", "box-3b", "--dry-run").exit_code == 0
    assert open_site(site.root).directory.version == 2
    assert run("swap", site.root, "box-3", "box-3b").exit_code == 0
    assert run("revoke", site.root, "box-1", "--dry-run").exit_code == 0
    assert open_site(site.root).directory.version == 3
    assert run("revoke", site.root, "box-1").exit_code == 0
    listed = run("list", site.root)
    assert listed.exit_code == 0
    assert "door (rtsp://***@10.0.0.7/s)" in listed.stdout
    assert "secret" not in listed.stdout
    state = {entry["box"]: entry for entry in json.loads(run("list", site.root, "--json").stdout)}
    assert list(state) == ["box-1", "box-2", "box-3", "box-3b"]
    assert state["box-3b"]["revoked_at"] is None
    assert state["box-3"]["revoked_at"] is not None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["add", "SITE", "box-3"], 2, "NAME=URL"),
        (["add", "SITE", "box-3", "--camera", "door"], 2, "not NAME=URL"),
        (["add", "SITE", "box-3", "--camera", "Door=x"], 2, "not a name"),
        (["add", "SITE", "box-3", "--camera", "door=ftp://x"], 2, "begin with ftp://"),
        (["add", "SITE", "Box 3", "--camera", "door=x"], 1, "cannot be added: it is not a name"),
        (["add", "SITE", "box-3", "--camera", "cam-1=x"], 1, "box swap"),
        (["revoke", "SITE", "ana"], 1, "no box 'ana'; it has: box-1, box-2"),
        (["swap", "SITE", "box-7", "box-8"], 1, "no box 'box-7'"),
        (["list", "nowhere"], 1, "not a site's folder"),
    ],
)
def test_wrong_use_is_explained(
    run: Run, site: SitePaths, arguments: list[str], code: int, message: str
) -> None:
    done = run(*[site.root if argument == "SITE" else argument for argument in arguments])
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert open_site(site.root).directory.version == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (90_000, "25 h ago")],
)
def test_how_long_ago(seconds: int, text: str) -> None:
    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert ago(now - timedelta(seconds=seconds), now) == text
    assert ago(None, now) == "never"


def test_a_list_without_the_aggregator_still_lists(run: Run, site: SitePaths) -> None:
    done = run("list", site.root, "--live")
    assert done.exit_code == 1
    assert "box-2" in done.stdout
    assert "aggregator did not tell" in done.stderr


@pytest.fixture
def custodian_site(
    tmp_path: Path,
    make_plan: Callable[..., SitePlan],
    free_port: Callable[[], int],
    passphrase: bytes,
) -> Iterator[SitePaths]:
    """A site whose custodian c1 runs."""
    plan = make_plan(
        custodians=[{"name": f"c{n}", "port": free_port()} for n in (1, 2)],
        broker={"kind": "embedded", "port": 1883},
    )
    paths = create_site(plan, tmp_path / "live", passphrase)
    main = "from sealtrace.command import main; main()"
    command = [sys.executable, "-c", main, "custodian", "serve"]
    log = (tmp_path / "c1.log").open("wb")
    process = subprocess.Popen(
        ending_with_us([*command, "--config", str(paths.custodian("c1"))]),
        env={**os.environ, "SEALTRACE_PASSPHRASE": passphrase.decode()},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait_until_up(paths, process, tmp_path / "c1.log")
        yield paths
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def _wait_until_up(paths: SitePaths, process: subprocess.Popen[bytes], log: Path) -> None:
    site = open_site(paths.root)
    url = site.directory.principals["c1"].url or ""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with http.client(url, officer_tls(site, None), 5) as client:
                client.get("/v1/status")
        except http.PeerUnreachable:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the custodian did not come up:\n{log.read_text()[-2000:]}")


@pytest.mark.system
def test_a_revocation_is_pushed_to_those_who_run(run: Run, custodian_site: SitePaths) -> None:
    done = run("revoke", custodian_site.root, "box-1", "--push")
    assert done.exit_code == 1, "c2 and the aggregator do not run"
    assert "✓ c1: has version 2" in done.stdout
    assert "✗ c2: https://localhost" in done.stdout
    assert "2 of 4 could not be told" in done.stdout
    site = open_site(custodian_site.root)
    with pytest.raises(PrincipalRevoked):
        site.directory.require("box-1", BOX)
    with http.client(
        site.directory.principals["c1"].url or "", officer_tls(site, None), 10
    ) as client:
        status = http.raise_for_problem(client.get("/v1/status")).json()
    assert status["directory_version"] == 2
    again = run("revoke", custodian_site.root, "box-1", "--push", passphrase_given=b"")
    assert "✓ c1: has version 2" in again.stdout
