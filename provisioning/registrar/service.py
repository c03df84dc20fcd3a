"""The running registrar: HTTPS in the main thread, telling everybody in another."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from provisioning.registrar.api import make_app
from provisioning.registrar.config import RegistrarConfig
from provisioning.registrar.keys import open_keys
from provisioning.registrar.publish import Publisher
from provisioning.registrar.registrar import Registrar
from runtime.serving import Interface, serve_until_stopped

if TYPE_CHECKING:
    from runtime.metrics import Metrics


def run(config: RegistrarConfig, passphrase: bytes) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        OperationError: it cannot start as configured.
    """
    with closing(Registrar(config, open_keys(config, passphrase))) as registrar:
        publisher = Publisher(registrar)
        return serve_until_stopped(
            Interface(make_app(registrar), config.http, config.tls, clients_may_be_unknown=True),
            site=config.site,
            name=config.name,
            what=f"registrar for site {config.site}",
            threads={"publish": publisher.run},
            databases=[config.database],
            on_reload=registrar.trust.reload,
            metrics=_metrics(registrar, publisher) if config.metrics.listen else None,
        )


def _metrics(registrar: Registrar, publisher: Publisher) -> Metrics:
    # Not loaded where nobody asks.
    from provisioning.registrar.metrics import metrics_of  # noqa: PLC0415

    return metrics_of(registrar, publisher)
