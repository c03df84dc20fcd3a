"""What an officer thinks of a candidate before any score is shown: kept in memory, undone freely.

A shown score shifts whoever sees it, so the officer's own look comes first. A view signs nothing
and goes nowhere; it is gone when the desk is locked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from officers.desk.phrases import phrase
from runtime.errors import OperationError

SAME, DIFFERENT, CANNOT_TELL = "same", "different", "cannot-tell"
VIEWS = (SAME, DIFFERENT, CANNOT_TELL)
_MOST = 100_000


class ViewRefused(OperationError):
    """A view cannot be taken down: it is none, or nothing was seen yet that it could rest on."""


@dataclass(frozen=True, slots=True)
class View:
    """An officer's view.

    Args:
        value: one of `VIEWS`; empty where it was undone.
        knowing: whether the score had been shown by then.
        first: the view before the score was shown; empty where there was none.
    """

    value: str
    knowing: bool = False
    first: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """What may be shown, and said, of a candidate now.

    Args:
        score: whether the score is shown.
        same: whether "same" may be said.
    """

    score: bool
    same: bool


def gate(*, viewed: bool, decided: bool, possible: bool, still: bool | None) -> Gate:
    """Say what may be shown of a candidate.

    The score comes after the officer's own view, and at once where there is no still to look at.
    "Same" is for who has seen the still, where there may be one: one that does not load blocks it.

    Args:
        viewed: whether the officer's view is taken down.
        decided: whether they have signed a verdict on it.
        possible: whether there may be a still.
        still: whether it was shown; False: there is none after all; None: neither yet.
    """
    nothing_to_see = not possible or still is False
    return Gate(score=viewed or decided or nothing_to_see, same=nothing_to_see or still is True)


class Views:
    """One officer's views of candidates, by query and candidate; safe among threads."""

    def __init__(self) -> None:
        self._views: dict[tuple[bytes, bytes], View] = {}
        self._stills: dict[tuple[bytes, bytes], bool] = {}
        self._lock = threading.Lock()

    def take(
        self,
        query_digest: bytes,
        candidates: Iterable[bytes],
        value: str,
        *,
        knowing: bool = False,
    ) -> None:
        """Take a view down, of all candidates of one stay.

        Args:
            knowing: whether the score stood there already, as where there is no still.

        Raises:
            ViewRefused: it is none, or there are more than a desk keeps.
        """
        if value not in VIEWS:
            raise ViewRefused(
                phrase(
                    "{value!r} is no view; there are {views}",
                    value=value,
                    views=", ".join(VIEWS),
                )
            )
        with self._lock:
            if len(self._views) > _MOST:
                raise ViewRefused(
                    phrase(
                        "this desk keeps no more views: lock it and begin anew; what is signed "
                        "stands"
                    )
                )
            for one in candidates:
                old = self._views.get((query_digest, one))
                knew = knowing or old is not None
                first = old.first if old is not None else "" if knowing else value
                self._views[query_digest, one] = View(value, knew, first)

    def undo(self, query_digest: bytes, candidates: Iterable[bytes]) -> None:
        """Take a view back; that the score has been shown stays known."""
        with self._lock:
            for one in candidates:
                old = self._views.get((query_digest, one))
                if old is not None:
                    self._views[query_digest, one] = replace(old, value="")

    def of(self, query_digest: bytes, candidates: Iterable[bytes]) -> View | None:
        """Return the view of a stay; None unless all of its candidates have been looked at as one.

        A sighting that came to a stay later is to be looked at first.
        """
        with self._lock:
            found = [self._views.get((query_digest, one)) for one in candidates]
        if not found or any(one is None or one.value == "" for one in found):
            return None
        views = [one for one in found if one is not None]
        if len({one.value for one in views}) > 1:
            return None
        return replace(views[0], knowing=any(one.knowing for one in views))

    def knows(self, query_digest: bytes, candidates: Iterable[bytes]) -> bool:
        """Tell whether a score of any of these has been shown."""
        with self._lock:
            return any((query_digest, one) in self._views for one in candidates)

    def saw(self, query_digest: bytes, candidate: bytes, *, still: bool) -> None:
        """Take down that a still was shown, or (``still`` false) that there is none to show."""
        with self._lock:
            self._stills[query_digest, candidate] = still

    def still_of(self, query_digest: bytes, candidates: Iterable[bytes]) -> bool | None:
        """Tell of a stay: True if a still was shown, False if there is none, None before that."""
        with self._lock:
            told = [self._stills.get((query_digest, one)) for one in candidates]
        if any(told):
            return True
        return False if False in told else None

    def forget(self) -> None:
        """Forget all."""
        with self._lock:
            self._views.clear()
            self._stills.clear()
