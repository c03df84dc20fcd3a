"""`sealtrace flash` as an installer uses it: listing, asking, writing, stopping."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from stock_image import make_claim, make_stock_image, mbr, software_list
from typer.testing import CliRunner

from provisioning.fleet import flash_cli
from provisioning.fleet.flash.write import HEAD_BYTES
from provisioning.fleet.image.progress import Advance, Bars
from provisioning.fleet.image_cli import app as image_app

pytestmark = pytest.mark.processes

MIB = 1 << 20


def run(*words: str | Path, typed: str = "", code: int = 0) -> str:
    done = CliRunner().invoke(flash_cli.app, [str(word) for word in words], input=typed)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small image, with neither map nor checksum."""
    path = tmp_path / "card.img"
    path.write_bytes(
        mbr([(0x0C, 2048, 4000)]) + bytes(2 * MIB) + secrets.token_bytes(2 * MIB - 512)
    )
    return path


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A loop device of 8 MiB that stands for a card."""
    card = tmp_path / "card"
    card.write_bytes(secrets.token_bytes(8 * MIB))
    tool = shutil.which("losetup") or "/usr/sbin/losetup"
    try:
        command = [tool, "--find", "--show", str(card)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("loop devices are not allowed here")
    yield done.stdout.strip()
    subprocess.run([tool, "--detach", done.stdout.strip()], check=True)


def test_the_list_is_readable_by_programs_too() -> None:
    rows = json.loads(run("--list", "--json"))
    assert isinstance(rows, list)
    assert not any(row["system"] and not row["refused"] for row in rows)


def test_the_disk_that_this_machine_runs_from_is_refused(image: Path) -> None:
    with Path("/proc/self/mountinfo").open() as stream:
        sources = {line.split(" - ")[1].split()[1] for line in stream if line.split()[4] == "/"}
    devices = [path for path in sources if path.startswith("/dev/") and Path(path).exists()]
    if not devices:
        pytest.skip("this machine's root is not on a disk")
    told = run("--image", image, "--device", devices[0], code=1)
    assert "runs from it" in told or "is a partition" in told or "no disk" in told


@pytest.mark.parametrize(
    "words", [[], ["--device", "/dev/sdb"], ["--image", "IMG"],
              ["--image", "IMG", "--device", "/dev/sdb", "--file", "out"]],
)  # fmt: skip
def test_an_incomplete_command_says_what_is_missing(image: Path, words: list[str]) -> None:
    given = [str(image) if word == "IMG" else word for word in words]
    assert "--list shows the devices" in " ".join(run(*given, code=2).replace("│", " ").split())


def test_an_image_is_written_to_a_file_and_only_once(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.img"
    assert "would write" in run("--image", image, "--file", out, "--dry-run")
    assert not out.exists()
    assert "written and verified" in run("--image", image, "--file", out)
    assert out.read_bytes() == image.read_bytes()
    before = out.stat().st_mtime_ns
    assert "nothing was written" in run("--image", image, "--file", out, "--if-needed")
    assert out.stat().st_mtime_ns == before
    assert "is the image itself" in run("--image", image, "--file", image, code=1)


def test_nothing_is_written_unless_the_device_is_named_again(image: Path, loop: str) -> None:
    name = loop.removeprefix("/dev/")
    before = Path(loop).read_bytes()
    words = ("--image", image, "--device", loop, "--loop-devices")
    assert "is not loop" in run(*words, typed="sdb\n", code=1)
    assert "is not loop" in run(*words, "--yes-device", "sdb", code=1)
    assert "may be written" in run(*words, "--dry-run")
    assert "no disk" in run("--image", image, "--device", loop, code=1)
    assert Path(loop).read_bytes() == before
    told = run(*words, typed=f"{name}\n")
    assert "everything on" in told
    assert "written and verified" in told
    assert Path(loop).read_bytes()[: 4 * MIB] == image.read_bytes()[: 4 * MIB]
    assert "byte for byte" in run(*words, "--if-needed")
    assert "written and verified" in run(*words, "--yes-device", name)


def test_a_card_that_is_too_small_is_refused(tmp_path: Path, loop: str) -> None:
    big = tmp_path / "big.img"
    big.write_bytes(mbr([(0x0C, 2048, 4000)]) + bytes(16 * MIB))
    told = run("--image", big, "--device", loop, "--loop-devices", "--yes-device", "x", code=1)
    assert "too small" in told
    listed = " ".join(run("--list", "--loop-devices", "--image", big).split())
    assert "too small" in listed


def test_another_card_that_was_put_in_during_the_question_is_not_overwritten(
    image: Path, tmp_path: Path, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.write_bytes(secrets.token_bytes(8 * MIB))
    before = other.read_bytes()

    def exchanged(_question: str, **_options: Any) -> str:
        tool = shutil.which("losetup") or "/usr/sbin/losetup"
        subprocess.run([tool, "--detach", loop], check=True)
        subprocess.run([tool, loop, str(other)], check=True)
        return loop

    monkeypatch.setattr(typer, "prompt", exchanged)
    told = run("--image", image, "--device", loop, "--loop-devices", code=1)
    assert "no longer the device that was chosen" in told
    assert other.read_bytes() == before


class Stopped(Bars):
    """Somebody presses Ctrl-C during a stage."""

    def __init__(self, stage: str) -> None:
        super().__init__(None)
        self._stage = stage

    def stage(self, what: str, total: int) -> Advance:
        def advance(_count: int) -> None:
            if what == self._stage:
                raise KeyboardInterrupt

        return advance


@pytest.mark.parametrize("stage", ["mapping the image", "writing", "reading back"])
def test_ctrl_c_says_in_what_state_the_card_is(
    image: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def stopped(**_options: Any) -> Iterator[Bars]:
        yield Stopped(stage)

    out = tmp_path / "out.img"
    shutil.copy(image, out)
    with monkeypatch.context() as patched:
        patched.setattr(flash_cli, "bars", stopped)
        told = run("--image", image, "--file", out, code=130)
    if stage == "mapping the image":
        assert "nothing was written" in told
        assert out.read_bytes() == image.read_bytes()
    else:
        assert "the card is incomplete" in told
        assert out.read_bytes()[:HEAD_BYTES] == bytes(HEAD_BYTES)
    run("--image", image, "--file", out)
    assert out.read_bytes() == image.read_bytes()


@pytest.mark.skipif(shutil.which("mcopy") is None, reason="needs mtools")
def test_an_image_is_built_and_flashed(tmp_path: Path, loop: str) -> None:
    stock = make_stock_image(tmp_path / "stock.img", fat32=False, boot_mib=4, root_mib=1)
    built = tmp_path / "box-7.img"
    options = ["--base", str(stock.path), "--box", "box-7", "--out", str(built), "--sha256",
               hashlib.sha256(stock.path.read_bytes()).hexdigest(),
               "--claim", str(make_claim(tmp_path / "claims")),
               "--requirements", str(software_list(tmp_path)),
               "--index-url", "https://packages.north.example/simple"]  # fmt: skip
    done = CliRunner().invoke(image_app, ["build", *options])
    assert done.exit_code == 0, done.output
    told = run("--image", built, "--device", loop, "--loop-devices", "--yes-device", loop)
    assert "for box-7 of site north, to start within 72 h" in told
    assert Path(loop).read_bytes()[: built.stat().st_size] == built.read_bytes()
