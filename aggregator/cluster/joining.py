"""Join a cluster where the configuration names one; without one nothing of Dask is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from aggregator.config import ClusterSection
from aggregator.matching.workers import Workers
from runtime.calibration import Calibration
from runtime.errors import OperationError


class DaskMissing(OperationError):
    """What a cluster needs is not installed on this machine."""


def require_dask() -> None:
    """Check that what carries a cluster's portions is installed: it is not where nobody needs it.

    Raises:
        DaskMissing: it is not.
    """
    if find_spec("distributed") is None:
        raise DaskMissing(
            "matching on a cluster needs the package distributed, which is not installed: install"
            " sealtrace[cluster], or leave [cluster] scheduler empty"
        )


def workers_of(cluster: ClusterSection, calibrations: Mapping[str, Calibration]) -> Workers | None:
    """Return the workers of a cluster; None where there is none: this machine matches itself.

    Raises:
        DaskMissing: what it needs is not installed.
        TlsError, ConfigError: our certificate of the cluster cannot be used.
    """
    if not cluster.scheduler:
        return None
    require_dask()
    from aggregator.cluster.workers import DaskWorkers  # noqa: PLC0415

    return DaskWorkers(cluster, calibrations=calibrations)
