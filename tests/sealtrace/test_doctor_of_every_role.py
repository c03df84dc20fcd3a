"""`sealtrace doctor` on each machine of a site: what is well, what is not, and no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from custodian_site import CHEAP
from serving import Serving
from site_v1 import SiteV1
from typer.testing import CliRunner, Result

from custodian.api import make_app
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from custodian.doctor import examine as examine_custodian
from demo.local_site import PASSPHRASE
from protocol.directory import open_directory
from protocol.policy import sign_policy
from protocol.signing import SigningKey
from provisioning.formats.layout import SitePaths
from runtime.config import load
from runtime.doctor import Findings, Level
from runtime.keyfiles import read_secret
from sealtrace.doctor_cli import app

RUNNER = CliRunner()


def doctor(*arguments: object) -> Result:
    return RUNNER.invoke(app, [*map(str, arguments)])


def examined(*arguments: object) -> dict[str, dict[str, str]]:
    """Return what is found of one configuration, the worst of each subject, and the rest."""
    answer = doctor(*arguments, "--json")
    (report,) = json.loads(answer.stdout)
    assert answer.exit_code == report["exit_code"]
    order = [level.value for level in Level]
    found: dict[str, dict[str, str]] = {}
    for one in report["findings"]:
        known = found.get(one["about"])
        if known is None or order.index(one["level"]) >= order.index(known["level"]):
            found[one["about"]] = one
    return found


def configurations(site: SitePaths) -> list[Path]:
    return [
        site.custodian("c1"),
        site.aggregator,
        site.registrar,
        site.box("box-1"),
        site.officer("ana"),
        site.plan,
    ]


def test_every_role_is_looked_at_and_the_others_are_not_asked(site: SitePaths) -> None:
    for path in configurations(site):
        found = examined(path, "--offline")
        assert found["version"]["level"] == "well", path
        assert found["directory"]["level"] == "well", path
        assert found["keys"]["level"] == "well", path
        assert not {"service", "broker", "c2", "aggregator", "camera cam-1"} & found.keys(), path


def test_nothing_is_written_into_any_folder(site: SitePaths) -> None:
    def contents() -> dict[Path, bytes]:
        return {one: one.read_bytes() for one in site.root.rglob("*") if one.is_file()}

    before = contents()
    doctor(*configurations(site), "--offline")
    assert contents() == before


def test_no_password_and_no_key_is_shown_whatever_is_wrong(site: SitePaths) -> None:
    for form in ([], ["--json"]):
        answer = doctor(site.box("box-1"), *form)
        assert "rtsp://***@127.0.0.1:9/1" in answer.output
        assert "geheim" not in answer.output
        assert site.box("box-1").with_name("identity.key").read_text()[-20:] not in answer.output


@pytest.mark.parametrize(
    "source",
    [
        '"rtsp://admin:geheim@"',
        '"rtps://admin:geheim@h/1"',
        '"rtsp://admin:ge/heim@h/1"',
        '["rtsp://admin:geheim@h/1"]',
        '{at = "rtsp://admin:geheim@h/1"}',
    ],
)
def test_a_camera_that_is_written_wrongly_shows_no_password(site: SitePaths, source: str) -> None:
    path = site.box("box-1")
    path.write_text(re.sub(r"(?m)^source = .*$", f"source = {source}", path.read_text()))
    answer = doctor(path, "--offline")
    assert (answer.exit_code, "cameras.0.source" in answer.output) == (2, True)
    assert "heim" not in answer.output


def test_what_is_not_well_alone_is_printed_on_request(site: SitePaths) -> None:
    answer = doctor(site.custodian("c1"), "--offline", "--quiet")
    assert "well " not in answer.output
    assert "next: " in answer.output


def test_exit_codes_are_monitorings(site: SitePaths) -> None:
    assert doctor(site.custodian("c1"), "--offline").exit_code == 1  # it has never run
    site.custodian("c1").with_name("policy.toml").write_text("altered = true\n")
    assert doctor(site.custodian("c1"), "--offline").exit_code == 2
    both = doctor(site.custodian("c1"), site.custodian("c2"), "--offline", "--json")
    assert [one["exit_code"] for one in json.loads(both.stdout)] == [2, 1]
    assert both.exit_code == 2
    missing = doctor(site.root / "no.toml")
    assert (missing.exit_code, "does not exist" in missing.output) == (2, True)


def test_a_configuration_that_cannot_be_read_is_wrong_and_the_machine_is_told_all_the_same(
    site: SitePaths,
) -> None:
    path = site.custodian("c1")
    path.write_text(path.read_text() + "\nnonsense = 1\n")
    found = examined(path, "--offline")
    assert found["configuration"]["level"] == "wrong"
    assert "nonsense" in found["configuration"]["what"]
    assert found["version"]["level"] == "well"


def test_keys_that_others_may_read_are_found_on_every_machine(site: SitePaths) -> None:
    for path in configurations(site):
        secret = next(
            one
            for one in (
                path.with_name("identity.secret"),
                path.with_name("identity.key"),
                site.authority_secret,
            )
            if one.exists()
        )
        secret.chmod(0o644)
        found = examined(path, "--offline")
        assert (found["keys"]["level"], "chmod 600" in found["keys"]["next"]) == ("wrong", True)


def test_a_directory_of_another_authority_is_wrong(site: SitePaths) -> None:
    path = site.custodian("c1")
    authority = load(path, CustodianConfig).authority
    path.write_text(
        path.read_text().replace(authority, SigningKey("x", b"x" * 32).verify_key.raw.hex())
    )
    found = examined(path, "--offline")
    assert found["directory"]["level"] == "wrong"
    assert found["policy"]["level"] == "wrong"


def test_a_site_that_version_1_left_is_looked_at_before_anything_is_brought_up_to_date(
    tmp_path: Path,
) -> None:
    paths = SiteV1.unpack(tmp_path).paths
    for state in paths.root.rglob("state"):
        state.chmod(0o700)  # unpacking gives folders no mode of their own
    for path in (paths.custodian("c1"), paths.aggregator, paths.registrar):
        found = examined(path, "--offline")
        wrong = {about: one["what"] for about, one in found.items() if one["level"] == "wrong"}
        assert wrong == {}, path
    ledger = examined(paths.aggregator, "--offline")["aggregator.db"]
    assert "brought up to date at the next start" in ledger["what"]
    spoilt = paths.aggregator.with_name("state") / "aggregator.db"
    for beside in ("-wal", "-shm"):  # what is there could stand for all of the file
        spoilt.with_name(f"{spoilt.name}{beside}").unlink(missing_ok=True)
    spoilt.write_bytes(b"no database at all" * 500)
    found = examined(paths.aggregator, "--offline")
    assert found["aggregator.db"]["level"] == "wrong"
    assert found["directory"]["level"] == "well", "the rest is looked at"


# ---------------------------------------------------------------------- beside what runs


@contextmanager
def running(site: SitePaths, name: str = "c1") -> Iterator[Custodian]:
    config = load(site.custodian(name), CustodianConfig)
    with (
        closing(Custodian(config, PASSPHRASE.encode(), cost=CHEAP)) as custodian,
        Serving(make_app(custodian), config.tls, port=config.http.port),
    ):
        yield custodian


def look(site: SitePaths) -> dict[str, Level]:
    found = Findings()
    examine_custodian(site.custodian("c1"), found)
    worst: dict[str, Level] = {}
    for one in found.found:
        worst[one.about] = max(worst.get(one.about, Level.WELL), one.level, key=list(Level).index)
    return worst


def test_a_running_custodian_is_asked_and_who_does_not_answer_is_a_warning(
    site: SitePaths,
) -> None:
    with running(site):
        found = look(site)
    assert found["service"] is Level.WELL
    assert found["day keys"] is Level.WELL
    assert found["clock"] is Level.WELL
    assert found["custodian.db"] is Level.WELL
    assert found["c2"] is Level.WARNING
    assert look(site)["service"] is Level.WRONG


def test_a_directory_that_is_newer_elsewhere_is_wrong(site: SitePaths) -> None:
    key = read_secret(site.authority_secret, PASSPHRASE.encode(), "identity")
    authority = SigningKey("authority", key)
    directory = open_directory(site.directory.read_bytes(), authority.verify_key, site="demo")
    newer = directory.revoke("bo", at_ms=directory.issued_at_ms + 1)
    signed = newer.sign(authority, newer.form).to_bytes()
    with running(site, "c2") as other:
        assert other.accept_directory(signed)
        assert look(site)["directory"] is Level.WRONG


def test_another_policy_elsewhere_is_wrong(site: SitePaths) -> None:
    key = read_secret(site.authority_secret, PASSPHRASE.encode(), "identity")
    with running(site, "c2"):
        assert look(site)["policy"] is Level.WELL
        found = Findings()
        config = load(site.custodian("c1"), CustodianConfig)
        text = config.policy.read_bytes() + b"\n# another\n"
        config.policy.write_bytes(text)
        config.policy_signature.write_bytes(sign_policy(text, SigningKey("authority", key)))
        examine_custodian(site.custodian("c1"), found)
        told = [one for one in found.found if one.about == "policy" and one.level is Level.WRONG]
        assert "another elsewhere" in told[0].what
