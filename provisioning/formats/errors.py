"""Why a box is not let in, each with the HTTP status and the name that the box is told."""

from __future__ import annotations

from runtime.errors import OperationError


class EnrolmentError(OperationError):
    """The enrolment service cannot do what was asked."""


class EnrolmentRefused(EnrolmentError):
    """A request to enrol, renew or be configured is refused."""

    status = 403


class ClaimUnknown(EnrolmentRefused):
    """The claim is not one of this site, or not this box's."""

    status = 401


class ClaimExpired(EnrolmentRefused):
    """The box came too late with its claim."""

    status = 401


class ClaimUsed(EnrolmentRefused):
    """A box has enrolled with this claim already."""

    status = 401


class RequestInvalid(EnrolmentRefused):
    """The certificate request, or the proof of the box's identity, is not acceptable."""

    status = 400


class BoxRefused(EnrolmentRefused):
    """The box is revoked, unknown, or its name or a camera is another's."""
