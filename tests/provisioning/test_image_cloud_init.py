"""Debian's own cloud-init finds nothing wrong in the documents of a card, and writes a network."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from stock_image import make_claim

from provisioning.fleet.image.bootpartition import SystemKind
from provisioning.fleet.image.build import user_documents
from provisioning.fleet.image.claim import read_claim
from provisioning.fleet.image.settings import CardFile, Releases, SystemSettings, Wifi
from provisioning.formats.plan_boxes import CameraPlan
from tools.cloud_init import PYTHON, modules

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(modules() is None, reason="needs `python -m tools.cloud_init` (Debian)"),
]

_NETPLAN_ALONE = "Wifi configuration is only available to distros with netplan rendering support."
"""Said of every wireless network; Raspberry Pi OS has netplan."""

# Runs where cloud-init's modules are: checks every document, renders every network.
_CHECK = """
import json, logging, pathlib, sys
import yaml
from cloudinit.config import schema
from cloudinit.net import network_state, netplan
heard = []
class Listening(logging.Handler):
    def emit(self, record):
        heard.append(record.getMessage())
logging.getLogger().addHandler(Listening(logging.WARNING))
rules = schema.get_schema()
known = {name for part in rules["$defs"].values() for name in part.get("properties", {})}
told = {}
for folder in map(pathlib.Path, sys.argv[1:]):
    text = (folder / "user-data").read_text()
    values = yaml.safe_load(text)
    found = []
    try:
        schema.validate_cloudconfig_schema(values, rules, strict=True, strict_metaschema=False)
    except schema.SchemaValidationError as error:
        found.append(str(error))
    config = yaml.safe_load((folder / "network-config").read_text())["network"]
    state = network_state.parse_net_config_data(config)
    (folder / "etc/netplan").mkdir(parents=True)
    renderer = netplan.Renderer()
    renderer._netplan_generate = lambda *words, **named: None
    renderer.render_network_state(state, target=str(folder))
    told[folder.name] = {
        "wrong": found, "unknown": sorted(set(values) - known),
        "network": (folder / "etc/netplan/50-cloud-init.yaml").read_text(),
        "meta": yaml.safe_load((folder / "meta-data").read_text()),
    }
print(json.dumps({"documents": told, "heard": heard}))
"""


def documents(folder: Path) -> dict[str, Mapping[str, str]]:
    """The documents of every kind of card that there is."""
    claim = read_claim(make_claim(folder / "claims"))
    wheel = CardFile(folder / "pip-26.3-py3-none-any.whl", "0" * 64)
    full = SystemSettings(
        hostname="box-7",
        timezone="Asia/Seoul",
        ssh_keys=("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnw1e installer",),
        ntp=("10.0.0.1", "ntp.example"),
        cameras=(CameraPlan(name="door", source="rtsp://u:p@10.0.0.7/s1"),),
        releases=Releases("https://releases.example/repo", "{}", "canary"),
        software="pip==26.3 --hash=sha256:00\n",
        software_signature=bytes(64),
    )
    on_card = SystemSettings(hostname="box-7", wheels=(wheel,))
    wireless = SystemSettings(hostname="box-7", wifi=Wifi.make("Site: #1", "", "KR"))
    return {
        "debian": user_documents(claim, full, SystemKind.EFI),
        "debian-with-wheels": user_documents(claim, on_card, SystemKind.EFI),
        "raspberry": user_documents(claim, full, SystemKind.RASPBERRY),
        "raspberry-wireless": user_documents(claim, wireless, SystemKind.RASPBERRY),
    }


def checked(folder: Path, cards: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What cloud-init tells of the documents of some cards."""
    for name, texts in cards.items():
        (folder / name).mkdir()
        for document, text in texts.items():
            (folder / name / document).write_text(text)
    done = subprocess.run(
        [str(PYTHON), "-c", _CHECK, *(str(folder / name) for name in cards)],
        env={"PYTHONPATH": str(modules()), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_every_document_of_every_card_is_what_cloud_init_takes(tmp_path: Path) -> None:
    cards = documents(tmp_path)
    told = checked(tmp_path, cards)
    assert set(told["heard"]) <= {_NETPLAN_ALONE}
    for name, one in told["documents"].items():
        assert (one["wrong"], one["unknown"]) == ([], []), name
        assert one["meta"]["instance-id"].startswith("sealtrace-box-7-")
    networks = {name: one["network"] for name, one in told["documents"].items()}
    plan = networks["debian"]
    assert "name: e*" in plan
    assert "dhcp4: true" in plan
    assert "optional" not in plan
    assert "Site: #1" in networks["raspberry-wireless"]


def test_the_check_finds_what_is_wrong(tmp_path: Path) -> None:
    good = documents(tmp_path)["debian"]
    bad = {**good, "user-data": good["user-data"].replace("ssh_pwauth: false", "bogus: 1")}
    worse = {**good, "user-data": good["user-data"].replace("users:\n", "users: 7\nusers_:\n")}
    told = checked(tmp_path, {"bad": bad, "worse": worse})["documents"]
    assert told["bad"]["unknown"] == ["bogus"]
    assert "users" in told["worse"]["wrong"][0]
