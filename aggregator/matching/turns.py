"""A queue in which groups take turns: the thousand tasks of one query delay no other's only one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """First in, first out within a group; the groups in turn. Not locked: its owner does that."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[T]] = {}

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self._waiting)

    def append(self, group: bytes, item: T) -> None:
        """Add the last of a group."""
        self._waiting.setdefault(group, deque()).append(item)

    def put_back(self, group: bytes, item: T) -> None:
        """Add the first of a group: what was taken out and not done."""
        self._waiting.setdefault(group, deque()).appendleft(item)

    def take(self) -> T:
        """Take the first of the group whose turn it is; the group then waits behind the others.

        Raises:
            StopIteration: nothing waits.
        """
        group = next(iter(self._waiting))
        items = self._waiting.pop(group)
        item = items.popleft()
        if items:
            self._waiting[group] = items
        return item

    def take_all(self) -> Iterator[T]:
        """Take everything."""
        while self._waiting:
            yield self.take()
