"""Ten officers at ten desks, one in a real browser, while 300 envelopes a second come in.

Run: `python -m benchmarks desk [--quick]`. Everything is on this one machine: broker, three
custodians, the aggregator, ten desks, the officers' browser and the boxes. In a real site only the
aggregator, and perhaps the broker, share one; each desk is on its officer's.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.cpu_time import cpu_seconds
from benchmarks.desk_clients import Clicking, Page, PageFailed, Timed, browsing
from benchmarks.desk_site import OFFICERS, SERVERS, Boxes, DeskSite
from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from demo.ports import free_ports
from demo.processes import Service, sealtrace

RATE = 300
LIMIT_MS = 200.0
THINK_S = (1.0, 3.0)
IN_A_BROWSER = "ana"
_ANSWERED, _WAITING, _READY_S, _SPARE_S = 24, 8, 120.0, 20.0


@dataclass(frozen=True, slots=True)
class Filed:
    """What there is to look at: ids of queries that were answered by requester, and of others."""

    answered: Mapping[str, Sequence[str]]
    waiting: Sequence[str]


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` looks on for a third of the time.

    Raises:
        PageFailed: an officer could not work.
        TimeoutError: the site does not get ready.
    """
    quiet_logs()
    seconds = 15.0 if quick else 45.0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        site = DeskSite(Path(folder))
        stack.callback(site.close)
        site.local.start(*SERVERS)
        cameras = site.cameras()
        site.show_people(cameras)
        filed = _file(site)
        boxes = Boxes(site, cameras, rate=RATE, seconds=seconds + _SPARE_S)
        send = stack.enter_context(boxes.sending())
        desks = _start_desks(site)
        started_s = [cpu_seconds(_group(site.local.services[f"desk-{name}"])) for name in OFFICERS]
        clicks: dict[str, Clicking] = {}
        for number, (name, origin) in enumerate(desks.items()):
            one = Clicking(origin, (), THINK_S, seed=number)
            stack.callback(one.close)
            one.enter(_start_address(site, name))
            one.pages = _pages(one, name, filed)
            for page in one.pages:
                one.look(page)  # the first time opens and verifies what is kept afterwards
            clicks[name] = one
        browser = Clicking(desks[IN_A_BROWSER], clicks[IN_A_BROWSER].pages, THINK_S, seed=99)
        stack.callback(browser.close)
        found = _measure(site, clicks, browser, send, seconds)
        return [
            *found,
            Figure("CPU time of a desk until it is ready", median(started_s), "s"),
        ]


def _file(site: DeskSite) -> Filed:
    """File queries, and have most of them answered."""
    investigators = [name for name, duties in OFFICERS.items() if "investigator" in duties]
    answered: dict[str, list[str]] = {name: [] for name in investigators}
    waiting = []
    for number in range(_ANSWERED + _WAITING):
        requester = investigators[number % len(investigators)]
        query, digest = site.file(requester, number)
        if number < _ANSWERED:
            site.approve(query, digest, ("bo", "cy"))
            answered[requester].append(query.query_id.hex())
        else:
            waiting.append(query.query_id.hex())
    site.wait_answered([one for ids in answered.values() for one in ids])
    return Filed(answered, waiting)


def _start_desks(site: DeskSite) -> dict[str, str]:
    """Start every officer's desk; return their origins."""
    ports = dict(zip(OFFICERS, free_ports(len(OFFICERS)), strict=True))
    for name, port in ports.items():
        officer = site.local.officer(name)
        desk = sealtrace("desk", "--officer", str(officer), "--port", str(port), "--no-browser")
        service = Service(
            f"desk-{name}",
            desk,
            officer.parent,
            site.local.folder / "logs" / f"desk-{name}.log",
            site.local.environment,
            port=port,
        )
        site.local.services[service.name] = service
        service.start()
    for name in ports:
        site.local.services[f"desk-{name}"].wait_ready(_READY_S)
    return {name: f"http://localhost:{port}" for name, port in ports.items()}


