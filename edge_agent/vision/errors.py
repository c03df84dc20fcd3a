"""What can go wrong with a model, as errors that a person can act on."""

from __future__ import annotations

from runtime.errors import OperationError


class VisionError(OperationError):
    """The vision part cannot do what it was asked to."""


class ModelError(VisionError):
    """A model file cannot be loaded, does not fit its description, or gave no usable numbers."""
