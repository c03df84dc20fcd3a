"""The script of a box's first boot: installs from the card, joins, and can be run again."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from stock_image import AUTHORITY, make_claim, signature_of

from protocol.signing import SigningKey
from provisioning.box.updates.update_config import load_updates
from provisioning.fleet.image import cloudinit
from provisioning.fleet.image.claim import read_claim
from provisioning.fleet.image.firstboot_files import SCRIPT_PATH, SystemFile, system_files
from provisioning.fleet.image.settings import CardFile, Releases, SystemSettings, Wifi
from provisioning.fleet.image.software import list_of_wheels

pytestmark = pytest.mark.processes

# Stands for `sealtrace` on the box: writes down how it was called, joins if the network is there.
AGENT = """
import os, pathlib, sys
def main():
    words = sys.argv[1:]
    log = pathlib.Path(os.environ["SEALTRACE_VAR"], "calls")
    with log.open("a") as stream:
        stream.write(" ".join(words) + "\\n")
    if words[:2] == ["box", "enrol"]:
        if os.environ.get("NO_NETWORK"):
            sys.exit("error: the registrar cannot be reached")
        folder = pathlib.Path(words[words.index("--folder") + 1])
        (folder / "box.toml").write_text("box = 1")
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, SystemFile]:
    """The files of box-7's system."""
    claim = read_claim(make_claim(tmp_path / "claims"))
    found = system_files(claim, SystemSettings(hostname="box-7"))
    return {file.path: file for file in found}


class Box:
    """A box's system in a folder."""

    def __init__(self, folder: Path, files: dict[str, SystemFile]) -> None:
        self.etc, self.var, self.opt = folder / "etc", folder / "var", folder / "opt"
        self.boot = folder / "boot"
        self.script = folder / "first-boot"
        self.script.write_text(files[SCRIPT_PATH].text)
        self.systemctl = folder / "systemctl"
        self.systemctl.write_text(f'#!/bin/sh\necho "$@" >> {folder}/units\n')
        self.systemctl.chmod(0o755)
        self.units = folder / "units"
        self.etc.mkdir()
        self.software = self.etc / "software.txt"
        self.signature = self.etc / "software.txt.sig"
        self.card = self.boot / "sealtrace"
        self.card.mkdir(parents=True)
        (self.card / "image.json").write_text("{}")
        self.claim = self.card / "claim.toml"
        shutil.copy(folder.parent / "claims" / "box-7.claim", self.claim)
        self.fill("wheels", {"pip": bundled_pip().read_bytes(), "agent": agent_wheel(folder)})

    def fill(self, kind: str, contents: dict[str, bytes], *, on_root: bool = False) -> None:
        names = {"pip": bundled_pip().name, "agent": "sealtrace-0.1.0-py3-none-any.whl"}
        folder = (self.var / "card" if on_root else self.card) / kind
        folder.mkdir(parents=True)
        lines = []
        for key, data in contents.items():
            name = names.get(key, key)
            (folder / name).write_bytes(data)
            lines.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
        (folder.parent / f"{kind}.sha256").write_text("".join(lines))
        if kind == "wheels":
            wheels = [CardFile(folder / line.split()[1], line.split()[0]) for line in lines]
            self.list_software(list_of_wheels(wheels))

    def list_software(
        self, text: str, *, signer: SigningKey = AUTHORITY, site: str = "north"
    ) -> None:
        self.software.write_text(text)
        self.signature.write_text(signature_of(text, signer=signer, site=site))

    def start(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(self.script)],
            env={
                "TMPDIR": str(self.etc.parent),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "SEALTRACE_ETC": str(self.etc),
                "SEALTRACE_VAR": str(self.var),
                "SEALTRACE_OPT": str(self.opt),
                "SEALTRACE_BOOT": str(self.boot),
                "SEALTRACE_USER": "",
                "SEALTRACE_SYSTEMCTL": str(self.systemctl),
                "SEALTRACE_CLOCK_WAIT_S": "0",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def bundled_pip() -> Path:
    folders = [Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels")]
    found = [path for folder in folders for path in folder.glob("pip-*.whl")]
    if not found:
        pytest.skip("this Python has no wheel of pip")
    return found[0]


def agent_wheel(folder: Path) -> bytes:
    path = folder / "made.whl"
    info = "sealtrace-0.1.0.dist-info"
    members = {
        "stand_in.py": AGENT,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: sealtrace\nVersion: 0.1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nsealtrace = stand_in:main\n",
    }
    record = "".join(f"{name},,\n" for name in members) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**members, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)
    return path.read_bytes()


@pytest.fixture
def box(tmp_path: Path, files: dict[str, SystemFile]) -> Box:
    """A box that is switched on for the first time."""
    folder = tmp_path / "box"
    folder.mkdir()
    return Box(folder, files)


def test_a_box_installs_itself_from_its_card_and_joins(box: Box) -> None:
    (box.card / "cameras.json").write_text("[]")
    box.fill("models", {"manifest.json": b"{}", "face.onnx": b"\x01" * 5000})
    done = box.start()
    assert done.returncode == 0, done.stderr + done.stdout
    assert (box.var / "calls").read_text().splitlines() == [
        f"box enrol --folder {box.var}/box --claim-file {box.claim}"
        f" --cameras-file {box.card}/cameras.json"
    ]
    left = set(box.etc.iterdir())
    assert left == {box.software, box.signature}
    assert (box.var / "models" / "face.onnx").read_bytes() == b"\x01" * 5000
    assert (box.var / "box").stat().st_mode & 0o777 == 0o700
    units = box.units.read_text()
    ours = "sealtrace-keys.service sealtrace-renew.timer sealtrace-edge.service"
    assert units.splitlines() == [
        f"enable {ours}", "start --no-block sealtrace-card.service", f"start {ours}",
    ]  # fmt: skip
    again = box.start()
    assert "admitted already" in again.stdout
    assert len((box.var / "calls").read_text().splitlines()) == 1


def test_a_box_without_network_keeps_its_claim_and_tries_again(box: Box) -> None:
    failed = box.start(NO_NETWORK="1")
    assert failed.returncode != 0
    assert "cannot be reached" in failed.stderr
    assert box.claim.exists()
    assert not box.units.exists()
    assert box.start().returncode == 0
    assert "installing" not in box.start().stdout


def _without_time_servers(box: Box) -> dict[str, str]:
    tools = box.etc.parent / "tools"
    tools.mkdir()
    (tools / "timedatectl").write_text("#!/bin/sh\necho no\n")
    (tools / "timedatectl").chmod(0o755)
    command = tools / "sealtrace"  # as if it had been installed
    command.write_text(
        f'#!/bin/sh\necho "$@" >>{box.var}/calls\n'
        f'[ "$2" != enrol ] || echo box = 1 >{box.var}/box/box.toml\n'
    )
    command.chmod(0o755)
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "SEALTRACE_COMMAND": str(command)}


