"""A role that serves ends as a whole: told to, by a dead thread, by a port that is taken."""

from __future__ import annotations

import socket

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from demo.ports import free_port
from runtime.config import HttpConfig
from runtime.errors import OperationError
from runtime.http import HttpError, client
from runtime.lifecycle import EXIT_THREAD_DIED, Stop
from runtime.metrics import Metrics, Subject
from runtime.metrics_config import MetricsConfig
from runtime.serving import Interface, Work, serve_until_stopped

DEADLINE_S = 60.0


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/well")
    def well() -> bool:
        return True

    return app


def run(stop: Stop, port: int = 0, metrics: Metrics | None = None, **threads: Work) -> int:
    return serve_until_stopped(
        Interface(make_app(), HttpConfig(port=port), None),
        site="demo",
        name="witness",
        what="witness of site demo",
        threads=threads,
        databases=[],
        on_reload=lambda: None,
        stop=stop,
        metrics=metrics,
    )


def test_threads_work_beside_the_interface_until_the_stop() -> None:
    stop, port, seen = Stop(), free_port(), []

    def ask(stop: Stop) -> None:
        with client(f"http://127.0.0.1:{port}", None, DEADLINE_S) as http:
            while not stop.wait(0.01):
                try:
                    seen.append(http.get("/well").json())
                except OperationError:
                    continue  # it does not listen yet
                stop.set("seen")

    with capture_logs() as logged:
        assert run(stop, port, ask=ask) == 0
    assert seen == [True]
    events = {entry["event"]: entry for entry in logged}
    assert (events["ready"]["port"], events["ready"]["name"]) == (port, "witness")
    assert events["stopped"]["reason"] == "seen"


def test_a_thread_that_dies_ends_the_service_with_its_exit_code() -> None:
    def die(_stop: Stop) -> None:
        raise RuntimeError("nobody foresaw it")

    stop = Stop()
    assert run(stop, die=die) == EXIT_THREAD_DIED
    assert stop.reason == "thread die crashed: RuntimeError"


@pytest.mark.slow
def test_a_port_that_is_taken_is_an_error_for_people_and_ends_the_threads() -> None:
    ended = []

    def work(stop: Stop) -> None:
        stop.wait(DEADLINE_S)
        ended.append(True)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(HttpError, match=f"cannot listen on 127.0.0.1:{port}"):
            run(Stop(), port, work=work)
    assert ended


def test_a_service_that_is_asked_to_tells_monitoring_what_it_answered() -> None:
    stop, port, told, seen = Stop(), free_port(), free_port(), []
    config = MetricsConfig(listen=f"127.0.0.1:{told}")
    counted = 'sealtrace_http_answers_total{route="/well",status="200"}'

    def ask(stop: Stop) -> None:
        with (
            client(f"http://127.0.0.1:{port}", None, DEADLINE_S) as http,
            client(f"http://127.0.0.1:{told}", None, DEADLINE_S) as monitor,
        ):
            while not stop.wait(0.01):
                try:
                    http.get("/well")
                    seen.append(monitor.get("/metrics").text)
                except OperationError:
                    continue  # it does not listen yet
                if counted in seen[-1] or len(seen) == 100:  # an answer counts once it has left
                    stop.set("seen")

    assert run(stop, port, metrics=Metrics(config, Subject("witness")), ask=ask) == 0
    assert counted in seen[-1]
