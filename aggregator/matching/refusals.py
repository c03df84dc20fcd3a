"""What a pass of matching could not open, envelope by envelope, and why; the others go on."""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.matching.lanes import KeyNotReleased
from protocol.errors import MalformedMessage, ScopeExceeded, SealError
from protocol.grant import Scope

OF_AN_ENVELOPE = (SealError, ScopeExceeded, MalformedMessage, TypeError, ValueError, OverflowError)
"""What one envelope, or a row of a file that somebody edited, can raise while it is opened."""


@dataclass(frozen=True, slots=True)
class Altered:
    """An envelope in store that does not open, or not to what its header says; others went on.

    ``keyless`` is the scope whose keys are not those of the envelope: then it may be as it came,
    and the keys false.
    """

    number: int
    camera: str
    reason: str
    keyless: Scope | None = None


class Refusals:
    """Gathers what did not open; each envelope once."""

    def __init__(self) -> None:
        self.not_granted = 0
        """Envelopes whose slot or kind the keys at hand do not open."""
        self._altered: dict[int, Altered] = {}

    @property
    def altered(self) -> tuple[Altered, ...]:
        """The envelopes that could not be opened, in the order in which that was found."""
        return tuple(self._altered.values())

    def add(self, error: Exception, number: int, scope: Scope) -> None:
        """Note why envelope ``number`` of a scope did not open: an error of `OF_AN_ENVELOPE`."""
        if isinstance(error, ScopeExceeded):
            self.not_granted += 1
            return
        reason = str(error)
        if not isinstance(error, SealError | MalformedMessage):
            reason = f"a column in store cannot be: {error}"
        keyless = scope if isinstance(error, KeyNotReleased) else None
        self._altered.setdefault(number, Altered(number, scope.address.camera, reason, keyless))
