"""Why a box could not be admitted, installed or renewed."""

from __future__ import annotations

from runtime.errors import OperationError


class FirstBootError(OperationError):
    """A step of setting up this box failed; it may be run again."""


class InstallRefused(FirstBootError):
    """What came from headquarters is not for this box, not signed by its site, or is older."""


class TpmError(FirstBootError):
    """The TPM is missing or refuses."""
