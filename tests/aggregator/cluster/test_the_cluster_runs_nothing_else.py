"""Nobody in a cluster has code run by another, and nobody of the site gets into it."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import distributed
import pytest
from cluster_site import ClusterSite
from distributed import Client, Scheduler, SchedulerPlugin, Worker
from distributed.core import rpc
from distributed.protocol import pickle as carried

from aggregator.cluster import closed
from aggregator.cluster.identities import (
    AGGREGATOR,
    SCHEDULER,
    WORKER,
    ClusterSecurity,
    Distrusted,
    require_duty,
)
from aggregator.cluster.work import run_sealed
from demo.match_cluster import ClusterCa, MatchCluster
from provisioning.authority import SitePaths, SitePlan, create_site
from runtime.config import TlsConfig

pytestmark = pytest.mark.processes
EVERYBODY = frozenset({AGGREGATOR, SCHEDULER, WORKER})
CLIENT: Any = Client
RPC: Any = rpc
DUMPS: Any = carried.dumps
PASSPHRASE = b"correct horse battery"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MatchCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    site = ClusterSite(folder / "state")
    assert site.desk.stored()
    made = MatchCluster(folder, folder / "state")
    made.start_scheduler()
    made.start_worker("rack-1")
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SitePaths:
    """A real site, with all its certificates."""
    plan = SitePlan.model_validate(
        {
            "site": "demo",
            "threshold": 2,
            "custodians": [{"name": f"c{n}", "port": 8440 + n} for n in (1, 2, 3)],
            "officers": [
                {"name": "ana", "duties": ["investigator"]},
                {"name": "bo", "duties": ["approver"]},
                {"name": "cy", "duties": ["approver"]},
                {"name": "eve", "duties": ["auditor"]},
            ],
            "boxes": [{"name": "box-1", "cameras": [{"name": "cam-1", "source": "/a.mp4"}]}],
            "security": {"argon2_memory_kib": 64},
            "policy": {"confirmations": 1},
        }
    )
    return create_site(plan, tmp_path_factory.mktemp("made") / "site", PASSPHRASE)


@pytest.fixture
def as_dask_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process read whatever it is sent, as an attacker's would."""
    monkeypatch.setattr(carried, "loads", _reads_all)


def _reads_all(x: Any, *, buffers: Any = ()) -> Any:
    return pickle.loads(x, buffers=buffers)  # noqa: S301 - that is the attack


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


def address_of(cluster: MatchCluster, name: str) -> str:
    return str(cluster.services[name].events("ready")[-1]["address"])


def security(tls: TlsConfig) -> ClusterSecurity:
    """That of somebody who checks nothing."""
    return ClusterSecurity(tls, serves=EVERYBODY, calls=EVERYBODY)


# ------------------------------------------------------------------ code


@asynccontextmanager
async def as_it_comes(cluster: MatchCluster) -> AsyncIterator[Scheduler]:
    """Dask's own scheduler, with a certificate of the cluster."""
    scheduler = await Scheduler(
        host="127.0.0.1",
        protocol="tls",
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        security=security(cluster.ca.issue("scheduler-3", SCHEDULER)),
    )
    yield scheduler
    await scheduler.close()


async def attack_scheduler(cluster: MatchCluster, address: str, ran: Path) -> None:
    """Have code run at a scheduler with the aggregator's certificate, in every way there is."""
    client = await CLIENT(
        address,
        security=security(cluster.ca.issue("aggregator", AGGREGATOR)),
        asynchronous=True,
        set_as_default=False,
    )
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.run_on_scheduler(os.mkdir, str(ran / "run")),
        lambda: client.register_plugin(MakesFolder(ran / "plugin")),
        lambda: client.submit(MakesFolder(ran / "read")).result(),
    ]
    for attempt in attempts:
        with suppress(Exception):
            await asyncio.wait_for(attempt(), 2)
    await client.close(timeout=1)


async def attack_worker(cluster: MatchCluster, address: str, ran: Path) -> None:
    """Have code run at a worker with a scheduler's certificate, in every way there is."""
    tls = cluster.ca.issue("scheduler-2", SCHEDULER)
    worker = RPC(address, connection_args=security(tls).get_connection_args("any"))
    function, plugin = (DUMPS(one) for one in (os.mkdir, MakesFolder(ran / "plugin")))
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: worker.run(function=function, args=DUMPS((str(ran / "run"),))),
        lambda: worker.plugin_add(plugin=plugin, name="x"),
        lambda: worker.upload_file(filename="evil.py", data=b"import os", load=False),
        lambda: worker.update_data(data={"x": MakesFolder(ran / "data")}),
    ]
    for attempt in attempts:
        with suppress(Exception):
            await asyncio.wait_for(attempt(), 2)
    await worker.close_rpc()


