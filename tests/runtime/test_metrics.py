"""Metrics are told on this machine alone, and whoever reads them holds nobody up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from serving import Serving
from structlog.testing import capture_logs
from waiting import wait_for

from demo.ports import free_port
from runtime.lifecycle import Stop
from runtime.metrics import Family, Figures, Metrics, Source, Subject
from runtime.metrics_config import MetricsConfig

FAMILIES = (
    Family("sealtrace_test_things", "Things.", ("kind",)),
    Family("sealtrace_test_seen_total", "Seen."),
)


def make(port: int = 9464, **sources: Source) -> Metrics:
    config = MetricsConfig(listen=f"127.0.0.1:{port}")
    return Metrics(config, Subject("witness"), families=FAMILIES, sources=sources)


def put_things(figures: Figures) -> None:
    figures.put("sealtrace_test_things", 3, "round")
    figures.put("sealtrace_test_seen_total", 7)


def fail(_figures: Figures) -> None:
    raise RuntimeError("nobody foresaw it")


@contextmanager
def told(metrics: Metrics, port: int) -> Iterator[str]:
    stop = Stop()
    thread = threading.Thread(target=metrics.run, args=(stop,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        wait_for(lambda: answers(url), "metrics")
        yield url
    finally:
        stop.set("test over")
        thread.join(30)
        assert not thread.is_alive()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_figures_are_told_in_prometheus_form_with_what_every_process_tells() -> None:
    text = make(things=put_things).text().decode()
    assert 'sealtrace_test_things{kind="round"} 3.0' in text
    assert "# TYPE sealtrace_test_seen counter" in text or "sealtrace_test_seen_total 7.0" in text
    assert 'sealtrace_build_info{role="witness"' in text
    assert "process_resident_memory_bytes" in text
    assert 'sealtrace_source_failed{source="things"} 0.0' in text


def test_a_part_that_fails_leaves_out_itself_alone_and_is_named() -> None:
    metrics = make(broken=fail, things=put_things)
    with capture_logs() as logged:
        text = metrics.text().decode()
    assert 'sealtrace_source_failed{source="broken"} 1.0' in text
    assert "sealtrace_test_seen_total 7.0" in text
    assert [one["source"] for one in logged if one["event"] == "metrics_incomplete"] == ["broken"]


def test_what_nobody_declared_cannot_be_told() -> None:
    with pytest.raises(KeyError):
        Figures(FAMILIES).put("sealtrace_patients", 1)


def test_who_asks_again_within_a_second_makes_nobody_count_again() -> None:
    counted: list[Figures] = []
    metrics = make(things=counted.append)
    assert metrics.text() == metrics.text()
    assert len(counted) == 1


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "10.1.0.7:9464", "9464", "hq:9464", "[::]:1"])
def test_no_address_but_of_loopback_is_taken(listen: str) -> None:
    with pytest.raises(ValueError, match="address"):
        MetricsConfig(listen=listen)


@pytest.mark.parametrize("listen", ["", "127.0.0.1:9464", "127.0.0.2:1", "[::1]:9464"])
def test_addresses_of_loopback_are_taken(listen: str) -> None:
    assert MetricsConfig(listen=listen).listen == listen


@pytest.mark.slow
def test_only_the_one_path_is_there_and_only_for_who_asks_for_this_machine() -> None:
    port = free_port()
    with told(make(port, things=put_things), port) as url:
        answer = httpx.get(url, trust_env=False)
        assert "sealtrace_test_seen_total 7.0" in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
        assert httpx.get(url.replace("metrics", "v1/status"), trust_env=False).status_code == 404
        assert httpx.post(url, trust_env=False).status_code == 405
        rebound = httpx.get(url, headers={"host": "attacker.example"}, trust_env=False)
        assert (rebound.status_code, "sealtrace" in rebound.text) == (403, False)
        assert httpx.get(url, headers={"host": "localhost:1"}, trust_env=False).status_code == 200


def test_readers_who_say_nothing_keep_nobody_out() -> None:
    port = free_port()
    with told(make(port, things=put_things), port) as url:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        try:
            wait_for(lambda: answers(url), "an answer beside silent readers")
        finally:
            for one in silent:
                one.close()


def test_a_port_that_is_taken_ends_nothing_and_is_said() -> None:
    stop = Stop()
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as logged:
        port = int(taken.getsockname()[1])
        thread = threading.Thread(target=make(port).run, args=(stop,))
        thread.start()
        wait_for(lambda: any(one["event"] == "metrics_not_served" for one in logged), "the log")
        assert thread.is_alive()
        stop.set("test over")
        thread.join(30)
        assert not thread.is_alive()


def test_answers_are_counted_by_the_patterns_of_routes_never_by_their_values() -> None:
    app = FastAPI()

    @app.get("/v1/queries/{digest}")
    def query(digest: str) -> str:
        return digest

    metrics = make()
    with Serving(metrics.counted(app), None) as served:
        for path in ("/v1/queries/cafe", "/v1/queries/beef", "/v1/elsewhere"):
            httpx.get(served.url + path, trust_env=False)
    text = metrics.text().decode()
    assert 'sealtrace_http_answers_total{route="/v1/queries/{digest}",status="200"} 2.0' in text
    assert 'sealtrace_http_answers_total{route="other",status="404"} 1.0' in text
    assert "cafe" not in text


def test_a_slow_part_holds_up_no_request(tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(_figures: Figures) -> None:
        asked.set()
        assert go_on.wait(30)

    app = FastAPI()

    @app.get("/well")
    def well() -> bool:
        return True

    metrics = make(slow=slow)
    reader = threading.Thread(target=metrics.text)
    reader.start()
    assert asked.wait(30)
    with Serving(metrics.counted(app), None) as served:
        for _ in range(2):  # the second comes in after the first was counted
            assert httpx.get(served.url + "/well", trust_env=False).json() is True
        go_on.set()
    reader.join(30)
