"""Why a box is not let in, each with the HTTP status and the name that the box is told."""

from __future__ import annotations

from runtime.errors import OperationError


class RegistrarError(OperationError):
    """The registrar cannot do what was asked."""


class RegistrarRefused(RegistrarError):
    """A request to join, renew or be configured is refused."""

    status = 403


class ClaimUnknown(RegistrarRefused):
    """The claim is not one of this site, or not this box's."""

    status = 401


class ClaimExpired(RegistrarRefused):
    """The box came too late with its claim."""

    status = 401


class ClaimUsed(RegistrarRefused):
    """A box was admitted with this claim already."""

    status = 401


class RequestInvalid(RegistrarRefused):
    """The certificate request, or the proof of the box's identity, is not acceptable."""

    status = 400


class BoxRefused(RegistrarRefused):
    """The box is revoked, unknown, or its name or a camera is another's."""
