"""The office certifies the machines that match under a CA of their own, once, and renews it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from typer.testing import CliRunner

from aggregator.cluster.config import SchedulerConfig, WorkerConfig
from aggregator.cluster.identities import Identity
from aggregator.config import AggregatorConfig
from protocol.errors import MalformedMessage
from provisioning.authority import SiteError, SitePaths, open_site
from provisioning.authority.cluster import ClusterPlan, make_cluster, plan_cluster
from provisioning.authority.inspect import inspect_site
from provisioning.authority.office import read_certificate
from provisioning.authority.site_cli import app
from runtime.config import load
from runtime.keyfiles import WrongPassphrase

ADDRESS = "127.0.0.1:8786"
pytestmark = pytest.mark.usefixtures("cheap_secrets")


def planned(site: SitePaths, *workers: str, **options: object) -> ClusterPlan:
    return plan_cluster(
        open_site(site.root),
        workers,
        address=ADDRESS,
        within_days=7,
        **options,  # type: ignore[arg-type]
    )


def made(site: SitePaths, passphrase: bytes, *workers: str) -> None:
    make_cluster(site.root, planned(site, *workers), passphrase)


def test_everybody_gets_a_certificate_that_names_their_duty_and_a_configuration(
    site: SitePaths, passphrase: bytes
) -> None:
    made(site, passphrase, "rack-1", "rack-2")
    aggregator = load(site.aggregator, AggregatorConfig)
    assert aggregator.cluster.scheduler == ADDRESS
    assert aggregator.cluster.tls is not None
    scheduler = load(site.cluster / "scheduler/scheduler.toml", SchedulerConfig)
    worker = load(site.cluster / "rack-2/match-worker.toml", WorkerConfig)
    members = [Identity(tls).member for tls in (aggregator.cluster.tls, scheduler.tls, worker.tls)]
    assert [(one.name, one.duty) for one in members] == [
        ("aggregator", "aggregator"), ("scheduler", "scheduler"), ("rack-2", "match-worker"),
    ]  # fmt: skip
    assert (scheduler.host, scheduler.port, worker.scheduler) == ("127.0.0.1", 8786, ADDRESS)
    key = site.cluster / "rack-1/tls/private-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600


def test_its_ca_and_the_sites_know_nothing_of_each_other(
    site: SitePaths, passphrase: bytes
) -> None:
    made(site, passphrase, "rack-1")
    cluster = read_certificate(site.cluster_certificate)
    for path in (site.root_certificate, site.issuing_certificate):
        with pytest.raises((InvalidSignature, ValueError)):
            cluster.verify_directly_issued_by(read_certificate(path))
    leaf = read_certificate(site.box("box-1").parent / "tls/certificate.pem")
    with pytest.raises((InvalidSignature, ValueError)):
        leaf.verify_directly_issued_by(cluster)
    constraints = cluster.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.path_length == 0
    listed = (site.cluster / "rack-1/tls/ca.pem").read_bytes()
    assert len(x509.load_pem_x509_certificates(listed)) == 1
    assert b"PRIVATE KEY" not in site.cluster_key.read_bytes()


def test_a_second_run_changes_nothing_and_a_new_machine_gets_its_own_alone(
    site: SitePaths, passphrase: bytes
) -> None:
    made(site, passphrase, "rack-1")
    before = (site.cluster / "rack-1/tls/certificate.pem").read_bytes()
    assert planned(site).needs == ()
    assert [need.name for need in planned(site, "rack-1", "rack-2").needs] == ["rack-2"]
    made(site, passphrase, "rack-2")
    assert (site.cluster / "rack-1/tls/certificate.pem").read_bytes() == before
    assert planned(site, "rack-2").needs == ()


@pytest.mark.slow
def test_what_runs_out_is_said_and_renewed_where_the_folders_went_away_too(
    site: SitePaths, passphrase: bytes
) -> None:
    made(site, passphrase, "rack-1")
    days = open_site(site.root).plan.certificates.service_days
    later = datetime.now(UTC) + timedelta(days=days - 3)
    problems = inspect_site(open_site(site.root), now=later).problems
    assert any("certificates of the cluster" in problem for problem in problems)
    assert not any(
        "of the cluster" in problem for problem in inspect_site(open_site(site.root)).problems
    )
    (site.cluster / "rack-1").rename(site.root.parent / "carried-away")
    plan = planned(site, now=later)
    assert [need.name for need in plan.needs] == ["aggregator", "scheduler", "rack-1"]
    assert not plan.founds
    make_cluster(site.root, plan, passphrase, now=later)
    assert planned(site, now=later).needs == ()


@pytest.mark.slow
def test_anew_makes_another_ca_and_certifies_everybody_even_after_an_interruption(
    site: SitePaths, passphrase: bytes
) -> None:
    made(site, passphrase, "rack-1")
    old = read_certificate(site.cluster_certificate)
    plan = planned(site, anew=True)
    assert plan.founds
    make_cluster(site.root, ClusterPlan(True, plan.needs[:1], ADDRESS), passphrase)  # stopped
    assert [need.name for need in planned(site).needs] == ["scheduler", "rack-1"]
    made(site, passphrase)
    new = read_certificate(site.cluster_certificate)
    assert new.public_key() != old.public_key()
    read_certificate(site.cluster / "rack-1/tls/certificate.pem").verify_directly_issued_by(new)


def test_what_stands_in_the_aggregators_configuration_stays(
    site: SitePaths, passphrase: bytes
) -> None:
    text = site.aggregator.read_text() + '\n[cluster] # ours\nscheduler = ""\n'
    site.aggregator.write_text(text)
    made(site, passphrase, "rack-1")
    assert site.aggregator.read_text() == text


def test_nothing_is_made_without_an_address_a_name_or_the_passphrase(
    site: SitePaths,
) -> None:
    opened = open_site(site.root)
    for address in ("", "somewhere", "host:0", "host:http"):
        with pytest.raises(SiteError, match="--scheduler"):
            plan_cluster(opened, ["rack-1"], address=address, within_days=7)
    with pytest.raises(SiteError, match="choose another"):
        planned(site, "scheduler")
    with pytest.raises(MalformedMessage):
        planned(site, "../rack")
    with pytest.raises(WrongPassphrase):
        make_cluster(site.root, planned(site, "rack-1"), b"another")
    assert not site.cluster_certificate.exists()


def test_the_command_says_what_it_would_do_and_what_it_did(
    site: SitePaths, passphrase: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", passphrase.decode())
    runner = CliRunner()
    arguments = ["cluster", str(site.root), "--scheduler", ADDRESS, "--worker", "rack-1"]
    dry = runner.invoke(app, [*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "aggregator, scheduler, rack-1" in dry.output
    assert not site.cluster_certificate.exists()
    assert runner.invoke(app, arguments).exit_code == 0
    again = runner.invoke(app, arguments)
    assert "nothing was changed" in again.output
