"""`sealtrace site`: exit codes, what is said, and that a dry run writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from provisioning.authority import SitePaths, SitePlan, open_site
from provisioning.authority.consequences import Weight, of_revocation
from provisioning.authority.site_cli import app
from provisioning.formats.plan import site_toml
from runtime.keyfiles import WrongPassphrase, read_secret
from runtime.officer import load_officer

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


def test_a_site_from_answers(run: Run, tmp_path: Path, cheap_secrets: None) -> None:
    answers = ["Not a name", "north", "Asia/Soeul", "Asia/Seoul"]  # two are asked for again
    answers += ["3", "9", "2", *[""] * 6]  # and one of these
    answers += ["", "", ""]  # aggregator, broker kind and address
    answers += ["", "bo, cy,dee", "", "2", ""]  # officers, approvals, confirmations
    answers += ["1", "", "", "rtsp://10.0.0.1/s", "y", "back", "v4l2:/dev/video0", "n"]
    done = run("init", "new", answers="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    assert "not a name" in done.stderr
    site = open_site(tmp_path / "new")
    assert (site.plan.site, site.directory.threshold) == ("north", 2)
    assert "did you mean 'Asia/Seoul'" in done.stderr
    officer = load_officer(site.paths.officer("ana"))
    assert site.plan.time_zone == officer.time_zone == "Asia/Seoul"
    for file in (site.paths.box("box-1"), site.paths.registrar):
        assert 'time_zone = "Asia/Seoul"' in file.read_text()
    assert [p.name for p in site.directory.with_duty("approver")] == ["bo", "cy", "dee"]
    assert [p.name for p in site.directory.with_duty("investigator")] == ["ana", "dan"]
    assert "\nconfirmations = 2\n" in site.paths.policy.read_text()
    assert site.directory.box_of_camera("back").name == "box-1"


def test_contradicting_answers_are_explained(run: Run, tmp_path: Path) -> None:
    answers = ["north", "", "3", "2", *[""] * 6, "", "", "", "", "bo", "", "2", "", "0"]
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


def test_revoking_a_custodian_says_the_new_quorum_and_asks(run: Run, site: SitePaths) -> None:
    for answers in ("", "n\n"):
        done = run("revoke", site.root, "c1", answers=answers)
        assert done.exit_code == 1
        for words in (
            "2 of 3 custodians must agree now; afterwards 2 of 2 custodians must agree",
            "each log must be cosigned by 2 of the 2 other roles",
            "if one is lost, what is stored is lost",
            "nothing was changed",
        ):
            assert words in done.stderr
    assert open_site(site.root).directory.version == 1
    done = run("revoke", site.root, "c1", answers="y\n")
    assert done.exit_code == 0, done.output
    assert "2 of 2 custodians must agree" in run("show", site.root).stdout


def test_too_few_custodians_are_refused_whatever_the_answer(run: Run, site: SitePaths) -> None:
    assert run("revoke", site.root, "c1", "--yes").exit_code == 0
    done = run("revoke", site.root, "c2", "--yes", answers="y\n")
    assert done.exit_code == 1
    assert "only 1 custodians are left of the 2" in done.stderr
    assert "add --force" in done.stderr
    assert open_site(site.root).directory.version == 2
    assert run("revoke", site.root, "c2", "--force").exit_code == 0
    shown = run("show", site.root)
    assert shown.exit_code == 1
    assert "1 custodians are in force of the 2 that must agree: nothing can be opened" in (
        shown.stderr
    )


@pytest.mark.parametrize(
    ("name", "words", "refused"),
    [
        ("eve", "auditors left: 0", True),
        ("eve", "no auditor is left", True),
        ("ana", "no investigator is left", True),
        ("bo", "approvals needed: 2 (consent), 3 (statutory-order); approvers left: 1 (cy)", True),
        ("bo", "need 2 approvals, and 1 other approvers are there", True),
        ("aggregator", "no aggregator any more", True),
        ("registrar", "no box can join", False),
        ("broker", "renew it at once", False),
    ],
)
def test_revoking_what_the_site_needs_is_said_and_asked(
    run: Run, site: SitePaths, name: str, words: str, *, refused: bool
) -> None:
    asked = run("revoke", site.root, name)
    assert asked.exit_code == 1
    assert words in asked.stderr
    assert open_site(site.root).directory.version == 1
    dry = run("revoke", site.root, name, "--dry-run", passphrase_given=b"")
    assert dry.exit_code == 0
    assert words in dry.stderr
    done = run("revoke", site.root, name, "--yes")
    assert done.exit_code == int(refused), done.output
    again = run("revoke", site.root, name, "--force")
    assert again.exit_code == 0, again.output


def test_a_revocation_in_the_dry_as_json(run: Run, site: SitePaths) -> None:
    told = json.loads(run("revoke", site.root, "c1", "--dry-run", "--json").stdout)
    assert (told["custodians"], told["threshold"], told["cosigners_needed"]) == (2, 2, 2)
    assert (told["refused"], told["directory_version"]) == (False, 2)
    assert [one["weight"] for one in told["consequences"]] == ["asked"]
    assert run("revoke", site.root, "c1", "--json").exit_code == 2
    assert open_site(site.root).directory.version == 1


def test_revoking_again_asks_nothing(run: Run, site: SitePaths) -> None:
    assert run("revoke", site.root, "eve", "--force").exit_code == 0
    again = run("revoke", site.root, "eve", passphrase_given=b"")
    assert again.exit_code == 0, again.output
    assert "nothing had to be changed" in again.stdout


def test_a_plan_and_a_site_say_how_many_must_cosign(run: Run, config: Path) -> None:
    words = "each log must be cosigned by 3 of the 3 other roles: while one is away"
    assert words in run("init", "new", "--config", config, "--dry-run").stdout
    assert run("init", "new", "--config", config).exit_code == 0
    assert words in run("show", "new").stdout


def test_an_officer_who_would_audit_themselves_is_told_of(run: Run, site: SitePaths) -> None:
    done = run(
        "add-officer", site.root, "fay", "--duty", "approver", "--duty", "auditor", "--dry-run"
    )
    assert "audits their own approvals" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "retention_days = 14",
            "retention_days = 3",
            "falls from 14 to 3 days: custodians destroy",
        ),
        ("approvals = 2", "approvals = 4", "need 4 approvals, and 2 other approvers are there"),
    ],
)
def test_a_policy_that_destroys_or_stops_is_said_and_asked(
    run: Run, site: SitePaths, tmp_path: Path, *, old: str, new: str, words: str
) -> None:
    text = site.policy.read_text().replace("version = 1", "version = 2").replace(old, new)
    (tmp_path / "p.toml").write_text(text)
    done = run("policy", site.root, "p.toml")
    assert done.exit_code == 1
    assert words in done.stderr
    assert open_site(site.root).policy.version == 1
    assert run("policy", site.root, "p.toml", "--yes").exit_code == 0
    assert open_site(site.root).policy.version == 2


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
    done = run("revoke", site.root, "box-1", passphrase_given=b"not this one")
    assert done.exit_code == 1
    noted, said = done.stderr.splitlines()
    assert noted == "note: nobody sees cam-1 until a box takes them over"
    assert said.startswith("error: the passphrase does not open")


def test_those_who_cannot_be_told_are_named(run: Run, site: SitePaths) -> None:
    done = run("update", site.root, "--push")
    assert done.exit_code == 1
    for name in ("c1", "c2", "c3", "aggregator"):
        assert f"✗ {name}: https://localhost" in done.stdout
    assert "4 of 5 could not be told" in done.stdout


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


@pytest.mark.slow
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


def test_who_can_be_spared_is_revoked_after_a_yes_and_what_is_left_is_said(
    run: Run, site: SitePaths
) -> None:
    for name in ("dan", "fay"):
        added = run("add-officer", site.root, name, "--duty", "approver", "--duty", "investigator")
        assert added.exit_code == 0, added.output
    done = run("revoke", site.root, "fay", "--yes")
    assert done.exit_code == 0, done.output
    assert "investigators left: 2 (ana, dan)" in done.stderr
    assert "approvers left: 3 (bo, cy, dan)" in done.stderr
    assert "on the basis 'consent' need" not in done.stderr


def test_an_investigator_without_whom_too_few_confirm_takes_force(
    run: Run, config: Path, make_plan: Callable[..., SitePlan]
) -> None:
    officers = [
        *({"name": name, "duties": ["investigator"]} for name in ("ana", "dan")),
        *({"name": name, "duties": ["approver"]} for name in ("bo", "cy", "fay")),
        {"name": "eve", "duties": ["auditor"]},
    ]
    config.write_text(site_toml(make_plan(officers=officers, policy={"confirmations": 2})))
    assert run("init", "new", "--config", config).exit_code == 0
    done = run("revoke", "new", "dan", "--yes")
    assert done.exit_code == 1
    assert "investigators left: 1 (ana); investigators who must confirm a hit: 2" in done.stderr
    assert "no query is permitted" in done.stderr
    assert "add --force" in done.stderr
    assert run("revoke", "new", "dan", "--force").exit_code == 0


def test_what_is_to_be_run_next_can_be_typed_where_a_path_has_blanks(
    run: Run, config: Path
) -> None:
    made = run("init", "new site", "--config", config)
    assert "sealtrace site backup 'new site' --out FILE" in made.stdout
    revoked = run("revoke", "new site", "box-1", "--yes")
    assert "new site' --push" in revoked.stdout


def test_the_guide_says_what_enter_takes(run: Run) -> None:
    asked = run("init", "new", answers="")
    assert "Enter takes what stands in [brackets]." in asked.stderr


def test_models_of_an_unknown_signer_are_refused_with_the_option_that_names_one(
    run: Run, config: Path, tmp_path: Path
) -> None:
    assert run("init", "new", "--config", config).exit_code == 0
    (tmp_path / "bundle").mkdir()
    done = run("models", "new", "bundle")
    assert done.exit_code == 1
    assert "Name the public key of who signed it with --signer FILE" in done.stderr


@pytest.mark.parametrize(
    ("purposes", "words"),
    [
        ('["exercise", "exerc\u0456se"]', "mixes Cyrillic and Latin"),
        ('["ward 1", "ward I"]', "look alike; keep one of them"),
        ('["e\u0301tude"]', "normal form C"),
    ],
)
def test_purposes_that_read_as_others_are_not_signed(
    run: Run, site: SitePaths, tmp_path: Path, purposes: str, words: str
) -> None:
    text = site.policy.read_text().replace("version = 1", "version = 2")
    (tmp_path / "p.toml").write_text(text.replace('["contact tracing"]', purposes))
    done = run("policy", site.root, "p.toml", "--yes")
    assert done.exit_code == 1
    assert words in done.stderr
    assert open_site(site.root).policy.version == 1
    (tmp_path / "p.toml").write_text(
        text.replace('["contact tracing"]', '["접촉자 추적", "étude"]')
    )
    assert run("policy", site.root, "p.toml", "--yes").exit_code == 0


def test_what_no_query_can_ask_any_more_for_want_of_approvers_is_asked_about(
    run: Run, site: SitePaths
) -> None:
    assert run("add-officer", site.root, "dan", "--duty", "approver").exit_code == 0
    opened = open_site(site.root)
    policy = replace(opened.policy, option_approvals={"live": 1, "linked": 0})
    told = of_revocation(opened.directory, policy, "dan")
    asked = [one.text for one in told if one.weight is Weight.ASKED and "ask for" in one.text]
    assert [text[:24] for text in asked] == ["queries that ask for liv"]
    assert "need at least 3 approvals, and 2 other approvers" in asked[0]
    plain = of_revocation(opened.directory, opened.policy, "dan")
    assert not [one for one in plain if "ask for" in one.text]
