"""`sealtrace box` and `sealtrace registrar`: claim, join, the USB stick, renew, revoke, list."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from registrar_site import RegistrarSite, copy_of, served
from typer.testing import CliRunner, Result
from waiting import wait_for

from edge_agent.config import load_box
from provisioning.authority import SitePaths, SitePlan, box_cli
from provisioning.box.firstboot import units
from provisioning.formats.claimfile import load_claim
from provisioning.formats.plan import load_plan
from provisioning.registrar import cli as registrar_cli
from provisioning.registrar.publish import Publisher, publish_now
from sealtrace import command

Run = Callable[..., Result]
CAMERA = "door=rtsp://user:secret@10.0.0.7/s1"


@pytest.fixture
def run(passphrase: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SEALTRACE_TPM", raising=False)
    monkeypatch.setattr("provisioning.box.firstboot.tpm.DEVICE", tmp_path / "no-tpm")
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: object, app: object = box_cli.app, given: bytes = passphrase) -> Result:
        monkeypatch.setenv("SEALTRACE_PASSPHRASE", given.decode())
        return CliRunner().invoke(app, [str(argument) for argument in arguments])  # type: ignore[arg-type]

    return ran


@pytest.fixture
def site(made_registrar_site: SitePaths, tmp_path: Path, passphrase: bytes) -> RegistrarSite:
    return copy_of(made_registrar_site, tmp_path, passphrase)


def said(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def listed(run: Run, site: RegistrarSite) -> dict[str, dict[str, object]]:
    rows = json.loads(said(run("list", site.paths.root, "--json")))
    return {row["box"]: row for row in rows}


@pytest.mark.slow
def test_from_claim_to_swap_over_the_network(run: Run, site: RegistrarSite) -> None:
    root, box = site.paths.root, Path("at-the-camera")
    assert "would claim" in said(run("claim", root, "box-7", "--camera", CAMERA, "--dry-run"))
    assert not Path("box-7.claim.toml").exists()
    text = said(run("claim", root, "box-7", "--camera", CAMERA, given=b""))
    assert "box-7.claim.toml" in text
    assert "secret" not in text
    assert Path("box-7.claim.toml").stat().st_mode & 0o777 == 0o600
    assert "not admitted yet; its claim ends" in str(listed(run, site)["box-7"]["trouble"])
    claim = ("--claim-file", "box-7.claim.toml", "--folder", box)
    assert "would join" in said(run("join", *claim, "--dry-run"))
    text = said(run("join", *claim), 1)
    assert "cannot be reached" in text  # the service does not run yet
    with served(site.registrar):
        assert "box-7 is admitted" in said(run("join", *claim))
        assert load_box(box / "box.toml").cameras[0].name == "door"
        again = said(run("join", *claim))  # the claim is used: what is there is used
        assert "box-7 is admitted" in again
        assert "not due yet" in said(run("renew", "--folder", box, "--if-due"))
        assert "renewed" in said(run("renew", "--folder", box))
        assert "keys are in" in said(run("unseal", "--folder", box))
        assert listed(run, site)["box-7"]["certificate_days"] == 30
        text = said(run("swap", root, "box-7", "box-8"))
        assert "box-7 is revoked" in text
        assert "✗ c1" in text  # nobody runs here
        assert "box-7 was revoked before" in said(run("revoke", root, "box-7"))
        assert "has been revoked" in said(run("renew", "--folder", box), 1)
        said(run("join", "--claim-file", "box-8.claim.toml", "--folder", "second"))
    rows = listed(run, site)
    assert rows["box-7"]["revoked_at"] is not None
    assert rows["box-8"]["cameras"] == ["door"]
    assert "site has no box 'box-99'" in said(
        run("revoke", site.paths.registrar.parent, "box-99"), 1
    )


@pytest.mark.slow
def test_an_import_station_joins_without_a_camera_and_is_given_its_films(
    run: Run, site: RegistrarSite
) -> None:
    root, box = site.paths.root, Path("station")
    assert "an import station" in said(run("claim", root, "station-1", "--station", "--dry-run"))
    text = said(run("claim", root, "station-1", "--station"))
    assert "sealtrace box recordings DIR station-1 --camera NAME --push" in text
    said(run("claim", root, "station-1"))  # it came too late: announced once more
    claim = ("--claim-file", "station-1.claim.toml", "--folder", box)
    with served(site.registrar):
        assert "station-1 is admitted" in said(run("join", *claim))
        assert load_box(box / "box.toml").cameras == ()
        films = ("--camera", "door", "--camera", "hall")
        given = said(run("recordings", root, "station-1", *films, "--push"), 1)
        assert "✓ registrar: has version 2" in given  # whose folder is here as well
        assert "✗ c1" in given  # nobody runs here
        assert site.registrar.directory.principals["station-1"].recordings == ("door", "hall")
        text = (
            box / "box.toml"
        ).read_text() + '\n[[recordings]]\nname = "door"\ndetect_fps = 2.0\n'
        (box / "box.toml").write_text(text)
        assert "renewed" in said(run("renew", "--folder", box))
        assert load_box(box / "box.toml").recordings[0].detect_fps == 2.0  # this box's to say
    away = said(run("recordings", root, "station-1", "--camera", "door", "--push"), 1)
    assert "✓ registrar: has version 3 (it does not answer; the file is in its folder here)" in away
    said(run("swap", root, "station-1", "station-2"))
    assert listed(run, site)["station-2"]["cameras"] == []


def test_a_box_without_a_network_comes_in_by_usb_stick(run: Run, site: RegistrarSite) -> None:
    root, box, stick = site.paths.root, Path("at-the-camera"), Path("usb")
    stick.mkdir()
    said(run("claim", root, "box-7", "--camera", CAMERA))
    side = ("--claim-file", "box-7.claim.toml", "--folder", box)
    assert "would join" in said(run("request", *side, "--out", stick, "--dry-run"))
    assert "box-7.request" in said(run("request", *side, "--out", stick))
    ask = (root, stick / "box-7.request", "--out", stick)
    assert "would admit box-7" in said(run("admit", *ask, "--dry-run"))
    assert not (stick / "box-7.admission").exists()
    assert "box-7 is admitted" in said(run("admit", *ask))
    assert "box-7 is admitted" in said(run("admit", *ask))  # the stick was lost: once more
    answer = stick / "box-7.admission"
    sources = Path("cameras.json")
    sources.write_text(json.dumps([{"name": "door", "source": "rtsp://10.9.9.9/s2"}]))
    install = ("install", answer, "--folder", box)
    assert "would install" in said(run(*install, "--dry-run"))
    assert "box-7 is admitted" in said(run(*install, "--cameras-file", sources))
    assert load_box(box / "box.toml").cameras[0].source == "rtsp://10.9.9.9/s2"
    assert "box-7 is admitted" in said(run(*install))
    assert load_box(box / "box.toml").cameras[0].source == "rtsp://10.9.9.9/s2"  # stays
    other = Path("elsewhere")
    said(run("claim", root, "box-8", "--camera", "yard=rtsp://10.0.0.8/s1"))
    said(run("request", "--claim-file", "box-8.claim.toml", "--folder", other, "--out", stick))
    assert "this is 'box-8'" in said(run("install", answer, "--folder", other), 1)
    answer.write_bytes(b"no")
    assert "is not headquarters' answer" in said(run(*install), 1)
    assert "is not a box's request" in said(run("admit", root, answer, "--out", stick), 1)


def test_wrong_use_is_explained(run: Run, site: RegistrarSite, tmp_path: Path) -> None:
    root = site.paths.root
    assert "needs a camera" in said(run("claim", root, "box-7"), 1)
    refused = said(run("claim", root, "box-7", "--camera", CAMERA, "--station"), 1)
    assert "has cameras: it is no import station" in refused
    assert "is on box 'box-1'" in said(run("claim", root, "x", "--camera", "cam-1=rtsp://h/s"), 1)
    assert "in the site already" in said(run("claim", root, "box-1", "--camera", CAMERA), 1)
    assert "not free" in said(run("claim", root, "registrar", "--camera", CAMERA), 1)
    assert run("claim", root, "box-7", "--camera", "door").exit_code == 2
    assert "no registrar" in said(run("claim", tmp_path, "b", "--camera", CAMERA), 1)
    assert "not an admitted box" in said(run("renew", "--folder", tmp_path / "none"), 1)
    said(run("claim", root, "box-7", "--camera", CAMERA))
    said(run("claim", root, "box-8", "--camera", "yard=rtsp://h/s"))
    taken = said(run("claim", root, "box-9", "--camera", CAMERA), 1)
    assert "claimed for box 'box-7'" in taken
    folder = ("--folder", "box")
    said(run("request", "--claim-file", "box-7.claim.toml", *folder, "--out", "r"))
    mixed = said(run("request", "--claim-file", "box-8.claim.toml", *folder, "--out", "r"), 1)
    assert "use an empty folder" in mixed
    wrong = said(run("revoke", root, "box-7", given=b"not the passphrase"), 1)
    assert "passphrase does not open" in wrong


def test_cameras_with_all_their_settings_come_from_a_file(run: Run, site: RegistrarSite) -> None:
    file = Path("cameras.toml")
    file.write_text(
        '[[cameras]]\nname = "door"\nsource = "file:door.mp4"\ndetect_fps = 4.0\n'
        'pace = "fast"\nrecorded_at = 2026-11-20T08:00:00Z\n'
    )
    said(run("claim", site.paths.root, "box-7", "--cameras-file", file))
    with served(site.registrar):
        said(run("join", "--claim-file", "box-7.claim.toml", "--folder", "box"))
    (camera,) = load_box(Path("box/box.toml")).cameras
    assert camera.detect_fps == 4.0
    assert camera.recorded_at == datetime(2026, 11, 20, 8, tzinfo=UTC)
    file.write_text("cameras = 3")
    assert "lists no cameras" in said(run("claim", site.paths.root, "b", "--cameras-file", file), 1)


def test_the_service_checks_and_prints_its_configuration(run: Run, site: RegistrarSite) -> None:
    config = ("--config", site.paths.registrar)
    assert "is in order" in said(run("serve", *config, "--check", app=registrar_cli.app))
    assert "[claims]" in said(run("serve", *config, "--print-config", app=registrar_cli.app))
    wrong = run("serve", *config, "--check", app=registrar_cli.app, given=b"not the passphrase")
    assert "passphrase does not open" in said(wrong, 1)


def test_the_claim_of_an_image_is_what_the_box_reads(run: Run, site: RegistrarSite) -> None:
    said(run("claim", site.paths.root, "box-7", "--camera", CAMERA, "--out", "c.toml"))
    claim = load_claim(Path("c.toml"))
    assert (claim.site, claim.box, claim.url) == ("demo", "box-7", site.config.url)
    assert len(claim.secret) == 32
    assert claim.used().secret == b""


@pytest.mark.processes
def test_the_units_are_what_systemd_takes(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "units"
    said(run("units", "--out", out, "--command", "/usr/bin/true", "--folder", "/var/lib/box"))
    assert {path.name for path in out.iterdir()} == set(units.units())
    try:
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *map(str, out.iterdir())],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not installed")
    complaints = [line for line in checked.stderr.splitlines() if "sealtrace" in line]
    assert not [line for line in complaints if "sealtrace-edge.service" not in line], complaints


@pytest.mark.processes
def test_lists_reach_a_broker_on_another_machine_by_a_command(
    site: RegistrarSite, tmp_path: Path
) -> None:
    """The command is run again until it succeeds; without one, somebody is told what to carry."""
    there = tmp_path / "there"
    text = site.paths.registrar.read_text().replace(
        'folder = "../broker"',
        f'push = ["sh", "-c", "test -d {there} && cp -r acl certs {there}"]',
    )
    site.paths.registrar.write_text(text)
    site.registrar.close()
    site.registrar = site.open()
    site.claim()
    site.registrar.revoke("box-7")
    publisher = Publisher(site.registrar)
    publisher.step()
    assert not (there / "acl").exists()
    there.mkdir()

    def arrived() -> bool:
        publisher.step()
        return (there / "acl").exists()

    wait_for(arrived, "the lists to be pushed")
    assert "user box-7\ntopic deny st/v1/" in (there / "acl").read_text()
    assert b"BEGIN X509 CRL" in (there / "certs" / "crl.pem").read_bytes()
    broker, *_ = publish_now(site.registrar)
    assert (broker.name, broker.problem) == ("broker", "")


def as_version_1_made_it(site: RegistrarSite) -> Path:
    """Give folder, configuration and section of the registrar their former names."""
    made = site.paths.registrar
    former = made.parent.rename(site.paths.root / "enrolment")
    (former / made.name).rename(former / "enrolment.toml")
    plan = site.paths.plan.read_text()
    assert "[registrar]" in plan
    site.paths.plan.write_text(plan.replace("[registrar", "[enrolment"))
    return former


def test_a_site_that_has_the_registrar_under_its_former_name_goes_on(
    run: Run, site: RegistrarSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = site.config.http.port
    former = as_version_1_made_it(site)
    opened = load_plan(site.paths.plan)
    assert opened.registrar is not None and opened.registrar.port == port
    assert site.paths.registrar == former / "enrolment.toml"
    assert former in site.paths.role_folders()
    said(run("claim", site.paths.root, "box-7", "--camera", CAMERA))
    said(run("claim", former, "box-8", "--camera", "yard=rtsp://10.0.0.8/s1"))
    monkeypatch.chdir(former)
    assert "enrolment.toml is in order" in said(run("serve", "--check", app=registrar_cli.app))


def test_a_site_is_made_without_a_registrar_under_either_name(
    make_plan: Callable[..., SitePlan],
) -> None:
    for name in ("registrar", "enrolment"):
        assert make_plan(**{name: False}).registrar is None


def test_commands_answer_to_the_names_that_they_had_in_version_1(
    run: Run, site: RegistrarSite, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["enrolment", "serve", "--config", str(site.paths.registrar), "--print-config"]
    assert command.run(words) == command.OK
    assert "[claims]" in capsys.readouterr().out
    site.claim()
    claim = ("--claim-file", site.boxes / "box-7.claim.toml", "--folder", "box")
    assert "would join" in said(run("enrol", *claim, "--dry-run"))
    assert command.run(["help"]) == command.OK
    assert "enrolment" not in capsys.readouterr().out
    assert "enrol " not in said(run("--help"))