class MakesFolder(SchedulerPlugin):
    """Whose reading makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.usefixtures("as_dask_comes")
def test_nothing_of_the_aggregators_runs_at_the_scheduler_though_dasks_own_runs_it(
    cluster: MatchCluster, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()

    async def attack() -> None:
        await attack_scheduler(cluster, f"tls://{address_of(cluster, 'scheduler')}", ours)
        async with as_it_comes(cluster) as scheduler:
            await attack_scheduler(cluster, scheduler.address, theirs)

    run(attack)
    assert not list(ours.iterdir())
    assert (theirs / "run").exists()
    assert cluster.services["scheduler"].running


@pytest.mark.usefixtures("as_dask_comes")
def test_nothing_of_a_schedulers_runs_at_a_worker_though_dasks_own_runs_it(
    cluster: MatchCluster, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()

    async def attack() -> None:
        await attack_worker(cluster, f"tls://{address_of(cluster, 'rack-1')}", ours)
        async with as_it_comes(cluster) as scheduler:
            worker = await Worker(
                scheduler.address,
                security=security(cluster.ca.issue("rack-9", WORKER)),
                local_directory=str(tmp_path),
                dashboard_address="127.0.0.1:0",
                nthreads=1,
            )
            await attack_worker(cluster, worker.address, theirs)
            await worker.close(timeout=1)

    run(attack)
    assert not list(ours.iterdir())
    assert (theirs / "run").exists()


async def attack_aggregator(cluster: MatchCluster, kind: Any, ran: Path) -> None:
    """Have code run at who hands in portions with a scheduler, in every way there is."""
    async with as_it_comes(cluster) as scheduler:
        client = await kind(
            scheduler.address,
            security=security(cluster.ca.issue("aggregator", AGGREGATOR)),
            asynchronous=True,
            set_as_default=False,
        )
        portion = client.submit(run_sealed, b"", key="portion", pure=False)
        while "portion" not in scheduler.tasks:
            await asyncio.sleep(0.01)
        warning = {name: pickle.dumps(MakesFolder(ran / name)) for name in ("message", "category")}
        type_of = pickle.dumps(MakesFolder(ran / "type"))
        for told in (
            {"op": "event", "topic": "warn", "event": (0.0, warning)},
            {"op": "event", "topic": "warn", "event": (0.0, {"message": warning["message"]})},
            {"op": "key-in-memory", "key": "portion", "type": type_of},
            {"op": "cancelled-keys", "keys": ["portion"]},
        ):
            scheduler.report(told, client=client.id)
        while portion.status != "cancelled":
            await asyncio.sleep(0.01)
        await client.close(timeout=1)


@pytest.mark.usefixtures("as_dask_comes")
def test_nothing_of_a_schedulers_runs_at_the_aggregator_though_dasks_own_runs_it(
    cluster: MatchCluster, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()

    async def attack() -> None:
        await attack_aggregator(cluster, closed.ClosedClient, ours)
        await attack_aggregator(cluster, CLIENT, theirs)

    run(attack)
    assert not list(ours.iterdir())
    assert {path.name for path in theirs.iterdir()} == {"message", "category", "type"}


@pytest.mark.usefixtures("as_dask_comes")
def test_a_worker_leaves_a_scheduler_that_sends_it_something_to_run(
    cluster: MatchCluster, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"

    async def attack() -> None:
        async with as_it_comes(cluster) as scheduler:
            port, cluster.port = cluster.port, int(scheduler.address.rpartition(":")[2])
            service = cluster.start_worker("rack-2", wait=False)
            cluster.port = port
            client = await CLIENT(
                scheduler.address,
                security=security(cluster.ca.issue("aggregator", AGGREGATOR)),
                asynchronous=True,
                set_as_default=False,
            )
            future = client.submit(os.mkdir, str(ran))
            while "NotCarried" not in service.output():
                await asyncio.sleep(0.1)
            cluster.services.pop("rack-2").kill()
            future.release()
            await client.close(timeout=1)

    run(attack)
    assert not ran.exists()


@pytest.mark.usefixtures("as_dask_comes")
def test_a_worker_hands_in_no_portions_and_the_aggregator_takes_none(
    cluster: MatchCluster, tmp_path: Path
) -> None:
    scheduler = f"tls://{address_of(cluster, 'scheduler')}"
    as_worker, as_aggregator = (
        security(cluster.ca.issue(f"false-{duty}", duty)) for duty in (WORKER, AGGREGATOR)
    )

    async def attack() -> None:
        with pytest.raises(Exception):  # noqa: B017 - whichever of Dask's it is
            await asyncio.wait_for(
                CLIENT(scheduler, security=as_worker, asynchronous=True, timeout=3), 5
            )
        worker: Any = Worker(
            scheduler,
            security=as_aggregator,
            local_directory=str(tmp_path),
            dashboard_address="127.0.0.1:0",
            nthreads=1,
            name="false",
        )
        with pytest.raises(Exception):  # noqa: B017 - whichever of Dask's it is
            await asyncio.wait_for(worker.start(), 3)
        tls = cluster.ca.issue("aggregator", AGGREGATOR)
        asked = RPC(scheduler, connection_args=security(tls).get_connection_args("any"))
        told = await asked.identity()
        assert len(told["workers"]) == 1, "rack-1 alone"
        await asked.close_rpc()

    run(attack)
    assert cluster.services["scheduler"].output().count("Distrusted") >= 2


def test_every_duty_reads_no_pickle_that_names_something_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(carried, "loads", carried.loads)
    for duty in EVERYBODY:
        closed.close(duty)
        reads: Any = carried.loads
        with pytest.raises(closed.NotCarried):
            reads(DUMPS(os.mkdir))
        with pytest.raises(closed.NotCarried):
            reads(DUMPS(Path("x")))
        assert reads(DUMPS([b"sealed", 1])) == [b"sealed", 1]
        for module in (distributed.client, distributed.scheduler):
            with pytest.raises(closed.NotCarried):
                getattr(module, "loads")(DUMPS(os.mkdir))  # noqa: B009 - it is not told of
            with pytest.raises(closed.NotCarried):
                module.pickle.loads(DUMPS(os.mkdir))


def test_no_port_is_open_but_the_one_and_nothing_is_left_on_a_disk(
    cluster: MatchCluster,
) -> None:
    for name in ("scheduler", "rack-1"):
        process = cluster.services[name].process
        assert process is not None
        listening = _listening(process.pid)
        assert listening == {int(address_of(cluster, name).rpartition(":")[2])}
    written = [path for path in (cluster.folder / "tmp").rglob("*") if path.is_file()]
    assert {path.name for path in written} <= {"global.lock", "purge.lock"} or all(
        path.suffix == ".dirlock" or path.name.endswith("lock") for path in written
    )
    assert not any(path.stat().st_size for path in written)


def _listening(pid: int) -> set[int]:
    inodes = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        target = str(one.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                ports.add(int(words[1].rpartition(":")[2], 16))
    return ports


# ------------------------------------------------------------------ certificates of the site


def certificates(site: SitePaths) -> dict[str, TlsConfig]:
    folders = {
        "box": site.box("box-1").parent,
        "custodian": site.custodian("c1").parent,
        "officer": site.officer("ana").parent,
        "aggregator": site.aggregator.parent,
    }
    return {
        name: TlsConfig(
            ca=folder / "tls/ca.pem",
            certificate=folder / "tls/certificate.pem",
            private_key=folder / "tls/private-key.pem",
        )
        for name, folder in folders.items()
    }


def let_in(address: str, tls: TlsConfig) -> bool:
    """Tell whether somebody who shows this certificate, and checks nothing, is spoken to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tls.certificate, tls.private_key)
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as plain:
        try:
            with context.wrap_socket(plain) as wrapped:
                return bool(wrapped.recv(1))  # the other side speaks first
        except (ssl.SSLError, ConnectionError):
            return False