def test_without_time_servers_the_registrar_is_asked_before_a_certificate_is(box: Box) -> None:
    found = _without_time_servers(box)
    done = box.start(**found, SEALTRACE_CLOCK_WAIT_S="600", SEALTRACE_NTP_WAIT_S="0")
    assert done.returncode == 0, done.stderr
    assert (box.var / "calls").read_text().splitlines() == [
        f"box clock --claim-file {box.claim}",
        f"box enrol --folder {box.var}/box --claim-file {box.claim}",
    ]


def test_the_claim_goes_though_the_agent_cannot_start(box: Box) -> None:
    found = _without_time_servers(box)
    lines = box.systemctl.read_text()
    box.systemctl.write_text(lines + '[ "$2" != sealtrace-keys.service ] || [ "$1" = enable ]\n')
    done = box.start(**found)
    assert done.returncode == 0, done.stderr
    assert "its agent is not up yet and is started again: systemctl status seal" in done.stdout
    assert "its agent runs" not in done.stdout
    assert (box.var / "admitted").exists()
    assert "start --no-block sealtrace-card.service" in box.units.read_text()


def test_a_box_that_nobody_tells_the_time_goes_on_and_says_so(box: Box) -> None:
    done = box.start(**_without_time_servers(box))
    assert done.returncode == 0, done.stderr
    assert "no time server answers; going on" in done.stdout


