"""The root of the failures a person can act on: commands print one clear line for each."""

from __future__ import annotations

from protocol.errors import ProtocolError


class OperationError(Exception):
    """Something outside the program is not as it should be: a file, a setting, a disk, a peer.

    The message is the whole story for its reader: what happened, to what, and what to do next.
    Commands print it as ``error: <message>`` and exit with ``exit_code``; services log it and stop.
    """

    exit_code = 1


def explained(error: Exception) -> str:
    """Return an error as a reason to log: our own say it all, others are named as well."""
    if isinstance(error, OperationError | ProtocolError):
        return str(error)
    return f"{type(error).__name__}: {error}"
