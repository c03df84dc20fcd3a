"""`sealtrace desk`: starts, opens the one that runs, ends cleanly; on loopback and at one port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from desk_process import Desk
from officer_site import OfficerSite

from demo.ports import free_port
from officers.desk.officer import Officer
from officers.desk_cli import app
from officers.pages import running
from officers.pages.assets import AssetsMissing, Vendor


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.mark.processes
def test_a_second_call_opens_the_desk_that_runs_and_ctrl_c_ends_it(site: OfficerSite) -> None:
    port = free_port()
    first = Desk(site, "ana", "--port", str(port))
    start = first.address()
    assert f":{port}/" in start
    second = Desk(site, "ana")
    again = second.address()
    assert second.process.wait(30) == 0
    assert f":{port}/" in again
    assert again != start
    with httpx.Client(follow_redirects=False) as browser:
        assert browser.get(start).headers["location"] == "/lock"
        assert "locked" in browser.get(f"http://localhost:{port}/lock").text
    with httpx.Client(follow_redirects=False) as other:
        assert other.get(again).status_code == 303
    code, rest = first.end()
    assert (code, "Traceback" in rest) == (0, False)
    assert "your keys are forgotten" in rest
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)


@pytest.mark.processes
def test_nothing_of_a_page_is_logged_but_its_kind(site: OfficerSite) -> None:
    desk = Desk(site, "bo", "--port", str(free_port()))
    start = desk.address()
    with httpx.Client(follow_redirects=False) as browser:
        browser.get(start)
        base = start.partition("/start")[0]
        browser.get(f"{base}/queries/patient-17?name=secret")
        browser.get(f"{base}/nowhere/patient-17")
    _, rest = desk.end()
    for word in ("patient-17", "secret", start.partition("token=")[2]):
        assert word not in rest


def test_a_port_that_is_taken_is_said_with_what_to_do(site: OfficerSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = site.run(app, "cy", "--no-browser", "--port", str(port))
    assert result.exit_code == 1
    assert f"port {port} of this machine is taken" in " ".join(result.output.split())
    assert "--port" in result.output


def test_each_officer_has_a_port_of_their_own_that_stays(site: OfficerSite) -> None:
    officers = [Officer.load(site.officer(name)) for name in ("ana", "bo", "cy")]
    first = [running.choose_port(one, None) for one in officers]
    assert first == [running.choose_port(one, None) for one in officers]
    assert len(set(first)) == 3
    assert all(running.FIRST_PORT <= one < running.FIRST_PORT + running.PORTS for one in first)


def test_one_officer_has_one_desk_and_a_record_that_only_they_read(site: OfficerSite) -> None:
    officer = Officer.load(site.officer("dan"))
    claim = running.claim(officer)
    assert claim is not None
    assert running.claim(officer) is None
    with pytest.raises(running.DeskUnreachable, match="does not answer"):
        running.start_of_running(officer)
    claim.close()
    again = running.claim(officer)
    assert again is not None
    again.close()


@pytest.mark.slow
def test_missing_files_of_others_are_said_with_the_command_that_sets_them_up(
    tmp_path: Path,
) -> None:
    with pytest.raises(AssetsMissing, match="sealtrace desk install"):
        Vendor(tmp_path).check()


@pytest.mark.slow
def test_a_file_of_others_that_was_altered_is_not_served(tmp_path: Path) -> None:
    real = Vendor()
    name = real.versioned("htmx.org/dist/htmx.min.js")
    data = real.read(name)
    assert data is not None
    place = tmp_path / name
    place.parent.mkdir(parents=True)
    place.write_bytes(data.replace(b"htmx", b"hxtm", 1))
    with pytest.raises(AssetsMissing, match="not what was pinned"):
        Vendor(tmp_path).read(name)
