"""The running custodian.

Threads: the main one serves HTTP (requests run in its pool), ``rounds`` makes and destroys day
keys; and those of every role (`runtime.serving`).
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from custodian.api import make_app
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from runtime.serving import Interface, serve_until_stopped

if TYPE_CHECKING:
    from runtime.metrics import Metrics


def run(config: CustodianConfig, passphrase: bytes) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        OperationError: it cannot start as configured.
    """
    with closing(Custodian(config, passphrase)) as custodian:
        return serve_until_stopped(
            Interface(
                make_app(custodian), config.http, config.tls, config.limits.max_request_bytes
            ),
            site=config.site,
            name=config.name,
            what=f"custodian {config.name}",
            threads={"rounds": custodian.keep_going_round},
            databases=custodian.databases,
            on_reload=custodian.reload,
            metrics=_metrics(custodian) if config.metrics.listen else None,
        )


def _metrics(custodian: Custodian) -> Metrics:
    from custodian.metrics import metrics_of  # noqa: PLC0415 - not loaded where nobody asks

    return metrics_of(custodian)
