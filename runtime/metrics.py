"""Tell Prometheus how a service is: what is counted anyway, read when somebody asks.

Thread: ``metrics`` answers ``GET /metrics`` on loopback, if ``[metrics] listen`` is set. It alone
is held up by a slow reader or a slow source; when its port is taken the service goes on without.

Counts and times only. No label ever carries what somebody asked, found or saw: `Family` names all
labels, and what may stand in them is in docs/decisions/0050-a-doctor-and-metrics.md.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocol.directory import Directory
from protocol.policy import Policy
from runtime.certificates import end_of
from runtime.clocksteps import StepWatch, read_moment
from runtime.config import HttpConfig, TlsConfig
from runtime.errors import OperationError, explained
from runtime.lifecycle import Stop
from runtime.metrics_config import MetricsConfig, parse_listen

PATH = "/metrics"
_AT_MOST_EVERY_S = 1.0
"""Who asks more often gets the same answer again: nobody makes a service count all day."""
_LIMITS = HttpConfig(
    max_connections=8, max_strangers_per_address=8, handshake_s=5, request_s=5, max_requests=4
)
_AGAIN_S = 60.0
_MOST_ROUTES = 200
_DISK_STEP = 64 << 20
"""Steps in which free bytes are told, as in health reports: what is kept rises with who passes."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, what it means, its labels; a counter's name ends in ``_total``."""

    name: str
    about: str
    labels: tuple[str, ...] = ()

    def new(self) -> CounterMetricFamily | GaugeMetricFamily:
        """Return it without a value."""
        if self.name.endswith("_total"):
            return CounterMetricFamily(self.name, self.about, labels=self.labels)
        return GaugeMetricFamily(self.name, self.about, labels=self.labels)


COMMON = (
    Family("sealtrace_build_info", "Always 1; role and version.", ("role", "version")),
    Family("sealtrace_threads", "Threads of the process."),
    Family("sealtrace_clock_steps_total", "How often the machine's clock was set, as asked for."),
    Family("sealtrace_disk_free_bytes", "Free bytes on the disk of the state folder."),
    Family("sealtrace_disk_size_bytes", "Size of that disk in bytes."),
    Family("sealtrace_database_bytes", "Size of a database file.", ("database",)),
    Family(
        "sealtrace_certificate_end_timestamp_seconds",
        "When a certificate of this process ends, in seconds since 1970.",
        ("certificate",),
    ),
    Family(
        "sealtrace_http_answers_total",
        "Requests answered, by route (its pattern, never its values) and status.",
        ("route", "status"),
    ),
    Family(
        "sealtrace_source_failed",
        "1 if this part of the metrics could not be read and is missing.",
        ("source",),
    ),
)
SITE = (
    Family("sealtrace_directory_version", "Version of the directory in force here."),
    Family("sealtrace_admissions_version", "Version of the registrar's admissions in force here."),
    Family("sealtrace_policy_version", "Version of the policy in force here."),
    Family(
        "sealtrace_programme_end_timestamp_seconds",
        "When the programme ends by the policy in force, in seconds since 1970.",
    ),
    Family("sealtrace_custodians", "Custodians in force by the directory."),
    Family("sealtrace_custodians_needed", "Custodians that must agree."),
    Family("sealtrace_log_entries_total", "Entries of this role's audit log."),
)
"""What roles that keep to the directory tell as well, each as far as it has it."""


