"""Root places a role's folder, and no link of the account that owns it leads root elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.packages.roles import FILES

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("setpriv") is None,
        reason="only root places folders for other accounts",
    ),
]
NOBODY = 65534
Place = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """`sealtrace-place`, with folders of this test's own and `nobody` for the account."""
    for above in (tmp_path, *tmp_path.parents):
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)  # as /etc is
    text = (FILES / "sealtrace-place").read_text()
    text = text.replace("/etc/sealtrace", f"{tmp_path}/etc")
    text = text.replace("/var/lib/sealtrace", f"{tmp_path}/var").replace(
        "user=$package", "user=nobody"
    )
    script = tmp_path / "place"
    script.write_text(text)

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", script, *words], capture_output=True, text=True, check=False, timeout=60
        )

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A custodian's, with something in a folder of its own, and a state."""
    made = tmp_path / "c1"
    (made / "tls").mkdir(parents=True)
    (made / "state").mkdir()
    (made / "custodian.toml").write_text("site = 'x'\n")
    (made / "tls" / "key.pem").write_text("a key\n")
    (made / "state" / "audit.db").write_text("a log\n")
    (tmp_path / "passphrase").write_text("a passphrase\n")
    return made


def test_a_folder_is_the_accounts_and_its_passphrase_root_s_outside_of_it(
    place: Place, folder: Path, tmp_path: Path
) -> None:
    done = place("--passphrase-file", tmp_path / "passphrase", folder)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "state")  # a state is placed once
    assert place("--passphrase-file", tmp_path / "passphrase", folder).returncode == 0
    tops = (tmp_path / "etc/custodian", tmp_path / "var/custodian")
    placed = sorted(one for top in tops for one in top.rglob("*"))
    assert [one.name for one in placed] == ["custodian.toml", "state", "tls", "key.pem", "audit.db"]
    for one in placed:
        assert (one.lstat().st_uid, one.lstat().st_mode & 0o077) == (NOBODY, 0) or one.is_symlink()
    secret = tmp_path / "etc" / "custodian.passphrase"
    assert (secret.stat().st_uid, secret.stat().st_mode & 0o777) == (0, 0o600)
    (folder / "custodian.toml").write_text("site = 'y'\n")
    refused = place(folder)
    assert refused.returncode == 1
    assert "custodian.toml\nnothing was placed" in refused.stderr
    assert place("--replace", folder).returncode == 0
    assert (tmp_path / "etc/custodian/custodian.toml").read_text() == "site = 'y'\n"
    assert (tmp_path / "etc/custodian/custodian.toml.~1~").read_text() == "site = 'x'\n"


def test_links_of_the_account_have_root_write_and_give_away_nothing(
    place: Place, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "cron.d"
    elsewhere.mkdir(mode=0o755)
    precious = elsewhere / "precious"
    precious.write_text("root's own\n")
    target = tmp_path / "etc" / "custodian"
    target.mkdir(parents=True)
    (target / "tls").symlink_to(elsewhere)
    (target / "custodian.toml").symlink_to(precious)
    os.chown(target, NOBODY, NOBODY)
    shutil.rmtree(folder / "state")
    done = place("--replace", folder)
    assert done.returncode != 0
    assert [one.name for one in elsewhere.iterdir()] == ["precious"]
    assert precious.read_text() == "root's own\n"
    assert (precious.stat().st_uid, precious.stat().st_mode & 0o777) == (0, 0o644)


@pytest.mark.parametrize("name", ["key\n..", "key\x1b]0;all is well\x07.pem"])
def test_a_name_that_reads_as_two_or_steers_a_terminal_has_nothing_placed(
    name: str, place: Place, folder: Path, tmp_path: Path
) -> None:
    (folder / "tls" / name).mkdir()
    (folder / "tls" / name / "shadow").write_text("a key\n")
    done = place(folder)
    assert done.returncode == 1
    assert "Nothing was placed" in done.stderr
    assert not (tmp_path / "etc" / "custodian").exists()
    assert done.stderr.rstrip("\n").isprintable()
