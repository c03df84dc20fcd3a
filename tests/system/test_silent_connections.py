"""A thousand connections that say nothing end no service, keep nobody out and fill no disk."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
from running_site import SERVERS, RunningSite, plan_with_dan
from waiting import wait_for

from runtime.errors import OperationError
from runtime.http import client, raise_for_problem

ROLES = ("c1", "aggregator", "registrar")
SILENT = 1100
ANSWER_WITHIN_S = 15.0
HELD_S = 4.0
MAX_LOG_BYTES = 200_000


@contextmanager
def descriptors(soft: int) -> Iterator[None]:
    """Have processes that are started in the block begin with so many descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """Broker, custodians, aggregator and registrar, each with 1,024 descriptors."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < 2 * SILENT:
        pytest.skip(f"this test needs {2 * SILENT} descriptors, the system gives {hard}")
    made = RunningSite(
        plan_with_dan({"cam-1": {"source": "file:none.mp4"}}, bundle=None),
        tmp_path_factory.mktemp("silent"),
    )
    try:
        with descriptors(1024):
            made.start(*SERVERS, "registrar")
        yield made
    finally:
        made.stop()


def url_of(site: RunningSite, role: str) -> str:
    if role != "registrar":
        return site.url(role)
    assert site.plan.registrar is not None
    return f"https://localhost:{site.plan.registrar.port}"


def ask(site: RunningSite, role: str) -> bool:
    with client(url_of(site, role), site.tls("ana"), 10.0) as http:
        return raise_for_problem(http.get("/v1/status")).is_success


def connect(url: str, number: int, stack: ExitStack) -> None:
    parts = urlsplit(url)
    assert parts.port is not None
    silent = stack.enter_context(socket.socket())
    silent.bind((f"127.0.{number // 250 + 1}.{number % 250 + 1}", 0))
    silent.settimeout(10)
    silent.connect(("127.0.0.1", parts.port))


def assert_honest_are_served(site: RunningSite, role: str) -> None:
    service = site.local.services[role]
    until = time.monotonic() + HELD_S
    while time.monotonic() < until:
        wait_for(
            lambda: ask(site, role),
            f"{role} to answer",
            timeout_s=ANSWER_WITHIN_S,
            passing=OperationError,
            explain=service.tail,
        )
    assert service.running, service.tail()
    assert len(service.output()) < MAX_LOG_BYTES


@pytest.mark.parametrize("spread", [1, 1000], ids=["one-address", "many-addresses"])
@pytest.mark.parametrize("role", ROLES)
def test_silent_connections_keep_no_honest_officer_out(
    site: RunningSite, role: str, spread: int
) -> None:
    with ExitStack() as stack:
        for number in range(SILENT):
            connect(url_of(site, role), number % spread, stack)
        assert_honest_are_served(site, role)
    assert not site.local.crashed()


@pytest.mark.parametrize("role", ROLES)
def test_a_service_without_descriptors_goes_on_when_it_has_some_again(
    site: RunningSite, role: str
) -> None:
    process = site.local.services[role].process
    assert process is not None
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (120, before[1]))
        for number in range(300):
            connect(url_of(site, role), number, stack)
        assert_honest_are_served(site, role)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (8, before[1]))
        time.sleep(HELD_S)  # long enough for every loop to have found none
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
    assert_honest_are_served(site, role)
    assert not site.local.crashed()
