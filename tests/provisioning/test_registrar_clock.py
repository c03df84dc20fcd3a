"""A box that no time server answers takes the time from its registrar, within bounds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from registrar_site import RegistrarSite, copy_of, served
from typer.testing import CliRunner

from protocol.errors import ProtocolError, SignatureInvalid
from protocol.joining import RegistrarTime
from protocol.signing import SigningKey
from provisioning.authority import SitePaths
from provisioning.box.box_side_cli import app
from provisioning.box.firstboot.errors import FirstBootError, InstallRefused
from provisioning.box.firstboot.install import Folder
from provisioning.box.firstboot.keys import FileKeys
from provisioning.box.firstboot.registrar_clock import CLOCK_FILE, Correction, set_by_registrar
from provisioning.formats.claimfile import ClaimFile, load_claim
from runtime.clock import system_ms
from runtime.http import client

DAY_MS = 86_400_000


@pytest.fixture
def site(
    made_registrar_site: SitePaths, tmp_path: Path, passphrase: bytes
) -> Iterator[RegistrarSite]:
    made = copy_of(made_registrar_site, tmp_path, passphrase)
    with served(made.registrar):
        yield made
    made.registrar.close()


class Board:
    """A board that was switched on with a wrong clock."""

    def __init__(self, site: RegistrarSite, *, at_ms: int = 0) -> None:
        self.folder, self.claim, _ = site.begin(site.claim())
        self.now_ms, self.sets = at_ms, list[int]()

    def ask(self, claim: ClaimFile | None = None, *, took_ms: int = 0) -> Correction:
        counted = iter([0, took_ms])
        return set_by_registrar(
            self.folder,
            claim or self.claim,
            set_ms=self.sets.append,
            now_ms=lambda: self.now_ms,
            counted_ms=lambda: next(counted),
        )


@pytest.mark.slow
def test_a_board_that_begins_in_1970_is_told_the_time(site: RegistrarSite) -> None:
    board = Board(site)
    before = system_ms()
    done = board.ask(took_ms=1000)
    assert board.sets == [done.told_ms]
    assert before + 500 <= done.told_ms <= system_ms() + 500, "half the way is added"
    assert done.moved_ms == done.told_ms


@pytest.mark.processes
@pytest.mark.parametrize("day", ["1970-01-02", "2060-01-01"])
def test_the_time_is_had_when_no_certificate_is_valid_by_this_clock(
    site: RegistrarSite, day: str
) -> None:
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("faketime is not installed (Debian: apt install faketime)")
    code = (
        "import pathlib, sys; from provisioning.box.firstboot import est_client;"
        " from provisioning.formats.claimfile import load_claim;"
        " claim = load_claim(pathlib.Path(sys.argv[1]));"
        " est_client.time(claim, bytes(32)); print('told')"
    )
    done = subprocess.run(
        [faketime, f"{day} 00:00:00", sys.executable, "-c", code, str(site.claim())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "told\n", done.stderr


def test_a_clock_that_is_right_is_left_alone(site: RegistrarSite) -> None:
    board = Board(site, at_ms=system_ms())
    assert not board.ask().was_set
    assert board.sets == []


def test_nobody_but_the_registrar_whom_the_claim_names_tells_the_time(site: RegistrarSite) -> None:
    board = Board(site)
    other = SigningKey.generate("registrar").verify_key.raw.hex()
    with pytest.raises(InstallRefused, match="did not sign"):
        board.ask(board.claim.model_copy(update={"registrar": other}))
    with pytest.raises(FirstBootError, match="does not name the registrar's key"):
        board.ask(board.claim.model_copy(update={"registrar": ""}))
    assert board.sets == []


@pytest.mark.parametrize(("days", "word"), [(-1, "no earlier than"), (4, "after the claim runs")])
def test_a_time_before_the_claim_or_after_it_is_not_believed(
    site: RegistrarSite, days: int, word: str
) -> None:
    board = Board(site)
    site.clock.advance(days=days)
    with pytest.raises(InstallRefused, match=word):
        board.ask()
    assert board.sets == []


def test_no_time_before_the_last_that_was_told_is_believed(site: RegistrarSite) -> None:
    board = Board(site)
    site.clock.advance(days=1)
    board.ask()
    site.clock.advance(minutes=-30)
    with pytest.raises(InstallRefused, match="no earlier than"):
        board.ask()
    assert len(board.sets) == 1
    kept = json.loads((board.folder.path / CLOCK_FILE).read_text())
    assert kept == {"v": 1, "time_ms": board.sets[0]}
    (board.folder.path / CLOCK_FILE).write_text("{")
    board.ask()


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [b"", b"\xff", b"[]", b'{"time_ms": 1%s}' % (b"0" * 30), bytes(4096)]
)
def test_where_what_was_told_last_is_damaged_the_other_bounds_hold(
    site: RegistrarSite, damage: bytes
) -> None:
    board = Board(site)
    (board.folder.path / CLOCK_FILE).write_bytes(damage)
    assert board.ask().was_set


def test_a_box_that_is_in_is_bounded_by_its_certificate(site: RegistrarSite) -> None:
    board = Board(site)
    site.join(site.boxes / "box-7.claim.toml")
    board.folder, claim = Folder(board.folder.path), load_claim(board.folder.claim)
    assert claim.registrar == board.claim.registrar
    site.clock.advance(days=20)
    assert board.ask(claim).was_set
    site.clock.advance(days=20)
    with pytest.raises(InstallRefused, match="certificate runs out"):
        board.ask(claim)


def test_an_answer_that_somebody_kept_back_is_not_believed(site: RegistrarSite) -> None:
    with pytest.raises(InstallRefused, match="took 11 s"):
        Board(site).ask(took_ms=11_000)


def test_an_answer_is_for_one_question_of_one_site() -> None:
    key = SigningKey.generate("registrar")
    said = RegistrarTime("north", b"n" * 32, 5)
    data = said.sign(key).to_bytes()
    assert RegistrarTime.open(data, site="north", nonce=b"n" * 32, key=key.verify_key) == said
    for site, nonce in (("south", b"n" * 32), ("north", b"m" * 32)):
        with pytest.raises(SignatureInvalid):
            RegistrarTime.open(data, site=site, nonce=nonce, key=key.verify_key)
    forged = replace(said, time_ms=6).sign(SigningKey.generate("registrar")).to_bytes()
    with pytest.raises(SignatureInvalid):
        RegistrarTime.open(forged, site="north", nonce=b"n" * 32, key=key.verify_key)
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(ProtocolError):
            RegistrarTime.open(changed, site="north", nonce=b"n" * 32, key=key.verify_key)


@pytest.mark.slow
@pytest.mark.parametrize("nonce", ["", "00", "g" * 64, "0" * 66])
def test_a_question_without_a_nonce_is_refused(site: RegistrarSite, nonce: str) -> None:
    folder = site.join(site.claim())
    with client(site.config.url, folder.tls(FileKeys(folder.path))) as http:
        assert http.get("/v1/time", params={"nonce": nonce}).status_code == 422


@pytest.mark.slow
def test_the_command_asks_and_leaves_a_right_clock_alone(site: RegistrarSite) -> None:
    claim, folder = site.claim(), site.boxes / "new"
    told = CliRunner().invoke(app, ["clock", "--claim-file", str(claim), "--folder", str(folder)])
    assert told.exit_code == 0, told.output
    assert "agrees with the registrar's" in told.output
