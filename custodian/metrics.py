"""What a custodian tells monitoring: keys, clock, whom it believes. Nothing of what was asked."""

from __future__ import annotations

from custodian.custodian import Custodian
from protocol.names import EPOCH_MS
from runtime.metrics import SITE, Family, Figures, Metrics, Subject, of_site

FAMILIES = (
    *SITE,
    Family("sealtrace_custodian_day_keys", "Private day keys that are held."),
    Family(
        "sealtrace_custodian_day_keys_end_timestamp_seconds",
        "Until when boxes can seal to us without asking, in seconds since 1970.",
    ),
    Family(
        "sealtrace_custodian_keys_destined",
        "Day keys whose destruction is due within a day of running.",
    ),
    Family(
        "sealtrace_custodian_clock_in_doubt",
        "1: the clock has leapt ahead, and no key is destroyed by it until it is confirmed.",
    ),
    Family(
        "sealtrace_custodian_time_seconds", "The time by which it judges, in seconds since 1970."
    ),
    Family("sealtrace_custodian_withdrawals", "Withdrawals that are kept."),
)


def metrics_of(custodian: Custodian) -> Metrics:
    """Return the metrics of a running custodian."""
    config, trust = custodian.config, custodian.trust

    def own(figures: Figures) -> None:
        held = custodian.ring.epochs()
        figures.put("sealtrace_custodian_day_keys", len(held))
        if held:
            ends_s = (held[-1] + 1) * EPOCH_MS / 1000
            figures.put("sealtrace_custodian_day_keys_end_timestamp_seconds", ends_s)
        figures.put("sealtrace_custodian_keys_destined", len(custodian.rounds.waiting))
        figures.put("sealtrace_custodian_clock_in_doubt", custodian.clock.in_doubt)
        figures.put("sealtrace_custodian_time_seconds", custodian.clock.now_ms() / 1000)
        figures.put("sealtrace_custodian_withdrawals", custodian.store.count_withdrawals())

    return Metrics(
        config.metrics,
        Subject("custodian", config.state_dir, custodian.databases, {"http": config.tls}),
        families=FAMILIES,
        sources={
            "site": of_site(
                lambda: trust.directory,
                admissions=lambda: trust.site.admissions_version,
                policy=lambda: trust.site.policy,
                log_size=lambda: custodian.log.size,
            ),
            "custodian": own,
        },
    )
