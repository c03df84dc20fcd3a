"""A stolen cookie or start address opens the desk to no other account of the machine."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from officer_site import Served
from starlette.responses import PlainTextResponse

from demo.ports import free_port
from officers.pages.callers import NotTheOfficers, OwnAccount, check_account

NOBODY = 65534
ASK = (
    "import socket, sys\n"
    "with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as asking:\n"
    "    asking.sendall(b'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')\n"
    "    print(asking.recv(4096).split()[1].decode())\n"
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells nobody")


@contextmanager
def connected(family: int, host: str) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """Have a connection; yields where its client and its server are."""
    with (
        socket.create_server((host, 0), family=family) as listener,
        socket.create_connection(listener.getsockname()[:2]) as client,
    ):
        accepted, _ = listener.accept()
        with accepted:
            yield accepted.getpeername()[:2], accepted.getsockname()[:2]
            del client


def owned_by(uid: int, folder: Path, client: tuple[str, int], server: tuple[str, int]) -> Path:
    """Write the kernel's table with a connection of some account's."""
    ends = [f"0100007F:{port:04X}" for _, port in (client, server)]
    line = f"0: {ends[0]} {ends[1]} 01 00000000:00000000 00:00000000 00000000 {uid} 0 4711 1\n"
    (folder / "tcp").write_text(f"  sl  local_address rem_address ...\n{line}", "ascii")
    return folder


@linux
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_program_of_ones_own_is_let_in(family: int, host: str) -> None:
    try:
        with connected(family, host) as (client, server):
            check_account(client, server)
    except OSError:
        pytest.skip(f"no {host} here")


@linux
def test_a_program_of_another_account_is_refused(tmp_path: Path) -> None:
    client, server = ("127.0.0.1", 40000), ("127.0.0.1", 8765)
    check_account(client, server, owned_by(os.geteuid(), tmp_path, client, server))
    with pytest.raises(NotTheOfficers, match="account that started it"):
        check_account(client, server, owned_by(os.geteuid() + 1, tmp_path, client, server))


@linux
def test_who_has_hung_up_already_is_nobody() -> None:
    with connected(socket.AF_INET, "127.0.0.1") as (client, server):
        pass
    with pytest.raises(NotTheOfficers):
        check_account(client, server)


def plain_client(port: int) -> httpx.Client:
    """A client that looks for no certificates of the machine."""
    no_tls = httpx.HTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=no_tls)


@linux
def test_the_kernel_is_asked_once_a_connection(tmp_path: Path) -> None:
    port = free_port()
    table = tmp_path / "tcp"
    served = Served(OwnAccount(PlainTextResponse("the desk"), tmp_path), port, None)
    try:
        with plain_client(port) as browser:
            assert browser.get("/").status_code == 403
            table.symlink_to("/proc/net/tcp")
            assert browser.get("/").status_code == 200
            table.unlink()
            assert browser.get("/").status_code == 200
        with plain_client(port) as another:
            assert another.get("/").status_code == 403
    finally:
        served.end()


@linux
@pytest.mark.processes
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has processes of other accounts")
def test_another_account_really_gets_nothing() -> None:
    port = free_port()
    served = Served(OwnAccount(PlainTextResponse("the desk")), port, None)
    try:
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "the desk"
        for user, status in ((0, "200"), (NOBODY, "403")):
            asked = subprocess.run(
                ["/usr/bin/python3", "-c", ASK, str(port)],
                user=user, capture_output=True, text=True, check=True, timeout=30,
            )  # fmt: skip
            assert asked.stdout.strip() == status
    finally:
        served.end()
