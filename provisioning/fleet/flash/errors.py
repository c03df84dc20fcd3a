"""Why a card is not written, or is not to be trusted; each message says what to do next."""

from __future__ import annotations

from runtime.errors import OperationError


class FlashError(OperationError):
    """A card cannot be written."""


class DeviceRefused(FlashError):
    """The device is not one that may be overwritten: system disk, mounted, fixed, too small."""


class DeviceChanged(FlashError):
    """Another card or device is behind the name than the one that was chosen."""


class ImageUnfit(FlashError):
    """The image is not that of a whole card, or was damaged since it was built."""


class WriteFailed(FlashError):
    """The device failed while being written; the card is incomplete and does not boot."""


class VerificationFailed(FlashError):
    """What is read back is not what was written; the card is incomplete and does not boot."""