def _start_address(site: DeskSite, name: str) -> str:
    """Return the address that a desk printed."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if address := _address_in(site.local.services[f"desk-{name}"].output()):
            return address
        time.sleep(0.05)
    raise TimeoutError(f"the desk of {name} says no address")


def _address_in(said: str) -> str:
    """Return the start address that a desk printed last; empty if it printed none."""
    found = [word for word in said.split() if word.startswith("http://localhost:")]
    return found[-1] if found else ""


def _pages(desk: Clicking, name: str, filed: Filed) -> list[Page]:
    """Return what an officer goes through."""
    mine = [*filed.answered.get(name, ()), *filed.answered["ana"]]
    first, second = (f"/queries/{one}" for one in mine[:2])
    pages = [Page("tasks", "/"), Page("list of queries", "/queries")]
    (duty,) = OFFICERS[name]
    if duty == "investigator":
        draft = desk.location("/drafts", {"chosen": "1", "case": ""}).removesuffix("/who")
        cameras = {"cameras": "cam-1", "from_date": "", "to_date": ""}
        return [
            *pages,
            Page("one query", first),
            Page("candidates", desk.leads_to(f"{first}/candidates")),
            Page("trace", f"{first}/trace"),
            Page("contacts", f"{second}/contacts"),
            Page("draft: where", f"{draft}/where"),
            Page("draft: the cost beside it", f"{draft}/where/cost", cameras),
        ]
    if duty == "approver":
        waiting = f"/queries/{filed.waiting[0]}"
        return [*pages, Page("decide", f"{waiting}/decide"), Page("one query", first)]
    desk.fetch_logs()
    return [
        *pages,
        Page("audit", "/audit"),
        Page("audit: counts", "/audit/counts"),
        Page("audit: one query", f"/audit{first}"),
        Page("boxes", "/fleet"),
    ]


def _measure(
    site: DeskSite, clicks: Mapping[str, Clicking], browser: Clicking, send: Callable[[], None],
    seconds: float,
) -> list[Figure]:  # fmt: skip
    stop = threading.Event()
    threads = [threading.Thread(target=one.run, args=(stop,)) for one in clicks.values()]
    address = _address_in(site.local.run(IN_A_BROWSER, "desk", "--no-browser"))
    with browsing(address, browser, stop):
        send()
        for thread in threads:
            thread.start()
        before, stored = _used(site), _stored(site)
        begin = time.monotonic()
        stop.wait(seconds)
        elapsed_s = time.monotonic() - begin
        after, came = _used(site), _stored(site) - stored
        stop.set()
        for thread in threads:
            thread.join()
    for one in (*clicks.values(), browser):
        if one.failure is not None:
            raise one.failure
    timed = [each for one in (*clicks.values(), browser) for each in one.timed]
    used = {name: (after[name] - before[name]) / elapsed_s for name in after}
    return [
        Figure(
            "envelopes stored",
            came / elapsed_s,
            "a second",
            f"{RATE} sent",
            came / elapsed_s / RATE,
        ),
        *_figures(timed),
        *(Figure(f"CPU of {name}", share, "cores") for name, share in used.items()),
    ]


def _figures(timed: Sequence[Timed]) -> list[Figure]:
    """Return percentiles of all interactions, and by kind of page."""
    server = [one.server_ms for one in timed]
    whole = [one.whole_ms for one in timed if not one.kind.endswith("Chromium")]
    p95 = percentile(server, 95)
    figures = [
        Figure("interactions", len(timed), ""),
        Figure("in the desk, median", percentile(server, 50), "ms"),
        Figure(
            "in the desk, 95th percentile", p95, "ms", f"{LIMIT_MS:g} ms allowed", p95 / LIMIT_MS
        ),
        Figure("in the desk, longest", max(server), "ms"),
        Figure("as HTTP clients see it, 95th percentile", percentile(whole, 95), "ms"),
    ]
    for kind in sorted({one.kind for one in timed}):
        took = [one.server_ms for one in timed if one.kind == kind]
        figures.append(
            Figure(f"{kind}: 95th percentile of {len(took)}", percentile(took, 95), "ms")
        )
    return figures


def percentile(values: Sequence[float], of_100: int) -> float:
    """Return the least of ``values`` that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * of_100 // 100) - 1)]


def _used(site: DeskSite) -> dict[str, float]:
    """Return the CPU seconds so far by what runs; the desks' together."""
    used = {name: cpu_seconds(_group(site.local.services[name])) for name in SERVERS}
    desks = [cpu_seconds(_group(site.local.services[f"desk-{name}"])) for name in OFFICERS]
    return {**used, f"{len(desks)} desks": sum(desks)}


def _group(service: Service) -> int:
    if service.process is None:
        raise PageFailed(f"{service.name} was not started")
    return service.process.pid


def _stored(site: DeskSite) -> int:
    """Return how many envelopes the aggregator has stored."""
    path = site.local.paths.root / "aggregator" / "state" / "aggregator.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        (count,) = database.execute("SELECT count(*) FROM sequences WHERE outcome = 1").fetchone()
    return int(count)


if __name__ == "__main__":
    print_figures("Ten officers", run("--quick" in sys.argv))
