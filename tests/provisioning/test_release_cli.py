"""`sealtrace release` at the terminal: from an empty folder to a box that runs a release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from release_desk import AUTHORITY, make_bundle, make_wheel
from typer.testing import CliRunner, Result

from provisioning.fleet.release_cli import app

_RUN = CliRunner()


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch, cheap_secrets: None) -> None:
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", "four words for tests")


def _run(*arguments: str | Path, code: int = 0) -> Result:
    result = _RUN.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def _init(folder: Path) -> Path:
    officers = [part for name in ("ana", "bo", "cy") for part in ("--officer", name)]
    _run("init", folder, *officers)
    return folder


def _updates(folder: Path, releases: Path, health: str = "true") -> Path:
    folder.mkdir()
    (folder / "trusted-root.json").write_bytes((releases / "trusted-root.json").read_bytes())
    path = folder / "updates.toml"
    path.write_text(
        f'repository = "{(releases / "public").as_uri()}"\nauthority = "{AUTHORITY.hex()}"\n'
        f'group = "canary"\n[service]\nrestart = ["true"]\nhealth = ["{health}"]\n'
        "interval_s = 0.01\ntimes = 1\ndeadline_s = 0.5\n"
    )
    return path


@pytest.mark.processes
def test_from_an_empty_folder_to_a_box_that_runs_it(tmp_path: Path) -> None:
    releases = _init(tmp_path / "releases")
    bundle = make_bundle(tmp_path / "bundle", b"good")
    added = _run("add-models", releases, bundle, "--trusted", AUTHORITY.hex())
    version = added.output.split()[-1]
    _run("add-agent", releases, make_wheel(tmp_path / "dist", "0.9.1"))
    for kind, what in (("models", version[:6]), ("agent", "0.9.1")):
        _run("rollout", releases, "--kind", kind, "--version", what, "--group", "canary")
    shown = _run("show", releases).output
    assert f"models/{version}.tar" in shown
    assert "2 of 3" in shown
    assert "2 packages" in _run("verify", releases).output
    assert "nothing is due" in _run("timestamp", releases).output
    config = _updates(tmp_path / "box", releases)
    assert "would install" in _run("update", "--config", config, "--check").output
    assert "updated" in _run("update", "--config", config).output
    state = json.loads(_run("status", "--config", config, "--json").output)
    assert state["report"]["running"] == {"agent": "0.9.1", "models": version}
    assert "current" in _run("update", "--config", config).output


@pytest.mark.processes
def test_a_roll_back_is_exit_code_1_and_told_again_by_status(tmp_path: Path) -> None:
    releases = _init(tmp_path / "releases")
    wheel = make_wheel(tmp_path / "dist", "0.9.1")
    _run("add-agent", releases, wheel)
    _run("rollout", releases, "--kind", "agent", "--version", "0.9.1", "--group", "all")
    agents = tmp_path / "box" / "agents" / "current"
    config = _updates(tmp_path / "box", releases, health=f'test", "!", "-e", "{agents}')
    assert "rolled back" in _run("update", "--config", config, code=1).output
    assert "failed here: agent 0.9.1" in _run("status", "--config", config).output
    assert "held-back" in _run("update", "--config", config).output


def test_officers_sign_a_new_root_one_after_the_other(tmp_path: Path) -> None:
    releases = _init(tmp_path / "releases")
    _run("key", "dora", tmp_path / "dora.secret")
    change = ("rotate-root", releases, "--add", tmp_path / "dora.pub", "--remove", "cy")
    assert "would stage root version 2" in _run(*change, "--dry-run").output
    _run(*change)
    assert "waits for signatures already" in _run(*change, code=1).output
    assert (
        "waits for 1 more"
        in _run("sign-root", releases, "--key", releases / "keys" / "officer-ana.secret").output
    )
    assert "root version 2" in _run("show", releases).output
    done = _run("sign-root", releases, "--key", releases / "keys" / "officer-bo.secret").output
    assert "root version 2 is in force" in done
    assert "dora" in _run("show", releases).output
    assert "no root waits" in _run("sign-root", releases, "--key", tmp_path / "x").output
    assert "no root waits" in _run("rotate-root", releases, "--discard").output


def test_each_officer_has_a_passphrase_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEALTRACE_PASSPHRASE")
    options = []
    for name in ("ana", "bo", "targets"):
        (tmp_path / name).write_text(f"the words of {name}\n")
        options += ["--passphrase-file", f"{name}={tmp_path / name}"]
    releases = tmp_path / "releases"
    _run("init", releases, "--officer", "ana", "--officer", "bo", *options)
    _run("rotate-root", releases)
    key = releases / "keys" / "officer-ana.secret"
    wrong = _run(
        "sign-root", releases, "--key", key, "--passphrase-file", f"ana={tmp_path / 'bo'}", code=1
    )
    assert "does not open" in wrong.output
    _run("sign-root", releases, "--key", key, "--passphrase-file", f"ana={tmp_path / 'ana'}")
    missing = _run("renew-targets", releases, code=1)
    assert "SEALTRACE_PASSPHRASE" in missing.output
    _run("timestamp", releases, "--force")


def test_dry_runs_make_nothing(tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    _run("init", releases, "--officer", "ana", "--officer", "bo", "--dry-run")
    assert not releases.exists()
    _init(releases)
    before = {path: path.read_bytes() for path in releases.rglob("*") if path.is_file()}
    wheel = make_wheel(tmp_path / "dist", "0.9.1")
    _run("add-agent", releases, wheel, "--dry-run")
    _run("timestamp", releases, "--dry-run", "--force")
    _run("renew-targets", releases, "--dry-run")
    after = {path: path.read_bytes() for path in releases.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["init", "{new}", "--officer", "ana"], "cannot give 2 signatures"),
        (["init", "{here}", "--officer", "a", "--officer", "b"], "left as it is"),
        (["init", "{new}", "--officer", "a", "--officer", "b", "--lifetime", "x"], "ROLE=DAYS"),
        (["show", "{new}"], "release init"),
        (["verify", "{new}"], "release init"),
        (["rollout", "{here}", "--kind", "x", "--version", "1", "--group", "all"], "--kind x"),
        (["rollout", "{here}", "--kind", "agent", "--version", "1", "--group", "all"], "not been"),
        (["add-agent", "{here}", "{here}/trusted-root.json"], "not the name of a wheel"),
        (["add-models", "{here}", "{new}", "--trusted", "0" * 64], "not a signed model bundle"),
        (["sign-root", "{new}", "--key", "x"], "release init"),
        (["update", "--config", "{new}"], "cannot read"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    here = _init(tmp_path / "here")
    texts = [text.format(new=tmp_path / "new", here=here) for text in arguments]
    result = _run(*texts, code=1)
    assert result.output.startswith("error: ")
    assert says in result.output


def test_the_configuration_explains_itself(tmp_path: Path) -> None:
    text = _run("update", "--config", tmp_path / "none.toml", "--print-config").output
    path = tmp_path / "updates.toml"
    path.write_text(text)
    assert "# The root of releases" in text
    assert _run("update", "--config", path, "--print-config").output.count("\n") > 20
