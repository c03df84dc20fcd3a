"""The units are what systemd takes, hold every process down, and let through whom a site names."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from stock_image import make_claim
from typer.testing import CliRunner

from provisioning.authority.addresses import AddressesUnknown, Peer, drop_in, peers
from provisioning.authority.site_cli import app
from provisioning.box.firstboot.keys import FileKeys, TpmKeys
from provisioning.box.firstboot.units import units as units_of
from provisioning.fleet.image.claim import read_claim
from provisioning.fleet.image.firstboot_files import system_files
from provisioning.fleet.image.settings import Releases, SystemSettings
from provisioning.formats.layout import SitePaths

_SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "systemd"
_COMMAND = re.compile(r"^(Exec\w+=)\S+", re.MULTILINE)


def units(folder: Path) -> dict[str, str]:
    """Every unit there is: the samples, under names of their own, and those of a box's card."""
    claim = read_claim(make_claim(folder / "claims"))
    releases = Releases("https://releases.example/repo", "{}", "all")
    settings = SystemSettings(hostname="box-7", releases=releases)
    found = {
        Path(file.path).name: file.text
        for file in system_files(claim, settings)
        if file.path.endswith((".service", ".timer"))
    }
    return found | {f"sample-{path.name}": path.read_text() for path in _SAMPLES.iterdir()}


def services(folder: Path) -> dict[str, set[str]]:
    return {
        name: set(text.splitlines())
        for name, text in units(folder).items()
        if name.endswith(".service")
    }


@pytest.mark.processes
def test_systemd_takes_every_unit_without_a_word(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt install systemd)")
    folder = tmp_path / "units"
    folder.mkdir()
    for name, text in units(tmp_path).items():
        (folder / name).write_text(_COMMAND.sub(r"\1/bin/true", text))
    checked = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, sorted(folder.iterdir()))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [
        line for line in checked.stderr.splitlines() if str(folder) in line or "sample-" in line
    ]
    assert not told


@pytest.mark.parametrize(
    "line",
    ["NoNewPrivileges=yes", "ProtectHome=yes", "PrivateTmp=yes", "LimitCORE=0", "MemorySwapMax=0",
     "RestrictNamespaces=yes", "LockPersonality=yes", "SystemCallArchitectures=native"],
)  # fmt: skip
def test_every_unit_holds_its_process_down(tmp_path: Path, line: str) -> None:
    lacking = [name for name, lines in services(tmp_path).items() if line not in lines]
    assert not lacking


@pytest.mark.parametrize(
    "key", ["MemoryMax", "LimitNOFILE", "TasksMax", "ProtectSystem", "CapabilityBoundingSet"]
)
def test_every_unit_has_a_limit(tmp_path: Path, key: str) -> None:
    for name, lines in services(tmp_path).items():
        assert [line for line in lines if line.startswith(f"{key}=")], name


def test_only_a_box_whose_keys_a_tpm_holds_unseals_them_before_its_agent(tmp_path: Path) -> None:
    folder = tmp_path / "box"
    FileKeys(folder).make()
    condition = units_of(folder=str(folder))["sealtrace-keys.service"].split("ConditionPathExists=")
    assert not Path(condition[1].splitlines()[0]).exists()
    TpmKeys(folder, _Sealing()).make()
    assert Path(condition[1].splitlines()[0]).exists()


class _Sealing:
    """Seals nothing: the file's name is what counts here."""

    def seal(self, secret: bytes) -> tuple[bytes, bytes]:
        return b"public", secret

    def unseal(self, public: bytes, private: bytes) -> bytes:
        return private


def test_a_damaged_database_stops_a_service_and_not_a_box(tmp_path: Path) -> None:
    given = {n: t for n, t in units(tmp_path).items() if "RestartPreventExitStatus=4" in t}
    roles = ("aggregator", "custodian", "registrar")
    assert set(given) == {f"sample-sealtrace-{role}.service" for role in roles}


