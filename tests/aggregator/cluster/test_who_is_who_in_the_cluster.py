"""Certificates of a cluster name a duty, each end checks the other, and no other CA counts."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aggregator.cluster.identities import (
    AGGREGATOR,
    SCHEDULER,
    WORKER,
    ClusterSecurity,
    Distrusted,
    Identity,
)
from demo.match_cluster import ClusterCa
from protocol.errors import MalformedMessage
from runtime.config import TlsConfig
from runtime.tls import TlsError

SERVES = {
    SCHEDULER: frozenset({AGGREGATOR, WORKER}),
    WORKER: frozenset({SCHEDULER}),
}
CALLS = {
    AGGREGATOR: frozenset({SCHEDULER}),
    SCHEDULER: frozenset({WORKER}),
    WORKER: frozenset({SCHEDULER}),
}


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ClusterCa:
    return ClusterCa(tmp_path_factory.mktemp("ca"))


def security(ca: ClusterCa, duty: str) -> ClusterSecurity:
    return ClusterSecurity(
        ca.issue(duty, duty), serves=SERVES.get(duty, frozenset()), calls=CALLS[duty]
    )


def meet(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str]:
    """Shake hands; return what each side raised, "" where it was content."""
    ours, theirs = socket.socketpair()
    raised = {"server": "", "client": ""}

    def shake(name: str, context: ssl.SSLContext, end: socket.socket) -> None:
        end.settimeout(10)
        try:
            with context.wrap_socket(end, server_side=name == "server") as wrapped:
                wrapped.sendall(b"x")
                if not wrapped.recv(1):  # a client learns of a refusal after its handshake
                    raised[name] = "closed"
        except OSError as error:
            raised[name] = str(error) or type(error).__name__

    threads = [
        threading.Thread(target=shake, args=("server", server, ours)),
        threading.Thread(target=shake, args=("client", client, theirs)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised["server"], raised["client"]


@pytest.mark.parametrize(
    ("serving", "calling"), [(SCHEDULER, AGGREGATOR), (SCHEDULER, WORKER), (WORKER, SCHEDULER)]
)
def test_those_that_work_together_meet(ca: ClusterCa, serving: str, calling: str) -> None:
    server = security(ca, serving).get_listen_args("any")["ssl_context"]
    client = security(ca, calling).get_connection_args("any")["ssl_context"]
    assert meet(server, client) == ("", "")


@pytest.mark.parametrize(
    ("serving", "calling"), [(SCHEDULER, SCHEDULER), (WORKER, WORKER), (WORKER, AGGREGATOR)]
)
def test_those_that_have_nothing_to_say_to_each_other_do_not(
    ca: ClusterCa, serving: str, calling: str
) -> None:
    server = security(ca, serving).get_listen_args("any")["ssl_context"]
    client = security(ca, calling).get_connection_args("any")["ssl_context"]
    assert all(meet(server, client)), "both ends end it"


@pytest.mark.parametrize("duty", [AGGREGATOR, SCHEDULER, WORKER])
def test_a_certificate_of_another_ca_of_the_same_names_is_refused(
    ca: ClusterCa, tmp_path: Path, duty: str
) -> None:
    other = ClusterCa(tmp_path)
    server = security(ca, SCHEDULER).get_listen_args("any")["ssl_context"]
    client = security(other, duty).get_connection_args("any")["ssl_context"]
    assert all(meet(server, client))


def test_a_configuration_that_names_another_ca_is_refused(ca: ClusterCa, tmp_path: Path) -> None:
    tls = ClusterCa(tmp_path / "site", title="root CA").issue("aggregator", AGGREGATOR)
    with pytest.raises(TlsError, match="not the CA of a cluster"):
        ClusterSecurity(tls, serves=frozenset(), calls=frozenset({SCHEDULER}))
    with pytest.raises(TlsError, match="not the CA of a cluster"):
        Identity(tls)
    both = tmp_path / "both.pem"
    both.write_bytes(tls.ca.read_bytes() + (ca.folder / "ca.pem").read_bytes())
    with pytest.raises(TlsError, match="nothing else"):
        Identity(tls.model_copy(update={"ca": both}))


def test_what_a_member_signed_is_theirs_and_nobody_elses(ca: ClusterCa, tmp_path: Path) -> None:
    worker = Identity(ca.issue("rack-1", WORKER))
    reader = Identity(ca.issue("aggregator", AGGREGATOR))
    statement = worker.sign("key", b"payload")
    member = reader.verify("key", b"payload", statement, duty=WORKER)
    assert (member.name, member.duty) == ("rack-1", WORKER)
    for purpose, payload, duty in (
        ("key", b"another", WORKER),
        ("portion", b"payload", WORKER),
        ("key", b"payload", AGGREGATOR),
    ):
        with pytest.raises(Distrusted):
            reader.verify(purpose, payload, statement, duty=duty)
    stranger = Identity(ClusterCa(tmp_path).issue("rack-1", WORKER))
    with pytest.raises(Distrusted, match="nobody of this cluster"):
        reader.verify("key", b"payload", stranger.sign("key", b"payload"), duty=WORKER)
    with pytest.raises(MalformedMessage):
        reader.verify("key", b"payload", b"\xff" + statement, duty=WORKER)


def test_a_certificate_that_has_run_out_vouches_for_nothing(ca: ClusterCa) -> None:
    worker, reader = Identity(ca.issue("rack-2", WORKER)), Identity(ca.issue("agg", AGGREGATOR))
    statement = worker.sign("key", b"payload")
    later = datetime.now(UTC) + timedelta(days=2)
    with pytest.raises(Distrusted, match="certificate ended"):
        reader.verify("key", b"payload", statement, duty=WORKER, now=later)


def test_a_certificate_without_a_duty_is_none_of_the_cluster(ca: ClusterCa) -> None:
    tls: TlsConfig = ca.issue("somebody", "")
    with pytest.raises(TlsError, match="no certificate of a cluster"):
        Identity(tls)
