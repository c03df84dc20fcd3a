"""`site policy upgrade`: what is missing is closed, floors rise, nothing is lost, twice is once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from officer_site import Served
from typer.testing import CliRunner, Result

import custodian.custodian
from custodian.api import make_app
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from protocol.policy import Permissions, Policy, open_policy, parse_policy, sign_policy
from provisioning.authority import SitePaths, SitePlan, changes, create_site, open_site
from provisioning.authority.inspect import inspect_site
from provisioning.authority.policy_text import policy_text
from provisioning.authority.site_cli import app
from provisioning.formats.plan_policy import PolicyPlan
from provisioning.formats.secretfiles import open_authority
from runtime.bundle import Manifest, ModelEntry, write_manifest
from runtime.config import load
from runtime.keyfiles import Cost

Run = Callable[..., Result]
CONTENT = b"no model"
MODEL = f"face-32@{hashlib.sha256(CONTENT).hexdigest()[:8]}"


@pytest.fixture
def run(tmp_path: Path, passphrase: bytes, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", passphrase.decode())
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: object, answers: str = "") -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=answers)

    return ran


@pytest.fixture
def old(site: SitePaths, passphrase: bytes) -> SitePaths:
    """A site whose policy is of the first schema, whichever new sites have."""
    text = policy_text("demo", PolicyPlan(), schema=1, version=2)
    changes.change_policy(site.root, text, passphrase)
    return site


def policy_of(paths: SitePaths) -> Policy:
    return open_site(paths.root).policy


def with_model(paths: SitePaths, passphrase: bytes, threshold: float) -> None:
    """Have a bundle of one embedder in the site, signed by its authority."""
    paths.models.mkdir(exist_ok=True)
    digest = hashlib.sha256(CONTENT).hexdigest()
    entry = ModelEntry(
        role="face_embedder",
        name="face",
        model_id=MODEL,
        file="face.bin",
        sha256=digest,
        size=len(CONTENT),
        engine="onnx",
        threshold=threshold,
        licence="none",
        upstream="made by a test",
    )
    (paths.models / "face.bin").write_bytes(CONTENT)
    seed = open_authority(paths, passphrase).seed
    write_manifest(paths.models, Manifest(name="test", version="1", models=(entry,)), seed)


def changed(paths: SitePaths, passphrase: bytes, old: str, new: str) -> None:
    """Put a policy in force in which one thing is said otherwise."""
    version = policy_of(paths).version
    text = paths.policy.read_text().replace(old, new)
    assert text != paths.policy.read_text()
    text = text.replace(f"\nversion = {version}\n", f"\nversion = {version + 1}\n")
    changes.change_policy(paths.root, text.encode(), passphrase)


def test_what_the_first_schema_did_not_state_is_closed_and_the_rest_stays(
    old: SitePaths, run: Run
) -> None:
    before = policy_of(old)
    done = run("policy", "upgrade", old.root, "--yes")
    assert done.exit_code == 0, done.output
    after = policy_of(old)
    assert after == replace(
        before,
        version=3,
        digest=after.digest,
        schema=2,
        purposes=frozenset(),
        permits=Permissions(),
        witnessed_enrolment=True,
        consent_documents=True,
    )
    for words in (
        'forbidden from then on: any query at all (what would permit it: purposes = ["contact',
        "forbidden from then on: live queries (what would permit it: live = true",
        'forbidden from then on: asking that somebody was near (what would permit it: contacts = "',
        "no second officer saw enrolled (what would permit it: enrolment_without_witness = true",
    ):
        assert words in done.stderr
    assert "site policy sign" in done.stdout


def test_an_upgrade_reaches_every_role_folder_and_keeps_the_former_policy(
    old: SitePaths, run: Run
) -> None:
    before, text = policy_of(old), old.policy.read_bytes()
    assert run("policy", "upgrade", old.root, "--yes").exit_code == 0
    site = open_site(old.root)
    for folder in (old.aggregator, old.custodian("c2"), old.officer("bo")):
        copy, signature = folder.with_name("policy.toml"), folder.with_name("policy.toml.sig")
        held = open_policy(copy.read_bytes(), signature.read_bytes(), site.authority)
        assert held == site.policy
    kept = old.former_policies / f"{before.digest.hex()}.toml"
    assert kept.read_bytes() == text
    assert open_policy(text, kept.with_suffix(".sig").read_bytes(), site.authority) == before


def test_it_asks_first_and_changes_nothing_without_a_yes(old: SitePaths, run: Run) -> None:
    text = old.policy.read_bytes()
    for answers in ("", "n\n"):
        done = run("policy", "upgrade", old.root, answers=answers)
        assert done.exit_code == 1
        assert "nothing was changed" in done.stderr
    assert old.policy.read_bytes() == text
    assert run("policy", "upgrade", old.root, answers="y\n").exit_code == 0


def test_run_twice_it_says_that_nothing_is_to_do_and_who_holds_what(
    old: SitePaths, run: Run
) -> None:
    assert run("policy", "upgrade", old.root, "--yes").exit_code == 0
    text = old.policy.read_bytes()
    (old.officer("bo").parent / "policy.toml").write_bytes(b"another")
    old.officer("cy").parent.rename(old.root / "handed-over")
    again = run("policy", "upgrade", old.root, "--dry-run")
    assert again.exit_code == 0, again.output
    assert "nothing is to do" in again.stdout
    assert old.policy.read_bytes() == text
    assert "✓ ana: has it" in again.stdout
    assert "✗ bo: has another one; copy policy.toml" in again.stdout
    assert "? cy: their folder is not here; copy policy.toml" in again.stdout
    assert "? c1: https://localhost:8441" in again.stdout
    assert "✓ bo: has it" in run("policy", "upgrade", old.root).stdout  # brought there again
    assert (old.officer("bo").parent / "policy.toml").read_bytes() == text


def test_the_dry_run_prints_the_policy_to_be_opened_and_signed_by_hand(
    old: SitePaths, run: Run, tmp_path: Path
) -> None:
    before = old.policy.read_bytes()
    dry = run("policy", "upgrade", old.root, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert old.policy.read_bytes() == before
    assert parse_policy(dry.stdout.encode()).version == 3
    opened = dry.stdout.replace("purposes = []", 'purposes = ["exercise"]')
    (tmp_path / "p.toml").write_text(opened.replace("live = false", "live = true"))
    done = run("policy", "sign", old.root, "p.toml")
    assert done.exit_code == 0, done.output
    assert "any query at all" not in done.stderr
    after = policy_of(old)
    assert (after.purposes, after.permits) == (frozenset({"exercise"}), Permissions(live=True))


@pytest.mark.slow
def test_floors_that_are_missing_or_too_low_are_the_models_and_higher_ones_stay(
    old: SitePaths, run: Run, passphrase: bytes
) -> None:
    with_model(old, passphrase, 0.5)
    assert any(
        f"no threshold_floor for {MODEL}" in p for p in inspect_site(open_site(old.root)).problems
    )
    done = run("policy", "upgrade", old.root, "--yes")
    assert f"queries may compare with {MODEL}, from 0.500 on" in done.stderr
    assert policy_of(old).threshold_floor == {MODEL: 0.5}
    changed(old, passphrase, f'"{MODEL}" = 0.5', f'"{MODEL}" = 0.4\n"other@1" = 0.1')
    done = run("policy", "upgrade", old.root)  # asks for nothing: it only gets stricter
    assert done.exit_code == 0, done.output
    assert f"the least threshold for {MODEL} rises from 0.400 to 0.500" in done.stderr
    assert policy_of(old).threshold_floor == {MODEL: 0.5, "other@1": 0.1}
    changed(old, passphrase, f'"{MODEL}" = 0.5', f'"{MODEL}" = 0.9')
    assert "nothing is to do" in run("policy", "upgrade", old.root).stdout
    assert policy_of(old).threshold_floor[MODEL] == 0.9


def test_models_that_nobody_vouches_for_are_a_problem_and_set_no_floor(
    old: SitePaths, run: Run, passphrase: bytes
) -> None:
    with_model(old, passphrase, 0.5)
    manifest = old.models / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"0.5", b"0.1"))
    done = run("policy", "upgrade", old.root, "--yes")
    assert done.exit_code == 1
    assert policy_of(old).version == 2
    shown = run("show", old.root)
    assert (shown.exit_code, "manifest" in shown.stderr) == (1, True)
    assert "aggregator" in shown.stdout  # all the rest is told


def test_show_tells_the_policy_to_people_and_programs_and_whose_copy_is_another(
    old: SitePaths, run: Run
) -> None:
    assert "permits: live queries; asking that somebody was near" in run("show", old.root).stdout
    assert run("policy", "upgrade", old.root, "--yes").exit_code == 0
    assert "for none: no query is permitted; permits: nothing" in run("show", old.root).stdout
    copy = old.custodian("c2").parent / "policy.toml"
    copy.write_bytes(copy.read_bytes() + b"# changed\n")
    shown = run("show", old.root, "--json")
    assert shown.exit_code == 1
    told = json.loads(shown.stdout)
    assert (told["policy"]["schema"], told["policy"]["purposes"]) == (2, [])
    assert (told["policy"]["live"], told["policy"]["version"]) == (False, 3)
    assert {row["name"] for row in told["principals"]} >= {"c1", "ana", "box-1", "aggregator"}
    (problem,) = told["problems"]
    assert "c2 has another policy than the one in force, version 3" in problem


def test_a_changed_purpose_and_more_confirmations_are_said_before_signing(
    old: SitePaths, run: Run, tmp_path: Path
) -> None:
    plan = PolicyPlan(purposes=("exercise",), confirmations=2)
    (tmp_path / "p.toml").write_bytes(policy_text("demo", plan, version=3))
    said = run("policy", "sign", old.root, "p.toml", "--dry-run").stderr
    assert "until now any, in the officers' own words; from then on exercise" in said
    assert "from then on 2 investigators must each confirm a hit" in said


def test_without_models_floors_are_left_and_that_is_said(old: SitePaths, run: Run) -> None:
    assert "no models are installed" in run("policy", "upgrade", old.root, "--dry-run").stderr


def test_a_policy_of_the_second_schema_that_leaves_keys_out_has_them_written_out(
    old: SitePaths, run: Run, passphrase: bytes
) -> None:
    bare = "policy_schema = 2\nconfirmations = 2\nlive = true\n\nsite ="
    changed(old, passphrase, "site =", bare)
    before = policy_of(old)
    done = run("policy", "upgrade", old.root)
    assert done.exit_code == 0, done.output
    after = policy_of(old)
    changed_by_it = replace(before, version=before.version + 1, consent_documents=True)
    assert after == replace(changed_by_it, digest=after.digest)
    assert "\nevidence_stills = 0\n" in old.policy.read_text()
    assert "written out, closed: purposes, contacts" in done.stderr


def test_a_policy_that_more_must_confirm_than_can_is_asked_about(
    old: SitePaths, run: Run, tmp_path: Path
) -> None:
    plan = PolicyPlan(confirmations=2, option_approvals={"live": 1})
    (tmp_path / "p.toml").write_bytes(policy_text("demo", plan, version=3))
    done = run("policy", old.root, "p.toml")
    assert done.exit_code == 1
    assert "2 investigators must confirm a hit, and 1 with a key" in done.stderr
    assert "ask for live need at least 3 approvals, and 2 other approvers" in done.stderr


def test_going_back_to_the_first_schema_is_asked_about(
    old: SitePaths, run: Run, tmp_path: Path
) -> None:
    assert run("policy", "upgrade", old.root, "--yes").exit_code == 0
    (tmp_path / "p.toml").write_bytes(policy_text("demo", PolicyPlan(), schema=1, version=4))
    done = run("policy", old.root, "p.toml")
    assert done.exit_code == 1
    assert "permits in silence what it cannot name" in done.stderr
    assert "permitted from then on: live queries" in done.stderr


def test_an_interrupted_signing_is_finished_before_the_site_is_opened(
    old: SitePaths, run: Run, passphrase: bytes
) -> None:
    before = old.policy.read_bytes()
    text = before.replace(b"\nversion = 2\n", b"\nversion = 3\n")
    old.policy.with_name(".policy.toml.new").write_bytes(text)
    old.policy_signature.write_bytes(sign_policy(text, open_authority(old, passphrase)))
    done = run("policy", "upgrade", old.root, "--yes")
    assert done.exit_code == 0, done.output
    assert policy_of(old).version == 4


# --------------------------------------------------------------------------- software first


class Running:
    """Custodians of a site that serve in this process, each where the directory says."""

    def __init__(self, paths: SitePaths, passphrase: bytes, *names: str) -> None:
        self._exit = ExitStack()
        self.custodians = {}
        for name in names:
            config = load(paths.custodian(name), CustodianConfig)
            made = Custodian(config, passphrase, cost=Cost(memory_kib=64))
            self._exit.callback(made.close)
            served = Served(make_app(made), config.http.port, config.tls)
            self._exit.callback(served.end)
            self.custodians[name] = made

    def stop(self) -> None:
        self._exit.close()


@pytest.fixture
def serve(
    tmp_path: Path,
    passphrase: bytes,
    make_plan: Callable[..., SitePlan],
    free_port: Callable[[], int],
) -> Iterator[Callable[..., tuple[SitePaths, Running]]]:
    """Makes a site of which some custodians run."""
    running: list[Running] = []

    def made(*names: str) -> tuple[SitePaths, Running]:
        custodians = [{"name": name, "port": free_port()} for name in ("c1", "c2", "c3")]
        paths = create_site(make_plan(custodians=custodians), tmp_path / "live", passphrase)
        changes.change_policy(
            paths.root, policy_text("demo", PolicyPlan(), schema=1, version=2), passphrase
        )
        running.append(Running(paths, passphrase, *names))
        return paths, running[-1]

    yield made
    for one in running:
        one.stop()


@pytest.mark.slow
def test_custodians_are_asked_which_policy_they_hold_until_all_have_the_new_one(
    serve: Callable[..., tuple[SitePaths, Running]], run: Run
) -> None:
    paths, running = serve("c1", "c2")
    done = run("policy", "upgrade", paths.root, "--yes")
    assert done.exit_code == 0, done.output
    assert "nobody knows which software c3 runs" in done.stderr
    for line in ("✗ c1: has version 2; copy policy.toml and policy.toml.sig to it and reload it",
                 "✗ c2: has version 2;", "? c3: https://localhost"):  # fmt: skip
        assert line in done.stdout
    running.custodians["c1"].reload()  # its folder here has the new one
    again = run("policy", "upgrade", paths.root)
    assert "✓ c1: has it" in again.stdout
    assert "✗ c2: has version 2" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["upgrade", "sign"])
def test_no_policy_is_signed_that_a_custodian_says_it_could_not_read(
    serve: Callable[..., tuple[SitePaths, Running]],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    paths, _ = serve("c1")
    monkeypatch.setattr(custodian.custodian, "SCHEMA", 1)  # what older software has there
    (tmp_path / "p.toml").write_bytes(policy_text("demo", PolicyPlan(), schema=2, version=3))
    file = ["p.toml"] if command == "sign" else []
    refused = run("policy", command, paths.root, *file, "--yes")
    assert refused.exit_code == 1
    assert "c1: the software there reads no policy of schema 2" in refused.stderr
    assert policy_of(paths).version == 2
    forced = run("policy", command, paths.root, *file, "--yes", "--force")
    assert forced.exit_code == 0, forced.output
    assert policy_of(paths).schema == 2


def test_a_policy_of_the_first_schema_asks_nobody(old: SitePaths, run: Run, tmp_path: Path) -> None:
    text = policy_text("demo", PolicyPlan(max_cameras=7), schema=1, version=3)
    (tmp_path / "p.toml").write_bytes(text)
    done = run("policy", old.root, "p.toml")
    assert done.exit_code == 0, done.output
    assert "nobody knows which software" not in done.stderr