def _resolved(host: str) -> Sequence[str]:
    return {"broker.example": ["10.1.0.9", "fd00::9"], "c1.example": ["10.1.0.1"]}[host]


def test_a_roles_configuration_names_its_peers(tmp_path: Path) -> None:
    box, updates = tmp_path / "box.toml", tmp_path / "updates.toml"
    box.write_text(
        '[mqtt]\nhost = "broker.example"\n[[cameras]]\nname = "door"\n'
        'source = "rtsp://u:secret@10.3.0.7/s1"\n[[cameras]]\nname = "usb"\n'
        'source = "v4l2:/dev/video0"\n'
    )
    updates.write_text('repository = "https://[fd00::5]/releases"\n')
    names = tmp_path / "resolv.conf"
    names.write_text("search example\nnameserver 10.1.0.53\nnameserver 127.0.0.53\n")
    found = peers([box, updates], ["10.2.0.0/24"], resolve=_resolved, resolver_file=names)
    assert [peer.addresses for peer in found] == [
        ("10.1.0.9", "fd00::9"), ("10.3.0.7",), ("fd00::5",), ("10.2.0.0/24",), ("10.1.0.53",),
    ]  # fmt: skip
    text = drop_in(found, [box, updates])
    assert "secret" not in text
    assert text.splitlines()[1:5] == [
        "[Service]", "IPAddressAllow=", "IPAddressDeny=any", "IPAddressAllow=localhost",
    ]  # fmt: skip


def test_a_store_and_a_cluster_elsewhere_are_peers_too(tmp_path: Path) -> None:
    aggregator, worker = tmp_path / "aggregator.toml", tmp_path / "match-worker.toml"
    aggregator.write_text(
        '[store]\nurl = "postgresql://sealtrace@10.4.0.1/sealtrace"\n'
        '[objects]\nendpoint = "https://10.4.0.2:9000"\n[cluster]\nscheduler = "10.4.0.3:8786"\n'
    )
    worker.write_text('scheduler = "[fd00::7]:8786"\n')
    found = peers([aggregator, worker])
    assert [peer.addresses for peer in found] == [
        ("10.4.0.1",), ("10.4.0.2",), ("10.4.0.3",), ("fd00::7",),
    ]  # fmt: skip


def test_a_name_that_cannot_be_looked_up_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    config = tmp_path / "box.toml"
    config.write_text('[mqtt]\nhost = "no.such.host.invalid"\n')
    out = tmp_path / "unit.d" / "50-addresses.conf"
    done = CliRunner().invoke(app, ["addresses", str(config), "--out", str(out)])
    assert done.exit_code == 1
    assert "no.such.host.invalid" in done.output
    assert not out.exists()


@pytest.mark.parametrize("host", ["10.2.0.0/99", "a/b", ""])
def test_what_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(AddressesUnknown, match="neither"):
        peers([], [host])


def test_a_directory_that_the_authority_did_not_sign_names_nobody(site: SitePaths) -> None:
    config = site.custodian("c1")
    listed = config.parent / "directory.cbor"
    peers([config])
    listed.write_bytes(listed.read_bytes()[:-1] + b"?")
    with pytest.raises(AddressesUnknown, match="directory"):
        peers([config])


def test_the_drop_in_is_written_once_and_systemd_takes_it(site: SitePaths, tmp_path: Path) -> None:
    out = tmp_path / "sealtrace-aggregator.service.d" / "50-addresses.conf"
    command = ["addresses", str(site.aggregator), "--also", "10.2.0.0/24", "--out", str(out)]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "10.2.0.0/24 (given): 10.2.0.0/24" in first.output
    assert "IPAddressAllow=10.2.0.0/24" in out.read_text().splitlines()
    assert "just so" in CliRunner().invoke(app, command).output
    assert drop_in([Peer("a", "given", ("10.0.0.1",))], []).endswith("IPAddressAllow=10.0.0.1\n")
