"""What goes wrong with releases: one family for the repository, one for a box that updates."""

from __future__ import annotations

from typing import ClassVar, Literal

from runtime.errors import OperationError

Result = Literal[
    "never",
    "current",
    "updated",
    "held-back",
    "rolled-back",
    "unhealthy",
    "unreachable",
    "frozen",
    "rollback-refused",
    "forged",
    "unusable",
    "clock",
    "failed",
]
"""What can come of a look for releases."""


class ReleaseError(OperationError):
    """The release repository is not as it should be, or what is asked of it cannot be done."""


class UpdateError(OperationError):
    """A box could not look for, fetch or install a release. Nothing that runs was changed."""

    code: ClassVar[Result] = "failed"
    """What the state file calls it (`provisioning.box.updates.state.Report`)."""


class MirrorUnreachable(UpdateError):
    """The repository could not be read: network, server, or it broke off."""

    code = "unreachable"


class ReleasesFrozen(UpdateError):
    """What the mirror offers has expired: it is cut off from headquarters, or withholds."""

    code = "frozen"


class ReleaseRollback(UpdateError):
    """The mirror offers something older than what this box has seen."""

    code = "rollback-refused"


class ReleaseForged(UpdateError):
    """Signatures, hashes or lengths do not hold, or parts of different releases were mixed."""

    code = "forged"


class ReleaseUnusable(UpdateError):
    """Rightly signed, but not something that this box can install."""

    code = "unusable"


class ClockWentBack(UpdateError):
    """This box's clock is behind an earlier update, so nothing it says of expiry can be used."""

    code = "clock"
