"""A process stops when asked, notices its crashed threads, and talks to systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.lifecycle import (
    EXIT_THREAD_DIED,
    Stop,
    Systemd,
    Threads,
    signals,
    wait_until_stopped,
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_and_the_old_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stop = Stop()
    with signals(stop):
        os.kill(os.getpid(), number)
        assert stop.wait(60)
    assert stop.reason == number.name
    assert stop.exit_code == 0
    assert signal.getsignal(number) is before


def test_sighup_reloads_in_another_thread_and_survives_a_failing_reload() -> None:
    stop = Stop()
    calls: list[str] = []
    again = threading.Event()

    def reload() -> None:
        calls.append(threading.current_thread().name)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGHUP)
            raise RuntimeError("bad config")
        again.set()

    with signals(stop, on_reload=reload):
        os.kill(os.getpid(), signal.SIGHUP)
        assert again.wait(60)
    assert calls == ["signals", "signals"]
    assert not stop.is_set()


@pytest.mark.processes
def test_a_second_interrupt_ends_the_process_at_once() -> None:
    program = (
        "import os, signal, threading\n"
        "from runtime.lifecycle import Stop, signals\n"
        "stop = Stop()\n"
        "with signals(stop):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    stop.wait()\n"
        "    print('stopping', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    threading.Event().wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 130
    assert b"stopping" in done.stdout


def test_a_crashed_thread_stops_the_process_with_failure() -> None:
    stop = Stop()
    threads = Threads(stop)

    def crash() -> None:
        raise ValueError("lost the plot")

    def wait() -> None:
        stop.wait()

    threads.start("waiter", wait)
    threads.start("crasher", crash)
    assert stop.wait(60)
    threads.join(60)
    assert threads.alive() == []
    assert stop.exit_code == 1
    assert "crasher" in stop.reason


def test_a_thread_that_does_not_stop_is_a_failure() -> None:
    stop = Stop()
    threads = Threads(stop)
    release = threading.Event()

    def wait() -> None:
        release.wait()

    threads.start("stubborn", wait)
    stop.set("enough")
    threads.join(0.01)
    assert threads.alive() == ["stubborn"]
    assert stop.exit_code == 1
    assert stop.reason == "enough"
    release.set()
    threads.join(60)


def test_systemd_hears_ready_watchdog_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        stop = Stop()
        thread = threading.Thread(target=wait_until_stopped, args=(stop,), kwargs={"ready": "up"})
        thread.start()
        assert listener.recv(100) == b"READY=1\nSTATUS=up"
        assert listener.recv(100) == b"WATCHDOG=1"
        stop.set("done")
        thread.join(60)
        received = [listener.recv(100)]
        while received[-1] != b"STOPPING=1":
            received.append(listener.recv(100))


def test_an_abstract_socket_works_and_an_unhealthy_service_stays_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"sealtrace-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        monkeypatch.setenv("WATCHDOG_USEC", "3000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        stop = Stop()
        asked: list[None] = []

        def unhealthy() -> bool:
            asked.append(None)
            if len(asked) == 3:
                stop.set("seen enough")
            return False

        wait_until_stopped(stop, healthy=unhealthy)
        assert [listener.recv(100), listener.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_without_systemd_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "3000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    systemd = Systemd()
    systemd.ready()
    assert systemd.watchdog_s is None
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody-listens"))
    Systemd().ready()


def test_a_thread_that_ends_before_its_time_is_a_dead_thread() -> None:
    stop = Stop()
    threads = Threads(stop)
    threads.start("recording", lambda: None, may_end=True)
    threads.join(60)
    assert not stop.is_set()
    threads.start("quitter", lambda: None)
    assert stop.wait(60)
    threads.join(60)
    assert stop.exit_code == EXIT_THREAD_DIED
    assert "quitter" in stop.reason


def test_a_thread_of_a_library_that_dies_stops_the_process_too() -> None:
    stop = Stop()
    before = threading.excepthook
    with signals(stop):
        thread = threading.Thread(target=lambda: int("no number"), name="from-a-library")
        thread.start()
        assert stop.wait(60)
        thread.join(60)
    assert stop.exit_code == EXIT_THREAD_DIED
    assert "from-a-library" in stop.reason
    assert threading.excepthook is before
