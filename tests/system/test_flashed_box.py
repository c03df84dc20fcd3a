"""A card from a stock image: flashed, started, admitted, believed; once revoked, refused by all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_site import SERVERS, RunningSite
from started_box import StartedBox
from stock_image import make_stock_image, packed, software_list
from waiting import wait_for

from demo.local_site import plan_of
from demo.scenario import ClipTruth
from edge_agent.config import load_box

BOX, CAMERA = "box-7", "door"
REVOKED = 3
WITHIN_S = 90.0


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, model_bundle_path: Path, mosquitto_program: str
) -> Iterator[RunningSite]:
    """Headquarters: Mosquitto, custodians, aggregator, registrar."""
    assert mosquitto_program
    plan = plan_of(
        {"cam-1": {"source": "file:none.mp4"}},
        bundle=model_bundle_path,
        broker="mosquitto",
        policy={"cover": "off"},
    )
    made = RunningSite(plan, tmp_path_factory.mktemp("flashed"))
    with made.local.paths.registrar.open("a") as settings:
        settings.write("\n[box.sealing]\nbatch = 1\nlive_after_s = 0.5\n")
    try:
        made.start(*SERVERS, "registrar")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def card(site: RunningSite, short_clip: ClipTruth) -> Path:
    """What the installer makes: claim, image, card (a file)."""
    folder = site.local.folder
    cameras = folder / "cameras.toml"
    cameras.write_text(f'[[cameras]]\nname = "{CAMERA}"\nsource = "file:elsewhere"\nloop = true\n')
    root = str(site.local.paths.root)
    site.command("box", "claim", root, BOX, "--cameras-file", str(cameras))
    stock = packed(make_stock_image(folder / "raspios.img", boot_mib=127).path, ".xz")
    software = software_list(folder, signer=None)
    site.command("image", "sign", root, "--requirements", str(software))
    site.command(
        "image", "build", "--base", str(stock), "--box", BOX,
        "--sha256", hashlib.sha256(stock.read_bytes()).hexdigest(),
        "--claim", str(folder / f"{BOX}.claim.toml"),
        "--camera", f"{CAMERA}=file:{short_clip.path.resolve()}",
        "--requirements", str(software), "--index-url", "https://packages.north.example/simple",
        "--models", str(site.local.paths.models), "--out", str(folder / "box-7.img"),
    )  # fmt: skip
    told = site.command(
        "flash", "--image", str(folder / "box-7.img"), "--file", str(folder / "card")
    )
    assert "written and verified" in told
    return folder / "card"


def test_from_a_stock_image_to_sightings_to_a_stolen_box(
    site: RunningSite, card: Path, tmp_path: Path
) -> None:
    box = StartedBox(card, tmp_path / "box", site.local.environment, name=BOX)
    assert f"{BOX} is admitted" in box.first_boot()
    assert "admitted already" in box.first_boot()
    assert not box.path("/etc/sealtrace/claim.toml").exists()
    config = load_box(box.config)
    assert [(camera.name, camera.loop) for camera in config.cameras] == [(CAMERA, True)]
    assert config.cameras[0].source.endswith(".mp4"), "the source is the card's, not headquarters'"
    lists = {path: path.read_bytes() for path in config.state_dir.glob("*.cbor")}
    assert lists

    agent = box.agent()
    agent.start()
    try:
        agent.wait_ready()
        before = site.wait_stored(CAMERA, 2, timeout_s=WITHIN_S)
        assert site.boxes()[BOX]["rejects"] == []

        told = site.command("box", "revoke", str(site.local.paths.root), BOX)
        assert f"{BOX} is revoked" in told
        assert agent.wait(WITHIN_S) == REVOKED, agent.tail()
    finally:
        agent.kill()
    wait_for(lambda: site.boxes()[BOX]["revoked"], "the aggregator to know", timeout_s=WITHIN_S)

    stored = len(site.stored(CAMERA))
    assert stored >= len(before)
    refused = box.command("box", "renew", "--folder", str(box.config.parent), expect=1)
    assert "revoked" in refused

    # A thief who starts it again, with the lists of before the theft, is refused at the door.
    for path, content in lists.items():
        path.write_bytes(content)
    again = box.agent()
    again.start()
    try:
        wait_for(
            lambda: again.events("mqtt_unreachable"),
            "the broker to refuse it",
            timeout_s=WITHIN_S,
        )
        assert not again.events("mqtt_connected")
    finally:
        again.kill()
    assert len(site.stored(CAMERA)) == stored
    assert json.loads((box.boot / "sealtrace" / "image.json").read_text())["box"] == BOX
    assert os.access(box.config, os.R_OK)