class Figures:
    """The values of one answer; only what a service has declared can be put in."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = {one.name: (one, one.new()) for one in families}
        self._filled: set[str] = set()

    def put(self, name: str, value: float, *labels: str) -> None:
        """Add a value.

        Raises:
            KeyError: nobody declared the name.
        """
        _, family = self._families[name]
        family.add_metric(labels, float(value))
        self._filled.add(name)

    def metrics(self) -> Iterator[Metric]:
        """Return what was put in, in the order of declaration."""
        return (family for name, (_, family) in self._families.items() if name in self._filled)


Source = Callable[[Figures], None]
"""Puts in the figures of one part. It reads what is counted already, and may raise."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What every process tells of itself.

    Args:
        role: stands in ``sealtrace_build_info``.
        state_dir: whose disk is looked at; None: none.
        databases: files whose size is told, by their names.
        certificates: which use to which TLS files; those without certificates are left out.
        costs: whether processor time and memory are told. Not on a board, where both rise with
            who passes.
    """

    role: str
    state_dir: Path | None = None
    databases: Sequence[Path] = ()
    certificates: Mapping[str, TlsConfig | None] | None = None
    costs: bool = True


def of_site(
    directory: Callable[[], Directory],
    *,
    admissions: Callable[[], int],
    policy: Callable[[], Policy] | None = None,
    log_size: Callable[[], int] | None = None,
) -> Source:
    """Return the source of `SITE`: whom a role believes, and how long its log is."""

    def put(figures: Figures) -> None:
        listed = directory()
        figures.put("sealtrace_directory_version", listed.version)
        figures.put("sealtrace_admissions_version", admissions())
        figures.put("sealtrace_custodians", len(listed.custodians()))
        figures.put("sealtrace_custodians_needed", listed.threshold)
        if policy is not None:
            figures.put("sealtrace_policy_version", policy().version)
            ends_s = policy().programme_ends_ms / 1000
            figures.put("sealtrace_programme_end_timestamp_seconds", ends_s)
        if log_size is not None:
            figures.put("sealtrace_log_entries_total", log_size())

    return put


class Metrics(Collector):
    """A process's metrics.

    Args:
        config: where they are told.
        subject: the process.
        families: what ``sources`` put in.
        sources: by name, each a part; one that fails leaves out its part alone.
    """

    def __init__(
        self,
        config: MetricsConfig,
        subject: Subject,
        *,
        families: Iterable[Family] = (),
        sources: Mapping[str, Source] | None = None,
    ) -> None:
        self._listen = config.listen
        self._subject = subject
        self._families = (*COMMON, *families)
        self._sources: dict[str, Source] = {"process": self._of_process, **(sources or {})}
        self._answers: Counter[tuple[str, str]] = Counter()
        self._steps = StepWatch()
        self._steps.step_ms(read_moment())
        self._failing: dict[str, str] = {}
        self._counting = threading.Lock()  # never held while a source is read
        self._asking = threading.Lock()
        self._text, self._text_s = b"", 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        if subject.costs:
            ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def counted(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` with its answers counted."""

        async def count(scope: Scope, receive: Receive, send: Send) -> None:
            status = "none"

            async def note(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = str(message["status"])
                await send(message)

            try:
                await app(scope, receive, note)
            finally:
                if scope["type"] == "http":
                    self._note(getattr(scope.get("route"), "path", "other"), status)

        return count

    def run(self, stop: Stop) -> None:
        """Answer until ``stop``; the body of the thread ``metrics``. It raises nothing."""
        # Imported here: FastAPI comes with it, and a board without metrics is spared that.
        from runtime.http import serve  # noqa: PLC0415

        host, port = parse_listen(self._listen)
        said = ""
        while not stop.is_set():
            try:
                serve(self._answer, host, port, None, stop, limits=_LIMITS)
            except Exception as error:  # monitoring never ends what is monitored
                if said != (said := explained(error)):
                    _log.error("metrics_not_served", listen=self._listen, reason=said)
                stop.wait(_AGAIN_S)

    def text(self) -> bytes:
        """Return the answer, at most a second old."""
        with self._asking:
            now_s = time.monotonic()
            if not self._text or now_s - self._text_s >= _AT_MOST_EVERY_S:
                self._text, self._text_s = generate_latest(self._registry), now_s
            return self._text

    def collect(self) -> Iterator[Metric]:
        """Return the figures of all sources (prometheus_client's interface)."""
        figures = Figures(self._families)
        for name, source in self._sources.items():
            failed = False
            try:
                source(figures)
            except Exception as error:  # the other sources are told all the same
                failed = True
                reason = explained(error)
                if self._failing.get(name) != reason:
                    self._failing[name] = reason
                    _log.warning("metrics_incomplete", source=name, reason=reason)
            if not failed:
                self._failing.pop(name, None)
            figures.put("sealtrace_source_failed", failed, name)
        return figures.metrics()

    # ------------------------------------------------------------------ inside

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the one path, to who asked for this machine by a name of its own.

        A page in a browser here, whose name has been turned to this address, asks by that name.
        """
        if scope["type"] != "http":
            return
        status, kind, body = 404, "text/plain; charset=utf-8", f"only {PATH} is here\n".encode()
        if not _is_ours(scope):
            status, body = 403, b"ask by an address of loopback\n"
        elif scope["method"] not in {"GET", "HEAD"}:
            status, body = 405, b"GET it\n"
        elif scope["path"] == PATH:
            status, kind, body = 200, CONTENT_TYPE_LATEST, self.text()
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": body})

    def _note(self, route: str, status: str) -> None:
        with self._counting:
            key = (route, status)
            if key not in self._answers and len(self._answers) >= _MOST_ROUTES:
                key = ("other", "none")
            self._answers[key] += 1

    def _of_process(self, figures: Figures) -> None:
        subject = self._subject
        figures.put("sealtrace_build_info", 1, subject.role, version("sealtrace"))
        figures.put("sealtrace_threads", threading.active_count())
        self._steps.step_ms(read_moment())
        figures.put("sealtrace_clock_steps_total", self._steps.steps)
        with self._counting:
            answers = sorted(self._answers.items())
        for (route, status), count in answers:
            figures.put("sealtrace_http_answers_total", count, route, status)
        for use, tls in (subject.certificates or {}).items():
            if tls is not None and (ends_s := _end_or_none(tls.certificate)) is not None:
                name = "sealtrace_certificate_end_timestamp_seconds"
                figures.put(name, ends_s, use)
        for path in subject.databases:
            if path.exists():
                figures.put("sealtrace_database_bytes", path.stat().st_size, path.name)
        if subject.state_dir is not None:
            usage = shutil.disk_usage(subject.state_dir)
            free = usage.free // _DISK_STEP * _DISK_STEP
            figures.put("sealtrace_disk_free_bytes", free)
            figures.put("sealtrace_disk_size_bytes", usage.total)


def _end_or_none(path: Path) -> float | None:
    try:
        return end_of(path).timestamp()
    except OperationError:
        return None


def _is_ours(scope: Scope) -> bool:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return False
    host = hosts[0].decode("latin-1")
    if not host.endswith("]"):
        before, colon, port = host.rpartition(":")
        host = before if colon and port.isdigit() else host
    if host == "localhost":
        return True
    try:
        parse_listen(f"{host}:0")
    except ValueError:
        return False
    return True
