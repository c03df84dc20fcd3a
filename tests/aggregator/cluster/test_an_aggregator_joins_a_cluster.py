"""An aggregator joins the cluster that its configuration names, and none otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from aggregator.cluster import joining
from aggregator.cluster.cli import app
from aggregator.cluster.config import SchedulerConfig, WorkerConfig
from aggregator.cluster.identities import AGGREGATOR, SCHEDULER, WORKER
from aggregator.cluster.joining import DaskMissing, workers_of
from aggregator.cluster.scheduler import SchedulerProcess
from aggregator.cluster.worker import WorkerProcess
from aggregator.cluster.workers import DaskWorkers
from aggregator.config import ClusterSection
from demo.match_cluster import ClusterCa
from runtime.config import ConfigError, TlsConfig, load


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ClusterCa:
    return ClusterCa(tmp_path_factory.mktemp("ca"))


def test_without_a_scheduler_there_is_no_cluster() -> None:
    assert workers_of(ClusterSection(), {}) is None


def test_a_scheduler_without_a_certificate_is_refused() -> None:
    with pytest.raises(ValidationError, match="sealtrace site cluster"):
        ClusterSection(scheduler="127.0.0.1:8786")


def test_the_certificate_of_another_part_of_the_cluster_is_refused(ca: ClusterCa) -> None:
    for duty in (SCHEDULER, WORKER):
        section = ClusterSection(scheduler="127.0.0.1:8786", tls=ca.issue(duty, duty))
        with pytest.raises(ConfigError, match="aggregator's certificate"):
            workers_of(section, {})


def test_with_one_it_is_joined_and_left_again(ca: ClusterCa) -> None:
    tls = ca.issue("aggregator", AGGREGATOR)
    workers = workers_of(ClusterSection(scheduler="127.0.0.1:1", tls=tls), {})
    assert isinstance(workers, DaskWorkers)
    assert workers.trouble() is not None
    workers.close()


def test_without_dask_it_is_said_what_to_install(
    ca: ClusterCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "find_spec", lambda _name: None)
    tls = ca.issue("aggregator", AGGREGATOR)
    with pytest.raises(DaskMissing, match=r"sealtrace\[cluster\]"):
        workers_of(ClusterSection(scheduler="127.0.0.1:1", tls=tls), {})


def _written(folder: Path, name: str, text: str, tls: TlsConfig) -> Path:
    path = folder / name
    path.write_text(
        f'{text}\n[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\n'
        f'private_key = "{tls.private_key}"\n'
    )
    return path


@pytest.mark.parametrize(
    ("command", "duty", "text"),
    [("scheduler", SCHEDULER, "port = 0"), ("match-worker", WORKER, 'scheduler = "127.0.0.1:1"')],
)
def test_the_commands_print_what_they_read_back_and_check_whose_certificate_it_is(
    ca: ClusterCa, tmp_path: Path, command: str, duty: str, text: str
) -> None:
    runner = CliRunner()
    printed = runner.invoke(app, [command, "--config", str(tmp_path / "x"), "--print-config"])
    assert printed.exit_code == 0
    config = tmp_path / "printed.toml"
    config.write_text(printed.output)
    load(config, SchedulerConfig if duty == SCHEDULER else WorkerConfig)
    wrong = _written(tmp_path, "wrong.toml", text, ca.issue("aggregator", AGGREGATOR))
    with pytest.raises(ConfigError, match="says aggregator; give"):
        if duty == SCHEDULER:
            SchedulerProcess(load(wrong, SchedulerConfig))
        else:
            WorkerProcess(load(wrong, WorkerConfig))
