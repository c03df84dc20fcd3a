"""What keeps a custodian from starting or from doing its rounds."""

from __future__ import annotations

from runtime.errors import OperationError
from runtime.trust import TrustError as _TrustError


class CustodianError(OperationError):
    """Base of what an operator of a custodian can act on."""


class TrustError(CustodianError, _TrustError):
    """Directory or policy cannot be believed, or do not know this custodian as it is."""


class KeyStoreError(CustodianError):
    """The day keys cannot be read: another custodian's, damaged, or of a newer version."""


class GrantFailed(CustodianError):
    """A grant request could not be judged because of a fault here; nothing left."""
