"""What can be wrong with a camera, one class for each thing an installer does about it."""

from __future__ import annotations

from edge_agent.sources import SourceError


class CameraProblem(SourceError):
    """The camera gives no usable video; the message says why and what to do."""


class HostUnknown(CameraProblem):
    """The address's host name resolves to nothing."""


class CameraRefused(CameraProblem):
    """A machine is there, but nothing listens on that port, or the network forbids it."""


class CameraTimeout(CameraProblem):
    """Nothing answered in time."""


class NotRtsp(CameraProblem):
    """Something answered that does not speak RTSP."""


class PasswordNeeded(CameraProblem):
    """The camera wants a user and a password, and the address has none."""


class WrongPassword(CameraProblem):
    """The camera does not take the user or password given."""


class WrongPath(CameraProblem):
    """The camera is right, the path behind it is not."""


class NoVideo(CameraProblem):
    """The camera answers, but no picture came."""
