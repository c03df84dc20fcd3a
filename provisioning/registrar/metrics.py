"""What the registrar tells monitoring: how many boxes, and who has not been told of them yet."""

from __future__ import annotations

from provisioning.registrar.publish import Publisher
from provisioning.registrar.registrar import Registrar
from runtime.certificates import end_of
from runtime.metrics import SITE, Family, Figures, Metrics, Subject, of_site

FAMILIES = (
    *SITE,
    Family("sealtrace_registrar_boxes", "Boxes that were announced here."),
    Family("sealtrace_registrar_boxes_waiting", "Boxes whose claim is open: they have not come."),
    Family("sealtrace_registrar_boxes_revoked", "Boxes that were revoked here."),
    Family(
        "sealtrace_registrar_untold",
        "Services and brokers that could not be told the newest admissions; tried again.",
    ),
    Family(
        "sealtrace_registrar_ca_end_timestamp_seconds",
        "When the certificate of the boxes' CA ends, in seconds since 1970.",
    ),
)


def metrics_of(registrar: Registrar, publisher: Publisher) -> Metrics:
    """Return the metrics of a running registrar."""
    config, trust = registrar.config, registrar.trust

    def own(figures: Figures) -> None:
        told = registrar.counts()
        figures.put("sealtrace_registrar_boxes", told["boxes"])
        figures.put("sealtrace_registrar_boxes_waiting", told["waiting"])
        figures.put("sealtrace_registrar_boxes_revoked", told["revoked"])
        figures.put("sealtrace_registrar_untold", publisher.untold)
        ends = end_of(config.ca_files.certificate)
        figures.put("sealtrace_registrar_ca_end_timestamp_seconds", ends.timestamp())

    return Metrics(
        config.metrics,
        Subject("registrar", config.state_dir, (config.database,), {"http": config.tls}),
        families=FAMILIES,
        sources={
            "site": of_site(lambda: trust.directory, admissions=lambda: trust.admissions_version),
            "registrar": own,
        },
    )