def test_software_on_the_root_file_system_is_installed_from_there(box: Box) -> None:
    shutil.rmtree(box.card / "wheels")
    box.fill("wheels", {"pip": bundled_pip().read_bytes(), "agent": agent_wheel(box.etc.parent)},
             on_root=True)  # fmt: skip
    box.fill("models", {"manifest.json": b"{}"}, on_root=True)
    done = box.start()
    assert done.returncode == 0, done.stderr
    assert (box.var / "models" / "manifest.json").read_bytes() == b"{}"


def test_shellcheck_warns_of_nothing_in_a_cards_scripts(
    tmp_path: Path, files: dict[str, SystemFile]
) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed (Debian: apt install shellcheck)")
    scripts = [file for file in files.values() if file.text.startswith("#!/bin/sh")]
    assert len(scripts) == 2
    for file in scripts:
        script = tmp_path / Path(file.path).name
        script.write_text(file.text)
        told = subprocess.run(
            [program, "--severity=warning", str(script)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stdout


def test_nothing_of_a_box_waits_for_a_network(files: dict[str, SystemFile]) -> None:
    for path, file in files.items():
        assert "network-online" not in file.text, path
        assert "time-sync" not in file.text, path
    network = yaml.safe_load(
        cloudinit.network_config(SystemSettings(hostname="box-7"), raspberry=False)
    )
    assert "optional" not in network["network"]["ethernets"]["cable"]


def test_a_half_installed_box_begins_the_installation_afresh(box: Box) -> None:
    box.opt.mkdir()
    (box.opt / "half").write_text("a piece")
    done = box.start()
    assert done.returncode == 0, done.stderr
    assert not (box.opt / "half").exists()


def test_a_damaged_card_is_told_and_nothing_is_installed(box: Box) -> None:
    wheel = box.boot / "sealtrace" / "wheels" / "sealtrace-0.1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"?")
    done = box.start()
    assert done.returncode != 0
    assert "flash the card again" in done.stderr
    assert not box.opt.exists()


def test_a_wheel_swapped_on_the_card_with_its_sum_is_not_installed(box: Box) -> None:
    wheels = box.boot / "sealtrace" / "wheels"
    listed = box.software.read_text()
    shutil.rmtree(wheels)
    evil = agent_wheel(box.boot) + b"evil"
    box.fill("wheels", {"pip": bundled_pip().read_bytes(), "agent": evil})
    box.list_software(listed)
    done = box.start()
    assert done.returncode != 0
    assert "not what the list names" in done.stderr
    assert not (box.opt / ".complete").exists()
    assert not (box.var / "calls").exists()


def test_a_pip_swapped_on_the_card_with_its_sum_is_not_run(box: Box) -> None:
    listed = box.software.read_text()
    shutil.rmtree(box.boot / "sealtrace" / "wheels")
    box.fill("wheels", {"pip": b"no pip", "agent": agent_wheel(box.boot)})
    box.list_software(listed)
    done = box.start()
    assert done.returncode != 0
    assert "not the one on the list" in done.stderr
    assert not box.opt.exists()


@pytest.mark.parametrize("with_wheels", [True, False])
def test_without_a_list_nothing_is_installed(box: Box, with_wheels: bool) -> None:
    box.software.unlink()
    if not with_wheels:
        shutil.rmtree(box.boot / "sealtrace" / "wheels")
    done = box.start()
    assert done.returncode != 0
    assert "nothing is installed without its hash" in done.stderr
    assert not box.opt.exists()


def _unsigned(box: Box) -> None:
    box.signature.unlink()


def _altered(box: Box) -> None:
    box.software.write_text(
        box.software.read_text().replace("sealtrace==0.1.0", "sealtrace==0.0.9")
    )


def _lengthened(box: Box) -> None:
    box.software.write_text(box.software.read_text() + f"more==1 --hash=sha256:{'0' * 64}\n")


def _signed_by_another(box: Box) -> None:
    box.list_software(box.software.read_text(), signer=SigningKey.generate("authority"))


def _of_another_site(box: Box) -> None:
    box.list_software(box.software.read_text(), site="south")


def _of_other_software(box: Box) -> None:
    old = box.software.read_text()
    box.list_software(f"sealtrace==0.2.0 --hash=sha256:{'0' * 64}\n")
    box.software.write_text(old)


def _damaged_signature(box: Box) -> None:
    box.signature.write_text("no digits")


@pytest.mark.parametrize("over_the_network", [False, True])
@pytest.mark.parametrize(
    "spoil",
    [_unsigned, _altered, _lengthened, _signed_by_another, _of_another_site, _of_other_software,
     _damaged_signature],
)  # fmt: skip
def test_a_list_that_the_sites_authority_did_not_sign_stops_before_pip_runs(
    box: Box, spoil: Callable[[Box], None], over_the_network: bool
) -> None:
    if over_the_network:
        shutil.rmtree(box.boot / "sealtrace" / "wheels")
    spoil(box)
    done = box.start()
    assert done.returncode != 0
    assert "sign" in done.stderr
    assert "installing the software" not in done.stdout
    assert not box.opt.exists()
    assert box.claim.exists()


def test_an_index_that_serves_another_wheel_under_the_name_is_refused(
    box: Box, tmp_path: Path
) -> None:
    wheels = box.boot / "sealtrace" / "wheels"
    true = (wheels / "sealtrace-0.1.0-py3-none-any.whl").read_bytes()
    shutil.rmtree(wheels)
    lines = box.software.read_text().splitlines()
    box.list_software(next(line for line in lines if line.startswith("sealtrace")) + "\n")
    served = tmp_path / "index" / "sealtrace"
    served.mkdir(parents=True)
    name = "sealtrace-0.1.0-py3-none-any.whl"
    index = {"PIP_INDEX_URL": served.parent.as_uri(), "PIP_CONFIG_FILE": os.devnull}
    (served / "index.html").write_text(f'<a href="{name}">{name}</a>')
    (served / name).write_bytes(true + b"evil")
    done = box.start(**index)
    assert done.returncode != 0
    assert "by hash; nothing runs" in done.stderr
    assert not (box.var / "calls").exists()
    (served / name).write_bytes(true)
    done = box.start(**index)
    assert done.returncode == 0, done.stderr


def test_units_and_updates_are_what_their_readers_understand(tmp_path: Path) -> None:
    claim = read_claim(make_claim(tmp_path / "claims"))
    releases = Releases("https://releases.example/repo", '{"signed": {"_type": "root"}}', "canary")
    settings = SystemSettings(hostname="box-7", releases=releases, ntp=("10.0.0.1", "ntp.example"))
    files = {file.path: file for file in system_files(claim, settings)}
    written = tmp_path / "updates.toml"
    written.write_text(files["/etc/sealtrace/updates.toml"].text)
    updates = load_updates(written)
    assert updates.group == "canary"
    assert updates.authority == claim.authority
    assert updates.service.restart[-1] == "sealtrace-edge.service"
    assert "NTP=10.0.0.1 ntp.example" in (
        files["/etc/systemd/timesyncd.conf.d/sealtrace.conf"].text
    )
    for path, file in files.items():
        if path.endswith((".service", ".timer")):
            for line in filter(None, file.text.splitlines()):
                assert line[0] in "[#" or "=" in line, f"{path}: {line}"
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:
        unit = tmp_path / "sealtrace-first-boot.service"
        unit.write_text(
            files[f"/etc/systemd/system/{unit.name}"].text.replace(SCRIPT_PATH, "/bin/sh")
        )
        checked = subprocess.run(
            [analyze, "verify", str(unit)], capture_output=True, text=True, check=False
        )
        assert "Unknown" not in checked.stderr


def test_documents_are_read_back_as_they_were_meant(
    tmp_path: Path, files: dict[str, SystemFile]
) -> None:
    settings = SystemSettings(
        hostname="box-7", wifi=Wifi.make("yes: [no] #1", "", "NZ"), timezone="Pacific/Auckland"
    )
    text = cloudinit.user_data(settings, list(files.values()), raspberry=True)
    assert cloudinit.written_files(text.encode()) == {p: f.text for p, f in files.items()}
    network = yaml.safe_load(cloudinit.network_config(settings, raspberry=True))
    assert list(network["network"]["wifis"]["wlan0"]["access-points"]) == ["yes: [no] #1"]
    meta = cloudinit.meta_data("sealtrace-box-7-1", settings)
    assert cloudinit.read_instance_id(meta) == "sealtrace-box-7-1"
