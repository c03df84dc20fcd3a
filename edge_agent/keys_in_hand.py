"""The keys under which one camera seals now: announced when needed, forgotten slot by slot."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from edge_agent.epochs import BoardEpochs, CannotAnnounce, EpochKeys
from protocol.names import SLOTS_PER_EPOCH
from runtime.database import StorageError

_log = structlog.get_logger()


class KeysInHand:
    """One camera's keys; ``floor`` is the first slot (number since 1970) not yet forgotten.

    Args:
        epochs: announces.
        now_ms: the wall clock, for announcements; may raise, which ends the attempt.
        replacing: told of the keys that are about to be forgotten, and of those that take their
            place.
    """

    def __init__(
        self,
        epochs: BoardEpochs,
        now_ms: Callable[[], int],
        *,
        replacing: Callable[[EpochKeys, EpochKeys], None] = lambda _old, _new: None,
    ) -> None:
        self._replacing = replacing
        self._epochs = epochs
        self._now_ms = now_ms
        self.epoch_keys: EpochKeys | None = None
        self.floor = 0
        self.waiting_for = ""
        """Why there are none, or none better; empty if there is no reason."""

    def for_slot(self, number: int, *, begun: bool) -> EpochKeys | None:
        """Return keys good for a slot, announcing anew if need be; None if impossible.

        Args:
            number: of the slot.
            begun: live envelopes are sealed under those at hand: nothing better replaces them yet.
        """
        epoch, slot = divmod(number, SLOTS_PER_EPOCH)
        keys = self.epoch_keys
        if (
            keys is not None
            and keys.epoch == epoch
            and (begun or not self._epochs.sharing(epoch).improves(keys.sharing))
        ):
            return keys
        try:
            self.epoch_keys = self._epochs.announce(epoch, first_slot=slot, now_ms=self._now_ms())
        except (CannotAnnounce, StorageError) as error:
            if str(error) != self.waiting_for:
                _log.warning("cannot_seal", camera=self._epochs.address.camera, reason=str(error))
            self.waiting_for = str(error)
            return keys if keys is not None and keys.epoch == epoch else None
        if keys is not None:
            self._replacing(keys, self.epoch_keys)
            keys.forget_before(SLOTS_PER_EPOCH)
        self.waiting_for = ""
        return self.epoch_keys

    def forget_before(self, number: int) -> None:
        """Puncture: from now on no slot before ``number`` can be sealed under, or opened."""
        if number <= self.floor:
            return
        self.floor = number
        keys = self.epoch_keys
        if keys is not None:
            epoch, slot = divmod(number, SLOTS_PER_EPOCH)
            if epoch == keys.epoch:
                keys.forget_before(slot)
            elif epoch > keys.epoch:
                self.drop()

    def drop(self) -> None:
        """Forget them all; the next slot gets a new generation."""
        if self.epoch_keys is not None:
            self.epoch_keys.forget_before(SLOTS_PER_EPOCH)
            self.epoch_keys = None

    def go_back_if(self, number: int | None) -> None:
        """Go back to a slot if it has been forgotten; None: there is nothing to go back for."""
        if number is not None and number < self.floor:
            self.go_back_to(number)

    def go_back_to(self, number: int) -> None:
        """Begin anew at a slot that has been forgotten, under a new generation."""
        self.drop()
        self.floor = number
