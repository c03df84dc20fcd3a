"""Run a process of the cluster from its ready line to a clean end.

Threads: ``cluster`` (Dask's loop and all its connections), ``signals``; at a worker also Dask's own
``Dask-Default-Threads``, in which portions are done one at a time; ``metrics``, if the
configuration asks for it. The main thread waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from runtime.lifecycle import Stop, Threads, signals, wait_until_stopped

Report = Callable[[str], None]
_STOP_WITHIN_S = 20.0
_log = structlog.get_logger()


def run_until_stopped(
    work: Callable[[asyncio.Event, Report], Awaitable[None]],
    *,
    what: str,
    name: str,
    metrics: Callable[[Stop], None] | None = None,
) -> int:
    """Do ``work`` until a signal; return the process's exit code.

    Args:
        work: a coroutine that ends once the event that it is given is set, and calls the second
            argument with the address that it listens on when it can be reached.
        what: what ``systemctl status`` says to be there.
        name: ours in the cluster, for the log.
        metrics: the body of the thread ``metrics``; None where nobody asks for them.
    """
    stop = Stop()
    running = Threads(stop)
    ready = threading.Event()

    def report(address: str) -> None:
        if not ready.is_set():
            _log.info("ready", name=name, address=address)
        ready.set()

    async def main() -> None:
        asked, loop = asyncio.Event(), asyncio.get_running_loop()

        def pass_on() -> None:
            stop.wait()
            loop.call_soon_threadsafe(asked.set)

        threading.Thread(target=pass_on, name="stopping", daemon=True).start()
        await work(asked, report)

    with signals(stop):
        running.start("cluster", lambda: asyncio.run(main()))
        if metrics is not None:
            running.start("metrics", partial(metrics, stop))
        while not ready.wait(0.2) and not stop.is_set():
            pass
        if not stop.is_set():
            wait_until_stopped(stop, ready=what)
        running.join(_STOP_WITHIN_S)
    _log.info("stopped", reason=stop.reason)
    return stop.exit_code
