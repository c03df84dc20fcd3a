"""Dask with all doors shut that carrying sealed portions does not need.

As it comes, Dask runs whatever code anybody connected sends, answers HTTP without certificates,
writes what does not fit in memory to a disk, and keeps a profile of what runs. Here a process of
the cluster reads pickles that name a handful of things, answers a handful of calls, serves no HTTP
and spills nothing. docs/threat-model.md, "Machines that match".
"""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Iterable
from typing import Any

import dask
import distributed.client
import distributed.scheduler
from dask._task_spec import Task
from distributed import Client, Scheduler, Worker
from distributed.protocol import pickle as carried
from distributed.stealing import WorkStealing

from aggregator.cluster.identities import AGGREGATOR, SCHEDULER, WORKER, require_duty
from aggregator.cluster.work import run_sealed

_RUN = ("aggregator.cluster.work", "run_sealed")
_TASK = ("dask._task_spec", "Task")
_BYTES = ("builtins", "bytes")
_GRAPH = {("dask._expr", "Expr._reconstruct"), ("dask._expr", "LLGExpr")}
_FAILED = {
    ("distributed.scheduler", "KilledWorker"), ("distributed.scheduler", "NoValidWorkerError"),
    ("builtins", "RuntimeError"), ("builtins", "ValueError"), ("builtins", "OSError"),
    ("builtins", "TimeoutError"),
}  # fmt: skip
NAMED = {
    AGGREGATOR: frozenset({_BYTES, *_FAILED}),
    SCHEDULER: frozenset({_BYTES, _RUN, _TASK, *_GRAPH, *_FAILED}),
    WORKER: frozenset({_BYTES, _RUN, _TASK}),
}
"""What the pickles that each process reads may name: none of it does anything by itself."""

_SETTINGS: dict[str, object] = {
    "distributed.scheduler.allowed-imports": [],
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.scheduler.allowed-failures": 3,
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.events-cleanup-delay": "1m",
    "distributed.scheduler.preload": [],
    "distributed.worker.preload": [],
    "distributed.client.preload": [],
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,
    "distributed.worker.daemon": True,
    "distributed.comm.require-encryption": True,
    "distributed.comm.compression": False,
    "distributed.comm.timeouts.connect": "10s",
    "distributed.comm.timeouts.tcp": "20s",
    "distributed.diagnostics.nvml": False,
    "distributed.diagnostics.computations.max-history": 1,
    "distributed.diagnostics.erred-tasks.max-history": 1,
    "distributed.admin.log-length": 1,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "30s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.system-monitor.log-length": 2,
}
_SCHEDULER_CALLS = frozenset(
    {"gather", "heartbeat_worker", "identity", "register-client", "register-worker", "unregister"}
)
_SCHEDULER_STREAMS = frozenset({
    "client-desires-keys", "client-releases-keys", "close-client", "heartbeat-client",
    "subscribe-topic", "unsubscribe-topic", "update-graph", "add-keys", "keep-alive",
    "long-running", "release-worker-data", "request-refresh-who-has", "reschedule",
    "steal-response", "task-erred", "task-finished", "worker-status-change",
})  # fmt: skip
_CLIENT_STREAMS = frozenset(
    {"cancelled-keys", "key-in-memory", "lost-data", "task-erred", "task-retried"}
)
_WORKER_CALLS = frozenset({"connection_stream", "get_data", "identity", "ping", "terminate"})
_WORKER_STREAMS = frozenset({
    "cancel-compute", "close", "compute-task", "free-keys", "remove-replicas", "remove-worker",
    "steal-request", "worker-status-change",
})  # fmt: skip


class NotCarried(pickle.UnpicklingError):
    """Somebody in the cluster sent more than a sealed portion: something that would be run."""


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, buffers: Iterable[Any], named: frozenset[tuple[str, str]]):
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._named = named

    def find_class(self, module: str, name: str) -> Any:
        """Return what is named, if it is on the list."""
        if (module, name) not in self._named:
            raise NotCarried(f"{module}.{name} is not what the cluster carries; it was not read")
        return super().find_class(module, name)


