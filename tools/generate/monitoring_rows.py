"""What the dashboard of `tools.generate.monitoring` shows, row by row."""

from __future__ import annotations

from dataclasses import dataclass

_JOB = 'job=~"$job"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: what it shows, by which expressions, each with its legend."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of pictures under one heading."""

    title: str
    panels: tuple[Panel, ...]


def _of(metric: str, more: str = "") -> str:
    return f"{metric}{{{_JOB}{', ' if more else ''}{more}}}"


def _days_to(metric: str) -> str:
    return f"({_of(metric)} - time()) / 86400"


def rows() -> tuple[Row, ...]:
    """Return the dashboard, row by row."""
    messages = _of("sealtrace_aggregator_messages_total")
    grants = _of("sealtrace_http_answers_total", 'route=~"/v1/(grants|rows)"')
    failed = _of("sealtrace_http_answers_total", 'status=~"5.."')
    return (
        Row(
            "The site",
            (
                Panel(
                    "Processes that tell",
                    (
                        (
                            f"count by (role, version) ({_of('sealtrace_build_info')})",
                            "{{role}} {{version}}",
                        ),
                    ),
                    kind="stat",
                ),
                Panel(
                    "Parts that could not be read",
                    ((f"{_of('sealtrace_source_failed')} > 0", "{{instance}} {{source}}"),),
                    about="Empty while all is well.",
                ),
                Panel(
                    "Directory, admissions and policy in force",
                    (
                        (_of("sealtrace_directory_version"), "directory {{instance}}"),
                        (_of("sealtrace_admissions_version"), "admissions {{instance}}"),
                        (_of("sealtrace_policy_version"), "policy {{instance}}"),
                    ),
                    about="One line each, where everybody has the same.",
                ),
                Panel(
                    "Days left of certificates and of the programme",
                    (
                        (
                            _days_to("sealtrace_certificate_end_timestamp_seconds"),
                            "{{instance}} {{certificate}}",
                        ),
                        (_days_to("sealtrace_registrar_ca_end_timestamp_seconds"), "boxes' CA"),
                        (
                            f"min({_days_to('sealtrace_programme_end_timestamp_seconds')})",
                            "programme",
                        ),
                    ),
                ),
                Panel(
                    "Free on disks",
                    (
                        (
                            f"{_of('sealtrace_disk_free_bytes')} / "
                            f"{_of('sealtrace_disk_size_bytes')}",
                            "{{instance}}",
                        ),
                    ),
                    unit="percentunit",
                ),
                Panel(
                    "Steps of clocks in an hour",
                    ((f"increase({_of('sealtrace_clock_steps_total')}[1h])", "{{instance}}"),),
                ),
            ),
        ),
        Row(
            "Intake",
            (
                Panel(
                    "Messages by what became of them",
                    ((f"sum by (outcome) (rate({messages}[5m]))", "{{outcome}}"),),
                    unit="cps",
                ),
                Panel(
                    "Since something was stored",
                    (
                        (
                            f"time() - {_of('sealtrace_aggregator_stored_timestamp_seconds')}",
                            "{{instance}}",
                        ),
                        (_of("sealtrace_aggregator_storing_fails"), "storing fails {{instance}}"),
                    ),
                    unit="s",
                ),
                Panel(
                    "Boxes",
                    (
                        (_of("sealtrace_aggregator_boxes"), "{{state}}"),
                        (_of("sealtrace_aggregator_boxes_clock_wrong"), "clock wrong"),
                    ),
                ),
                Panel(
                    "Gaps in what boxes sent", ((_of("sealtrace_aggregator_gaps"), "{{state}}"),)
                ),
                Panel(
                    "Refused, by reason",
                    ((_of("sealtrace_aggregator_rejected"), "{{reason}}"),),
                ),
                Panel(
                    "Quarantine",
                    (
                        (_of("sealtrace_aggregator_quarantined"), "messages"),
                        (_of("sealtrace_aggregator_quarantine_bytes"), "bytes"),
                    ),
                ),
                Panel(
                    "Brokers",
                    (
                        (
                            _of("sealtrace_aggregator_brokers_connected"),
                            "connected {{instance}}",
                        ),
                        (_of("sealtrace_aggregator_brokers"), "configured {{instance}}"),
                    ),
                ),
                Panel(
                    "Partitions of boxes by process",
                    ((_of("sealtrace_aggregator_partitions"), "{{instance}}"),),
                    about="Where the aggregator is several processes.",
                ),
            ),
        ),
        Row(
            "Queries and matching",
            (
                Panel(
                    "Queries that have not ended",
                    ((_of("sealtrace_aggregator_queries"), "{{state}}"),),
                ),
                Panel(
                    "How long the longest has been in its state",
                    ((_of("sealtrace_aggregator_query_waits_seconds"), "{{state}}"),),
                    unit="s",
                ),
                Panel(
                    "Match workers",
                    (
                        (_of("sealtrace_scheduler_workers"), "at the scheduler"),
                        (f"sum({_of('sealtrace_worker_joined')})", "that say they are"),
                        (_of("sealtrace_scheduler_portions"), "portions under way"),
                        (_of("sealtrace_aggregator_matching_waits"), "matching waits"),
                    ),
                ),
                Panel(
                    "Portions by what became of them",
                    (
                        (
                            "sum by (outcome) "
                            f"(rate({_of('sealtrace_worker_portions_total')}[5m]))",
                            "{{outcome}}",
                        ),
                    ),
                    unit="cps",
                ),
                Panel(
                    "False grants",
                    ((_of("sealtrace_aggregator_false_grants"), "of any custodian"),),
                ),
            ),
        ),
        Row(
            "Custodians",
            (
                Panel(
                    "Days for which boxes can seal without asking",
                    (
                        (
                            _days_to("sealtrace_custodian_day_keys_end_timestamp_seconds"),
                            "{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Clock in doubt; keys about to be destroyed",
                    (
                        (_of("sealtrace_custodian_clock_in_doubt"), "in doubt {{instance}}"),
                        (_of("sealtrace_custodian_keys_destined"), "destined {{instance}}"),
                    ),
                ),
                Panel(
                    "Its time against Prometheus' own",
                    ((f"{_of('sealtrace_custodian_time_seconds')} - time()", "{{instance}}"),),
                    unit="s",
                    about="A scrape old at most; many seconds are a clock that is off.",
                ),
                Panel(
                    "Grants and rows, by answer",
                    ((f"sum by (route, status) (rate({grants}[5m]))", "{{route}} {{status}}"),),
                    unit="reqps",
                ),
                Panel(
                    "Day keys and withdrawals kept",
                    (
                        (_of("sealtrace_custodian_day_keys"), "day keys {{instance}}"),
                        (_of("sealtrace_custodian_withdrawals"), "withdrawals {{instance}}"),
                    ),
                ),
                Panel(
                    "Custodians in force, and needed",
                    (
                        (f"min({_of('sealtrace_custodians')})", "in force"),
                        (f"max({_of('sealtrace_custodians_needed')})", "needed"),
                    ),
                ),
            ),
        ),
        Row(
            "Store, logs, registrar",
            (
                Panel(
                    "Databases",
                    ((_of("sealtrace_database_bytes"), "{{instance}} {{database}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Packed segments",
                    ((_of("sealtrace_aggregator_packed_bytes"), "bytes"),),
                    unit="bytes",
                ),
                Panel(
                    "Hours that wait to be packed",
                    ((_of("sealtrace_aggregator_hours_to_pack"), "hours of shards"),),
                ),
                Panel(
                    "Audit logs: entries in an hour; entries that wait",
                    (
                        (
                            f"increase({_of('sealtrace_log_entries_total')}[1h])",
                            "{{instance}}",
                        ),
                        (_of("sealtrace_aggregator_entries_waiting"), "waiting"),
                    ),
                ),
                Panel(
                    "Registrar",
                    (
                        (_of("sealtrace_registrar_boxes"), "boxes"),
                        (_of("sealtrace_registrar_boxes_waiting"), "waited for"),
                        (_of("sealtrace_registrar_boxes_revoked"), "revoked"),
                        (_of("sealtrace_registrar_untold"), "services not told"),
                    ),
                ),
            ),
        ),
        Row(
            "Boxes by name, and boards that are asked themselves",
            (
                Panel(
                    "Since a box was heard",
                    (
                        (
                            f"topk(20, time() - {_of('sealtrace_box_seen_timestamp_seconds')})",
                            "{{box}}",
                        ),
                    ),
                    unit="s",
                    about="Needs [metrics] boxes = true at the aggregator.",
                ),
                Panel(
                    "Boxes: unsent, gaps, troubles",
                    (
                        (f"topk(20, {_of('sealtrace_box_queued')})", "unsent {{box}}"),
                        (f"{_of('sealtrace_box_gaps')} > 0", "gaps {{box}}"),
                        (f"{_of('sealtrace_box_troubles')} > 0", "troubles {{box}}"),
                    ),
                    about="Needs [metrics] boxes = true at the aggregator.",
                ),
                Panel(
                    "Days left of boxes' certificates",
                    (
                        (
                            "bottomk(20, "
                            f"{_days_to('sealtrace_box_certificate_end_timestamp_seconds')})",
                            "{{box}}",
                        ),
                    ),
                    about="Needs [metrics] boxes = true at the aggregator.",
                ),
                Panel(
                    "A board's outbox",
                    (
                        (_of("sealtrace_edge_outbox_messages"), "{{instance}} {{state}}"),
                        (_of("sealtrace_edge_outbox_disk_full"), "{{instance}} disk full"),
                    ),
                ),
                Panel(
                    "A board's cameras: looks a second",
                    ((_of("sealtrace_edge_camera_fps"), "{{instance}} {{camera}}"),),
                ),
                Panel(
                    "A board's cameras: state, troubles",
                    (
                        (_of("sealtrace_edge_camera_state"), "state {{camera}}"),
                        (_of("sealtrace_edge_trouble"), "{{kind}} {{of}}"),
                    ),
                    about="State: 0 failed, 1 no frames, 2 working, 3 ended.",
                ),
            ),
        ),
        Row(
            "Processes",
            (
                Panel(
                    "Cores used",
                    ((f"rate({_of('process_cpu_seconds_total')}[5m])", "{{instance}}"),),
                ),
                Panel(
                    "Memory",
                    ((_of("process_resident_memory_bytes"), "{{instance}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Files and threads",
                    (
                        (_of("process_open_fds"), "files {{instance}}"),
                        (_of("sealtrace_threads"), "threads {{instance}}"),
                    ),
                ),
                Panel(
                    "Answers that failed",
                    (
                        (
                            f"sum by (instance, route, status) (rate({failed}[5m]))",
                            "{{instance}} {{route}} {{status}}",
                        ),
                    ),
                    unit="reqps",
                ),
            ),
        ),
    )
