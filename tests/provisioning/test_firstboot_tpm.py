"""A box's keys in files and in a TPM 2.0 (the software TPM swtpm)."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from registrar_site import make_site, served
from waiting import wait_for

from demo.ports import free_ports
from edge_agent.config import load_box
from edge_agent.identity import load_board_key
from provisioning.authority import SitePlan
from provisioning.box.firstboot import steps
from provisioning.box.firstboot.errors import FirstBootError, TpmError
from provisioning.box.firstboot.keys import FileKeys, TpmKeys, give_to_owner, open_keys
from runtime.errors import OperationError

_HERE = shutil.which("swtpm") is not None and importlib.util.find_spec("tpm2_pytss") is not None


Test = TypeVar("Test", bound=Callable[..., object])


def needs_swtpm(test: Test) -> Test:
    """Run the test where a software TPM and the library are installed."""
    why = "needs swtpm (Debian: apt install swtpm) and tpm2-pytss (sealtrace[tpm])"
    marked: Test = pytest.mark.skipif(not _HERE, reason=why)(test)
    marked = pytest.mark.swtpm(marked)
    return marked


class SoftwareTpm:
    """One swtpm process; its state folder is what makes it this TPM and no other."""

    def __init__(self, state: Path, port: int) -> None:
        state.mkdir(exist_ok=True)
        self.tcti = f"swtpm:host=127.0.0.1,port={port}"
        self._process = subprocess.Popen(
            [
                "swtpm",
                "socket",
                "--tpm2",
                *("--tpmstate", f"dir={state}"),
                *("--server", f"type=tcp,port={port}"),
                *("--ctrl", f"type=tcp,port={port + 1}"),
                *("--flags", "not-need-init,startup-clear"),
            ]
        )
        # The control port only: the server's takes one client, and ends with it.
        wait_for(lambda: self.ended or _listens(port + 1), "swtpm")

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


Start = Callable[[str], SoftwareTpm]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start software TPMs by name; the same name is the same TPM after a reboot."""
    running: list[SoftwareTpm] = []

    def begin(name: str) -> SoftwareTpm:
        first, second = free_ports(2)
        while second != first + 1:  # it takes two ports in a row
            first, second = second, free_ports(1)[0]
        running.append(SoftwareTpm(tmp_path / name, first))
        assert not running[-1].ended, "swtpm does not start"
        return running[-1]

    yield begin
    for each in running:
        each.stop()


def tpm_keys(tmp_path: Path, tpm: SoftwareTpm) -> TpmKeys:
    found = open_keys(tmp_path / "box", "tpm", tcti=tpm.tcti, runtime=tmp_path / "run")
    assert isinstance(found, TpmKeys)
    return found


@needs_swtpm
def test_the_same_tpm_unseals_after_a_reboot_and_another_does_not(
    start: Start, tmp_path: Path
) -> None:
    tpm = start("ours")
    keys = tpm_keys(tmp_path, tpm)
    keys.make()
    identity, tls = keys.load("box-7")
    seed = identity.seed
    tpm.stop()
    shutil.rmtree(tmp_path / "run")
    again = tpm_keys(tmp_path, start("ours"))
    again.make()  # changes nothing
    identity_again, tls_again = again.load("box-7")
    assert identity_again.seed == seed
    assert tls_again.private_numbers() == tls.private_numbers()
    assert (tmp_path / "run" / "identity.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(TpmError, match="another machine"):
        tpm_keys(tmp_path, start("thief")).load("box-7")


@needs_swtpm
def test_what_lies_on_the_disk_holds_no_key(start: Start, tmp_path: Path) -> None:
    keys = tpm_keys(tmp_path, start("ours"))
    keys.make()
    identity, tls = keys.load("box-7")
    scalar = tls.private_numbers().private_value.to_bytes(32, "big")
    files = [path for path in (tmp_path / "box").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["identity.tpm", "private-key.tpm"]
    for path in files:
        content = path.read_bytes()
        assert identity.seed not in content
        assert scalar not in content
        assert path.stat().st_mode & 0o777 == 0o600


@needs_swtpm
def test_a_damaged_sealed_key_is_named(start: Start, tmp_path: Path) -> None:
    keys = tpm_keys(tmp_path, start("ours"))
    keys.make()
    path = tmp_path / "box" / "identity.tpm"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(TpmError):
        keys.load("box-7")


def test_keys_in_files_are_made_once_and_stay(tmp_path: Path) -> None:
    keys = open_keys(tmp_path / "box", "file")
    assert isinstance(keys, FileKeys)
    assert not keys.exist()
    keys.make()
    before = keys.load("box-7")
    keys.make()
    assert keys.exist()
    after = keys.load("box-7")
    assert after[0].seed == before[0].seed
    assert after[1].private_numbers() == before[1].private_numbers()
    for path in (keys.identity_file, keys.tls_file):
        assert path.stat().st_mode & 0o777 == 0o600
    give_to_owner(tmp_path / "box", owner_of=tmp_path / "box")
    with pytest.raises(FirstBootError, match="in files"):
        open_keys(tmp_path / "box", "tpm")


def test_without_a_tpm_keys_go_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALTRACE_TPM", raising=False)
    monkeypatch.setattr("provisioning.box.firstboot.tpm.DEVICE", tmp_path / "no-tpm")
    assert open_keys(tmp_path / "box").kind == "file"


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"identity\.key"):
        open_keys(tmp_path / "box", "file").load("box-7")


@needs_swtpm
def test_a_box_joins_with_keys_that_its_tpm_holds(
    start: Start,
    tmp_path: Path,
    make_plan: Callable[..., SitePlan],
    passphrase: bytes,
    free_port: Callable[[], int],
) -> None:
    site = make_site(make_plan, tmp_path, passphrase, port=free_port())
    keys = tpm_keys(tmp_path, start("ours"))
    with served(site.registrar):
        folder, claim = steps.begin(tmp_path / "box", site.claim())
        steps.join(folder, claim, keys)
        shutil.rmtree(tmp_path / "run")  # a reboot
        keys.load("box-7")
        config = load_box(folder.box_toml)
        assert config.identity == tmp_path / "run" / "identity.key"
        listed = site.registrar.directory.principals["box-7"].verify_key
        assert load_board_key(config).verify_key == listed
        _, renewed = steps.renew(folder, keys)
        assert renewed
    site.registrar.close()
