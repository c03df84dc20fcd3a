"""`sealtrace site`: exit codes, what is said, and that a dry run writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from provisioning.site import SitePaths, SitePlan, open_site
from provisioning.site.plan import site_toml
from provisioning.site_cli import app
from runtime.keyfiles import WrongPassphrase, read_secret

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, passphrase: bytes, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: object, passphrase_given: bytes = passphrase, answers: str = "") -> Result:
        monkeypatch.setenv("SEALTRACE_PASSPHRASE", passphrase_given.decode())
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=answers)

    return ran


@pytest.fixture
def config(tmp_path: Path, make_plan: Callable[..., SitePlan]) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(site_toml(make_plan()))
    return path


def test_a_site_from_a_file(run: Run, config: Path, tmp_path: Path) -> None:
    made = run("init", "new", "--config", config)
    assert made.exit_code == 0, made.output
    assert "site backup new" in made.stdout
    shown = run("show", "new")
    assert shown.exit_code == 0, shown.output
    for word in ("2 of 3 custodians", "box-2", "investigator", "397 d", "30 d"):
        assert word in shown.stdout
    again = run("init", "new", "--config", config)
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_a_dry_run_writes_nothing_and_needs_no_passphrase(
    run: Run, config: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = run("init", "new", "--config", config, "--dry-run", passphrase_given=b"")
    assert done.exit_code == 0, done.output
    assert "would make the site 'demo'" in done.stdout
    assert "https://localhost:8442" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_the_example_can_be_used(run: Run, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(run("init", "--example").stdout)
    done = run("init", "new", "--config", "site.toml", "--dry-run")
    assert done.exit_code == 0, done.output


def test_a_site_from_answers(run: Run, tmp_path: Path) -> None:
    answers = ["Not a name", "north", "3", "9", "2", *[""] * 6]  # two answers are asked for again
    answers += ["", "", ""]  # aggregator, broker kind and address
    answers += ["", "bo, cy,dee", "", "2"]  # officers, approvals
    answers += ["1", "", "", "rtsp://10.0.0.1/s", "y", "back", "v4l2:/dev/video0", "n"]
    done = run("init", "new", answers="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    assert "not a name" in done.stderr
    site = open_site(tmp_path / "new")
    assert (site.plan.site, site.directory.threshold) == ("north", 2)
    assert [p.name for p in site.directory.with_duty("approver")] == ["bo", "cy", "dee"]
    assert site.directory.box_of_camera("back").name == "box-1"


def test_contradicting_answers_are_explained(run: Run, tmp_path: Path) -> None:
    answers = ["north", "3", "2", *[""] * 6, "", "", "", "", "bo", "", "2", "0"]
    done = run("init", "new", answers="\n".join(answers) + "\n")
    assert done.exit_code == 1
    assert "name more approvers" in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["init"], 2, "DIR"),
        (["init", "new", "--config", "missing.toml"], 1, "cannot read"),
        (["show", "nowhere"], 1, "not a site's folder"),
        (["init", "new", "--config", "site.toml", "--role-passphrase-file", "zoe=x"], 2, "zoe"),
    ],
)
def test_wrong_use_is_explained(
    run: Run, config: Path, arguments: list[str], code: int, message: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_short_passphrases_are_refused(run: Run, config: Path, tmp_path: Path) -> None:
    done = run("init", "new", "--config", config, passphrase_given=b"short")
    assert done.exit_code == 1
    assert "fewer than 8" in done.stderr
    assert not (tmp_path / "new").exists()


def test_revoking_what_the_site_needs_takes_force(run: Run, site: SitePaths) -> None:
    done = run("revoke", site.root, "eve")
    assert done.exit_code == 1
    assert "no auditor" in done.stderr
    assert open_site(site.root).directory.version == 1
    assert run("revoke", site.root, "bo", "--dry-run").exit_code == 0
    assert open_site(site.root).directory.version == 1
    done = run("revoke", site.root, "eve", "--force")
    assert done.exit_code == 0, done.output
    assert "directory version 2" in done.stdout
    again = run("revoke", site.root, "eve", passphrase_given=b"")
    assert again.exit_code == 0, again.output
    assert "nothing had to be changed" in again.stdout


def test_an_officer_is_added(run: Run, site: SitePaths) -> None:
    arguments = ("add-officer", site.root, "fay", "--duty", "approver")
    assert "would be added" in run(*arguments, "--dry-run").stdout
    assert open_site(site.root).directory.version == 1
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "officers/fay" in done.stdout.replace("\n", "")
    assert run(*arguments, passphrase_given=b"").exit_code == 0
    assert run("add-officer", site.root, "gil", "--duty", "king").exit_code == 2


def test_the_wrong_passphrase_is_one_line(run: Run, site: SitePaths) -> None:
    done = run("revoke", site.root, "bo", passphrase_given=b"not this one")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: the passphrase does not open")
    assert len(done.stderr.splitlines()) == 1


def test_those_who_cannot_be_told_are_named(run: Run, site: SitePaths) -> None:
    done = run("update", site.root, "--push")
    assert done.exit_code == 1
    for name in ("c1", "c2", "c3", "aggregator"):
        assert f"✗ {name}: https://localhost" in done.stdout
    assert "4 of 4 could not be told" in done.stdout


def test_renewing_and_its_dry_run(run: Run, site: SitePaths) -> None:
    certificate = site.box("box-1").parent / "tls/certificate.pem"
    before = certificate.read_bytes()
    assert "nothing was changed" in run("renew", site.root).stdout
    done = run("renew", site.root, "--within-days", "40", "--dry-run")
    assert "would renew: box-1, box-2" in done.stdout
    assert certificate.read_bytes() == before
    assert run("renew", site.root, "--within-days", "40").exit_code == 0
    assert certificate.read_bytes() != before


def test_backup_and_restore(run: Run, site: SitePaths, tmp_path: Path) -> None:
    assert run("backup", site.root, "--out", "b").exit_code == 0
    done = run("restore", "b", "again")
    assert done.exit_code == 0, done.output
    assert run("show", "again").exit_code == 0
    assert run("restore", "b", "again").exit_code == 1


def test_a_policy_is_changed_from_a_file(run: Run, site: SitePaths, tmp_path: Path) -> None:
    text = site.policy.read_text().replace("version = 1", "version = 2")
    (tmp_path / "p.toml").write_text(text)
    assert run("policy", site.root, "p.toml", "--dry-run").exit_code == 0
    assert open_site(site.root).policy.version == 1
    done = run("policy", site.root, "p.toml")
    assert "policy version 2 is signed" in done.stdout, done.output


def test_a_secret_file_gets_its_owners_passphrase(
    run: Run, site: SitePaths, tmp_path: Path, passphrase: bytes
) -> None:
    path = site.custodian("c1").parent / "identity.secret"
    secret = read_secret(path, passphrase, "identity")
    (tmp_path / "new").write_text("the custodian's own words\n")
    done = run("passphrase", path, "--new-passphrase-file", "new")
    assert done.exit_code == 0, done.output
    assert read_secret(path, b"the custodian's own words", "identity") == secret
    with pytest.raises(WrongPassphrase):
        read_secret(path, passphrase, "identity")
    assert run("passphrase", site.plan).exit_code == 1


def test_piped_tables_are_not_folded(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("init", "new", "--config", config).exit_code == 0
    wide = run("show", "new").stdout
    monkeypatch.setenv("COLUMNS", "40")
    assert len(run("show", "new").stdout.splitlines()) == len(wide.splitlines())


def test_a_bundle_that_is_not_there_is_named(run: Run, config: Path) -> None:
    assert run("init", "new", "--config", config).exit_code == 0
    done = run("models", "new", "nobundle")
    assert done.exit_code == 1
    assert "nobundle is not there" in done.stderr
