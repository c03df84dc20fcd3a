"""What the running service tells monitoring, where it is asked to: does it, and what is in it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

from runtime.doctor.findings import Findings
from runtime.http import PeerUnreachable, client
from runtime.metrics_config import MetricsConfig

_WITHIN_S = 5.0
_MAX_ANSWER = 4 << 20
_STEPS, _FAILED = "sealtrace_clock_steps_total", "sealtrace_source_failed"


def look_at_metrics(found: Findings, config: MetricsConfig) -> None:
    """Ask the service's own metrics, if the configuration has them told.

    They know of steps of the clock since the service's start, which nothing else remembers.
    """
    if not config.listen or not found.network:
        return
    with found.looking("metrics"):
        try:
            with client(
                f"http://{config.listen}", None, _WITHIN_S, max_answer_bytes=_MAX_ANSWER
            ) as http:
                answer = http.get("/metrics")
        except PeerUnreachable as error:
            found.warn(
                "metrics",
                f"not told at {config.listen}: {error}",
                "the service's log: metrics_not_served says why, once it runs",
            )
            return
        samples = list(_samples(answer))
        failed = sorted(
            labels.get("source", "?")[:40]
            for name, labels, value in samples
            if name == _FAILED and value
        )
        steps = sum(value for name, _, value in samples if name == _STEPS)
        if failed:
            found.warn(
                "metrics",
                f"parts could not be read: {', '.join(failed)}",
                "the service's log: metrics_incomplete says why",
            )
        elif not samples:
            found.warn("metrics", f"{config.listen} answers, and not as a service of this site", "")
        else:
            found.well("metrics", f"told at {config.listen}")
        if steps:
            found.warn(
                "clock",
                f"was set {steps:.0f} times since the service's start",
                "look at what steers it: timedatectl; chronyc tracking",
            )


def _samples(answer: httpx.Response) -> Iterator[tuple[str, dict[str, str], float]]:
    """Return name, labels and value of what is told; nothing of an answer of another form."""
    if answer.status_code != httpx.codes.OK:
        return
    try:
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                yield sample.name, dict(sample.labels), float(sample.value)
    except (ValueError, KeyError, IndexError):
        return