def close(duty: str) -> None:
    """Shut this process's Dask, before it connects to anybody.

    What it reads may name what `NAMED` lists for ``duty`` and nothing else.
    """
    dask.config.set(_SETTINGS)
    library = logging.getLogger("distributed")
    library.setLevel(max(logging.WARNING, library.getEffectiveLevel()))
    named = NAMED[duty]

    def loads(x: Any, *, buffers: Iterable[Any] = ()) -> Any:
        return _Reader(bytes(x), buffers, named).load()

    carried.loads = loads
    # These two read some of what others send with the standard library's, or with what they took
    # from Dask's before it was shut.
    for module in (distributed.client, distributed.scheduler):
        vars(module).update(pickle=carried, loads=_reads_as_carried)


def _reads_as_carried(x: Any, *, buffers: Iterable[Any] = ()) -> Any:
    return carried.loads(x, buffers=buffers)  # type: ignore[no-untyped-call]


class ClosedClient(Client):
    """Dask's client, which a scheduler tells how portions stand, and nothing else.

    As it comes, a scheduler has it print and warn of what it likes, which it reads as pickles.
    """

    def __init__(self, address: str, **kwargs: Any) -> None:
        super().__init__(address, **kwargs)  # type: ignore[no-untyped-call]
        _keep(self._stream_handlers, _CLIENT_STREAMS)
        self._stream_handlers["key-in-memory"] = self._in_memory

    def _in_memory(self, key: Any = None, **_told: Any) -> None:
        """Note that a portion is answered; the pickled type of the answer is nothing to us."""
        self._handle_key_in_memory(key=key)  # type: ignore[no-untyped-call]


class ClosedScheduler(Scheduler):
    """Dask's scheduler, which carries sealed portions between the aggregator and workers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dashboard=False, extensions={"stealing": WorkStealing}, **kwargs)
        self.blocked_handlers = sorted(self.handlers.keys() - _SCHEDULER_CALLS)
        _keep(self.stream_handlers, _SCHEDULER_STREAMS)

    def start_http_server(self, *_args: Any, **_kwargs: Any) -> None:
        """Start none."""

    async def add_client(self, comm: Any, client: str, versions: dict[str, Any]) -> None:
        """Let the aggregator hand in portions, and nobody else.

        Raises:
            Distrusted: somebody else asks.
        """
        _require(comm, AGGREGATOR)
        await super().add_client(comm, client, versions)

    async def add_worker(self, comm: Any, **kwargs: Any) -> None:
        """Let a match worker take portions, and nobody else.

        Raises:
            Distrusted: somebody else asks.
        """
        _require(comm, WORKER)
        await super().add_worker(comm, **kwargs)


class ClosedWorker(Worker):
    """Dask's worker, which runs `aggregator.cluster.work.run_sealed` and nothing else."""

    def __init__(self, scheduler: str, **kwargs: Any) -> None:
        super().__init__(
            scheduler, nthreads=1, memory_limit=0, data=dict, extensions={}, metrics={}, **kwargs
        )
        self.blocked_handlers = sorted(self.handlers.keys() - _WORKER_CALLS)
        _keep(self.stream_handlers, _WORKER_STREAMS)
        self._compute = self.stream_handlers["compute-task"]
        self.stream_handlers["compute-task"] = self._compute_sealed

    def _compute_sealed(self, **told: Any) -> None:
        """Take in a portion.

        Raises:
            NotCarried: it is something else; the connection ends with it.
        """
        spec = told.get("run_spec")
        if (
            type(spec) is not Task
            or spec.func is not run_sealed
            or [type(one) for one in spec.args] != [bytes]
            or spec.kwargs
        ):
            raise NotCarried("the scheduler sent something else than a sealed portion")
        self._compute(**told)

    def start_http_server(self, *_args: Any, **_kwargs: Any) -> None:
        """Start none."""


def _require(comm: Any, duty: str) -> None:
    require_duty(comm.extra_info.get("peercert"), duty)


def _keep(handlers: dict[str, Any], names: frozenset[str]) -> None:
    """Have what Dask's own processes tell each other besides come to nothing."""
    for name in handlers.keys() - names:
        handlers[name] = _pass_over


def _pass_over(**_told: Any) -> None:
    """Do nothing."""
