"""What the authority says of boxes that the registrar admitted is written by the same commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from registrar_site import RegistrarSite, copy_of, served
from serving import Serving
from starlette.responses import Response
from typer.testing import CliRunner, Result

from demo.ports import free_port
from protocol.admissions import Admissions, open_admissions
from protocol.boxterms import BoxTerms
from protocol.directory import BOX, Principal, open_directory
from protocol.signing import SigningKey
from provisioning.authority import SiteError, SitePaths, SitePlan, boxes, create_site, open_site
from provisioning.authority.box_cli import app as box_app
from provisioning.authority.box_versions import seal_versions, set_recordings
from provisioning.authority.known_boxes import admissions_here
from provisioning.formats.plan_boxes import BoxPlan, CameraPlan
from runtime.config import TlsConfig
from runtime.role_api import site_routes
from runtime.trust import Trust

Run = Callable[..., Result]
ADMITTED, LISTED = "box-7", "box-1"
PORT = free_port()  # of the aggregator


@pytest.fixture
def run(passphrase: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", passphrase.decode())
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: object) -> Result:
        return CliRunner().invoke(box_app, [str(argument) for argument in arguments])

    return ran


@pytest.fixture(scope="module")
def made(
    make_plan: Callable[..., SitePlan],
    tmp_path_factory: pytest.TempPathFactory,
    passphrase: bytes,
) -> SitePaths:
    """A site in which the registrar has admitted ``box-7``, that tests only copy."""
    plan = make_plan(
        registrar={"port": free_port()}, aggregator={"port": PORT}, broker={"kind": "mosquitto"}
    )
    folder = tmp_path_factory.mktemp("admitted")
    first = RegistrarSite(create_site(plan, folder / "site", passphrase), passphrase, folder / "b")
    with served(first.registrar):
        first.join(first.claim(ADMITTED), ADMITTED)
    first.registrar.close()
    return first.paths


@pytest.fixture
def site(made: SitePaths, tmp_path: Path, passphrase: bytes) -> RegistrarSite:
    return copy_of(made, tmp_path, passphrase)


def said(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def row(box: str, protocol: int | None, version_1_ms: int | None = None) -> dict[str, Any]:
    """As ``GET /v1/boxes`` tells it."""
    return {"box": box, "protocol": protocol, "version_1_ms": version_1_ms}


def aggregator(
    site: RegistrarSite, *rows: dict[str, Any], admissions: bytes | None = None
) -> Serving:
    """Serve what an aggregator that holds the newest lists tells of boxes, or forges."""
    paths = site.paths
    trust = Trust(
        site="demo",
        authority=open_site(paths.root).authority,
        installed=paths.aggregator.parent / "directory.cbor",
        state_dir=None,
    )
    signed = site.registrar.signed_admissions
    assert signed is not None
    assert trust.accept(signed)
    app = FastAPI()
    if admissions is not None:
        app.add_api_route("/v1/admissions", lambda: Response(admissions))
    app.include_router(
        site_routes(
            trust,
            tell_status=dict,
            about_status="nothing",
            accept=trust.accept,
            known=lambda _name: True,
            bringer=lambda _name: True,
        )
    )
    app.add_api_route("/v1/boxes", lambda: list(rows))
    own = paths.aggregator.parent / "tls"
    tls = TlsConfig(
        ca=own / "ca.pem", certificate=own / "certificate.pem", private_key=own / "private-key.pem"
    )
    return Serving(app, tls, port=PORT)


def without_registrar(site: RegistrarSite) -> None:
    """The registrar's folder has gone to a machine of its own."""
    folder = site.paths.registrar.parent
    folder.rename(folder.parent.parent / "carried-away")


def terms_in(site: RegistrarSite, file: Path) -> BoxTerms:
    """What a role that has the directory in ``file`` and the newest admissions goes by."""
    opened = open_site(site.paths.root)
    directory = open_directory(file.read_bytes(), opened.authority)
    signed = site.registrar.signed_admissions
    assert signed is not None
    return open_admissions(signed, directory).apply(directory).principals[ADMITTED].terms


@pytest.mark.slow
def test_an_admitted_box_is_given_recordings_and_everybody_goes_by_them(
    run: Run, site: RegistrarSite
) -> None:
    root = site.paths.root
    films = ("--camera", "film-1", "--camera", "cam-2")
    assert "would let" in said(run("recordings", root, ADMITTED, *films, "--dry-run"))
    text = said(run("recordings", root, ADMITTED, *films))
    assert "may import films of film-1, cam-2: directory version 2" in text
    assert "nothing had to be changed" in said(run("recordings", root, ADMITTED, *films))
    for folder in site.paths.role_folders():
        assert terms_in(site, folder / "directory.cbor").recordings == ("film-1", "cam-2")
    for folder in (root, site.paths.registrar.parent):
        rows = {one["box"]: one for one in json.loads(run("list", folder, "--json").stdout)}
        assert rows[ADMITTED]["recordings"] == ["film-1", "cam-2"]
        assert rows[LISTED]["recordings"] == []
    rights = (site.paths.broker / "acl-boxes").read_text()
    assert f"topic write st/v1/demo/{ADMITTED}/film-1/envelope\n" in rights
    assert "directory version 3" in said(run("recordings", root, ADMITTED, "--none"))
    assert open_site(root).directory.admitted == {}


