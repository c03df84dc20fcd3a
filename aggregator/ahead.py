"""Have calls made one after another in a thread, while who ordered them does something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Ahead(Generic[Answer]):
    """Makes calls in the order in which they came, in a thread of its own.

    As a context: at its end calls that have not begun are cancelled, and one that has is not waited
    for. Not for calls that must not be left half done.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Callable[[], Answer], Future[Answer]] | None] = SimpleQueue()
        self._open: list[Future[Answer]] = []
        self._started = False

    def __enter__(self) -> Ahead[Answer]:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what has not begun."""
        for future in self._open:
            future.cancel()
        self._calls.put(None)

    def order(self, call: Callable[[], Answer]) -> Future[Answer]:
        """Have a call made after those before it."""
        future: Future[Answer] = Future()
        self._open = [one for one in self._open if not one.done()]
        self._open.append(future)
        self._calls.put((call, future))
        if not self._started:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
            self._started = True
        return future

    def _work(self) -> None:
        while (ordered := self._calls.get()) is not None:
            call, future = ordered
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
            del call, future, ordered