@pytest.mark.parametrize("who", ["box", "custodian", "officer", "aggregator"])
def test_nobody_of_the_site_gets_in_with_their_certificate(
    cluster: MatchCluster, site: SitePaths, who: str
) -> None:
    scheduler, worker = (address_of(cluster, name) for name in ("scheduler", "rack-1"))
    assert let_in(scheduler, cluster.ca.issue("aggregator", AGGREGATOR))
    assert let_in(worker, cluster.ca.issue("scheduler-2", SCHEDULER))
    tls = certificates(site)[who]
    assert not let_in(scheduler, tls)
    assert not let_in(worker, tls)
    assert not let_in(worker, cluster.ca.issue("aggregator", AGGREGATOR)), "workers serve one"


@pytest.mark.parametrize("who", ["box", "custodian", "aggregator"])
@pytest.mark.parametrize("caller", [AGGREGATOR, WORKER, SCHEDULER])
def test_nobody_of_the_site_is_taken_for_a_scheduler_or_worker(
    cluster: MatchCluster, site: SitePaths, who: str, caller: str
) -> None:
    tls = certificates(site)[who]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tls.certificate, tls.private_key)
    calls = frozenset({WORKER} if caller == SCHEDULER else {SCHEDULER})
    ours = ClusterSecurity(
        cluster.ca.issue(caller, caller), serves=frozenset(), calls=calls
    ).get_connection_args("any")["ssl_context"]

    async def call() -> None:
        async def served(_reader: Any, writer: Any) -> None:
            writer.close()

        listening = await asyncio.start_server(served, "127.0.0.1", 0, ssl=server)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            await asyncio.get_running_loop().run_in_executor(None, _shake, ours, port)

    with pytest.raises(ssl.SSLCertVerificationError):
        run(call)


def _shake(context: ssl.SSLContext, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as plain:
        context.wrap_socket(plain).close()


def test_a_worker_is_no_aggregator_and_the_other_way_round(tmp_path: Path) -> None:
    ClusterCa(tmp_path)
    subject = ((("organizationalUnitName", WORKER),),)
    require_duty({"subject": subject}, WORKER)
    with pytest.raises(Distrusted):
        require_duty({"subject": subject}, AGGREGATOR)
    with pytest.raises(Distrusted):
        require_duty(None, AGGREGATOR)
