"""A port that a site is made with is still free when its process begins to listen there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo import ports
from demo.ports import FIRST, LAST, NoPortFree, free_port, free_ports

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.fixture
def two_ports(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """There are no others in the world."""
    first, second = free_ports(2)
    while second != first + 1:
        first, second = second, free_port()
    monkeypatch.setattr(ports, "FIRST", first)
    monkeypatch.setattr(ports, "LAST", second)
    return first, second


def held_anew(folder: Path) -> ports._Held:
    return ports._Held(folder)


def test_the_system_gives_none_of_them_to_a_connection() -> None:
    begins, _ = (int(word) for word in _RANGE.read_text().split())
    assert FIRST < LAST < begins
    assert all(FIRST <= port <= LAST for port in free_ports(20))


def test_no_port_is_given_twice(two_ports: tuple[int, int], tmp_path: Path) -> None:
    held = held_anew(tmp_path)
    assert {held.take(), held.take()} == set(two_ports)
    with pytest.raises(NoPortFree, match=f"from {two_ports[0]} to {two_ports[1]} is free"):
        held.take()


def test_one_that_somebody_listens_on_is_not_given(
    two_ports: tuple[int, int], tmp_path: Path
) -> None:
    first, second = two_ports
    with socket.create_server(("127.0.0.1", first)):
        assert held_anew(tmp_path).take() == second


@pytest.mark.processes
def test_one_that_another_process_holds_is_not_given_until_it_ends(
    two_ports: tuple[int, int], tmp_path: Path
) -> None:
    first, second = two_ports
    other = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; from pathlib import Path; from demo import ports\n"
            f"ports.FIRST, ports.LAST = {first}, {first}\n"
            "print(ports._Held(Path(sys.argv[1])).take(), flush=True); sys.stdin.read()",
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert int(other.stdout.readline()) == first
    held = held_anew(tmp_path)
    assert held.take() == second
    with pytest.raises(NoPortFree):
        held.take()
    other.communicate(timeout=30)
    assert first in {(again := held_anew(tmp_path)).take(), again.take()}


def test_a_file_that_another_user_left_there_is_not_used(tmp_path: Path) -> None:
    (tmp_path / f"sealtrace-ports-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NoPortFree, match="by which ports are held"):
        held_anew(tmp_path)
    (tmp_path / f"sealtrace-ports-{os.getuid()}").unlink()
    os.mkfifo(tmp_path / f"sealtrace-ports-{os.getuid()}")
    with pytest.raises(NoPortFree, match="not a file of yours"):
        held_anew(tmp_path)
