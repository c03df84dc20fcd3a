"""Monitoring is told of headquarters in counts: no query, subject or place, boxes on request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from aggregator.config import AggregatorConfig
from aggregator.ingest.messages import Batch
from aggregator.metrics import FAMILIES
from aggregator.processes.duties import Duty
from aggregator.service import Aggregator
from aggregator.store.rows import BoxRow
from demo.local_site import PASSPHRASE, plan_of
from protocol.telemetry import ONLINE
from provisioning.authority import create_site
from runtime.clock import system_ms
from runtime.config import load
from runtime.keyfiles import read_secret
from runtime.lifecycle import Stop
from runtime.metrics import COMMON
from runtime.metrics_config import AggregatorMetricsConfig

CAMERAS = {f"cam-{n}": {"source": "rtsp://camera.example/1"} for n in (1, 2, 3)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[AggregatorConfig, bytes]:
    made = tmp_path_factory.mktemp("made") / "site"
    paths = create_site(plan_of(CAMERAS, bundle=None), made, PASSPHRASE.encode())
    config = load(paths.aggregator, AggregatorConfig)
    return config, read_secret(config.identity, PASSPHRASE.encode(), "identity")


@pytest.fixture
def config(installed: tuple[AggregatorConfig, bytes], tmp_path: Path) -> AggregatorConfig:
    metrics = AggregatorMetricsConfig(listen="127.0.0.1:9464")
    return installed[0].model_copy(update={"state_dir": tmp_path / "state", "metrics": metrics})


@pytest.fixture
def headquarters(
    config: AggregatorConfig, installed: tuple[AggregatorConfig, bytes]
) -> Iterator[Aggregator]:
    with closing(Aggregator(config, installed[1])) as aggregator:
        yield aggregator


def figures(aggregator: Aggregator) -> dict[str, float]:
    duties = aggregator.duties_of(Stop())
    duties.came.add(Batch(stored=5, rejected=2))
    text = aggregator.metrics(duties).text().decode()
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def heard(aggregator: Aggregator, box: str, *, ago_ms: int, **of: float) -> None:
    seen_ms = system_ms() - ago_ms
    with aggregator.store.writing() as unit:
        told = {name.replace("__", "."): value for name, value in of.items()}
        unit.ledger.put_box(BoxRow(box, seen_ms, ONLINE, "1", seen_ms, seen_ms, 0, figures=told))


def names(told: dict[str, float]) -> set[str]:
    return {re.split(r"[{ ]", key)[0] for key in told}


def test_everything_that_is_told_is_declared_and_all_of_the_store_is_told(
    headquarters: Aggregator,
) -> None:
    told = figures(headquarters)
    declared = {one.name for one in (*COMMON, *FAMILIES)}
    ours = {name for name in names(told) if name.startswith("sealtrace_")}
    assert ours <= declared
    assert not {key for key in told if "source_failed" in key and told[key]}
    assert told['sealtrace_aggregator_messages_total{outcome="stored"}'] == 5
    assert told['sealtrace_aggregator_queries{state="running"}'] == 0
    assert told["sealtrace_policy_version"] == 1


def test_boxes_are_counted_by_how_they_are_and_named_nowhere(headquarters: Aggregator) -> None:
    heard(headquarters, "box-1", ago_ms=1_000, outbox__queued=4)
    heard(headquarters, "box-2", ago_ms=600_000)
    told = figures(headquarters)
    assert told['sealtrace_aggregator_boxes{state="online"}'] == 1
    assert told['sealtrace_aggregator_boxes{state="silent"}'] == 1
    assert told['sealtrace_aggregator_boxes{state="never"}'] == 1
    assert not [key for key in told if "box-1" in key or "cam-1" in key]


def test_boxes_are_named_on_request_with_what_they_told_the_broker(
    config: AggregatorConfig, installed: tuple[AggregatorConfig, bytes]
) -> None:
    asked = AggregatorMetricsConfig(listen="127.0.0.1:9464", boxes=True)
    with closing(Aggregator(config.model_copy(update={"metrics": asked}), installed[1])) as one:
        heard(one, "box-1", ago_ms=0, outbox__queued=4, trouble__view__cam_1=2)
        told = figures(one)
    assert told['sealtrace_box_queued{box="box-1"}'] == 4
    assert told['sealtrace_box_troubles{box="box-1"}'] == 1
    assert not [key for key in told if "cam-1" in key]


def test_of_several_processes_one_alone_tells_of_the_store(
    config: AggregatorConfig, installed: tuple[AggregatorConfig, bytes]
) -> None:
    alone = config.processes.model_copy(update={"duties": (Duty.INGEST,)})
    one_of = config.model_copy(update={"processes": alone})
    with closing(Aggregator(one_of, installed[1])) as aggregator:
        told = figures(aggregator)
    assert told['sealtrace_aggregator_messages_total{outcome="rejected"}'] == 2
    assert "sealtrace_aggregator_partitions" in told
    assert not [key for key in told if key.startswith("sealtrace_aggregator_boxes")]