@pytest.mark.slow
def test_an_admitted_box_is_held_to_version_2_from_its_last_word_in_version_1(
    run: Run, site: RegistrarSite
) -> None:
    root = site.paths.root
    with aggregator(site, row(ADMITTED, 2, 777), row(LISTED, 2, 5), row("box-2", 1)):
        text = said(run("seal-version", root, "--all"))
    assert f"held to version 2: {LISTED}, {ADMITTED}: directory version 2" in text
    assert "box-2: it seals in version 1 still" in text
    for folder in site.paths.role_folders():
        assert terms_in(site, folder / "directory.cbor").version_1_until_ms == 777
    for folder in (root, site.paths.registrar.parent):
        rows = {one["box"]: one for one in json.loads(run("list", folder, "--json").stdout)}
        assert rows[ADMITTED]["version_1_until"] == "1970-01-01T00:00:00.777000+00:00"
    admissions = admissions_here(root, open_site(root))
    later = seal_versions(root, {ADMITTED: 999}, b"", admissions=admissions)
    assert not later.changed, "what is said stays said"
    assert set_recordings(
        root, ADMITTED, ("film-1",), site.passphrase, admissions=admissions
    ).changed
    assert open_site(root).directory.admitted == {ADMITTED: BoxTerms(("film-1",), 777)}


@pytest.mark.slow
def test_where_the_registrar_is_elsewhere_the_aggregator_tells_whom_it_admitted(
    run: Run, site: RegistrarSite
) -> None:
    root = site.paths.root
    with aggregator(site, row(ADMITTED, 2, 777)):
        without_registrar(site)
        done = said(run("seal-version", root, ADMITTED))
        assert f"held to version 2: {ADMITTED}: directory version 2" in done
        done = said(run("recordings", root, ADMITTED, "--camera", "film-1"))
        assert "may import films of film-1: directory version 3" in done
        for command in (("seal-version",), ("recordings", "--none")):
            assert "no box 'box-99'" in said(run(command[0], root, "box-99", *command[1:]), 1)
    assert open_site(root).directory.admitted == {ADMITTED: BoxTerms(("film-1",), 777)}
    text = said(run("recordings", root, ADMITTED, "--camera", "film-1"), 1)
    assert "not to be learnt from the aggregator" in text, "it does not run any more"
    assert open_site(root).directory.version == 3


@pytest.mark.slow
def test_a_revoked_box_and_one_that_is_only_claimed_are_given_nothing(
    run: Run, site: RegistrarSite
) -> None:
    root = site.paths.root
    site.claim("box-8", [{"name": "yard", "source": "rtsp://10.0.0.8/s1"}])
    site.registrar.revoke(ADMITTED)
    assert "revoked" in said(run("recordings", root, ADMITTED, "--camera", "film-1"), 1)
    with aggregator(site, row(ADMITTED, 2), row("box-8", 2)):
        assert "no box 'box-8'" in said(run("recordings", root, "box-8", "--none"), 1)
        assert "no box 'box-8'" in said(run("seal-version", root, "box-8"), 1)
        assert "revoked" in said(run("seal-version", root, ADMITTED), 1)
        assert "nothing to do" in said(run("seal-version", root, "--all"))
    assert open_site(root).directory.version == 1


def test_a_box_that_nobody_admitted_is_not_spoken_of(site: RegistrarSite) -> None:
    root = site.paths.root
    admissions = admissions_here(root, open_site(root))
    with pytest.raises(SiteError, match="no box 'box-9'"):
        seal_versions(root, {"box-9": 5}, site.passphrase, admissions=admissions)
    with pytest.raises(SiteError, match=f"no box '{ADMITTED}'"):
        set_recordings(root, ADMITTED, ("film-1",), site.passphrase)


def test_other_changes_of_the_site_keep_what_was_said_until_the_authority_lists_the_box(
    site: RegistrarSite,
) -> None:
    root = site.paths.root
    admissions = admissions_here(root, open_site(root))
    seal_versions(root, {ADMITTED: 777}, site.passphrase, admissions=admissions)
    plan = BoxPlan(name="box-3", cameras=(CameraPlan(name="cam-3", source="rtsp://h/s"),))
    boxes.add_box(root, plan, site.passphrase)
    assert open_site(root).directory.admitted == {ADMITTED: BoxTerms((), 777)}
    plan = BoxPlan(name=ADMITTED, cameras=(CameraPlan(name="cam-4", source="rtsp://h/s"),))
    boxes.add_box(root, plan, site.passphrase)
    listed = open_site(root).directory
    assert listed.admitted == {}
    assert listed.principals[ADMITTED].cameras == ("cam-4",)


def test_who_swaps_a_box_with_recordings_is_told_that_the_new_one_has_none(
    run: Run, site: RegistrarSite
) -> None:
    root = site.paths.root
    said(run("recordings", root, ADMITTED, "--camera", "film-1"))
    text = said(run("swap", root, ADMITTED, "box-8"))
    assert "sealtrace box recordings DIR box-8 --camera film-1" in text


@pytest.mark.slow
def test_a_list_that_no_registrar_signed_brings_in_nobody(run: Run, site: RegistrarSite) -> None:
    root = site.paths.root
    stranger = SigningKey.generate("registrar")
    box = Principal("box-9", frozenset({BOX}), stranger.verify_key, cameras=("yard",))
    forged = Admissions("demo", 99, 1, {"box-9": box}, {}).sign(stranger).to_bytes()
    with aggregator(site, row("box-9", 2), admissions=forged):
        for command in (("seal-version",), ("recordings", "--camera", "film-1")):
            text = said(run(command[0], root, "box-9", *command[1:]), 1)
            assert "the registrar's list, as the aggregator has it" in text
    assert open_site(root).directory.version == 1
