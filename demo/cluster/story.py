"""The story: films of two hours ago are taken in and traced while a process of each kind is killed.

Everything is as at a site of several machines but for the one machine: the ledger in PostgreSQL,
packed segments in an S3, Mosquitto with certificates, two processes that take in, a scheduler and
two match workers, each under its own certificate.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aggregator.config import AggregatorConfig
from aggregator.store import Store, open_store
from demo.checks import Checks
from demo.clips import compose
from demo.cluster.databases import Bucket, Postgresql
from demo.local_site import CUSTODIANS, OFFICERS, PASSPHRASE, LocalSite, plan_of
from demo.officers import Filed, Officers
from demo.ports import free_ports
from demo.processes import ProcessFailed, run_command, sealtrace
from demo.scenario import ClipTruth, demo_scenario
from protocol.grant import Scope
from protocol.names import EPOCH_MS
from provisioning.authority.processes import add_process
from runtime.config import load

SUBJECT = "patient-17"
INGEST, WORKERS = ("ingest-2", "ingest-3"), ("matcher-1", "matcher-2")
_MAIN = ("api", "queries", "upkeep")
_AGO = timedelta(hours=2)
_PATIENCE_S = 240.0
Tell = Callable[[str], None]


class ClusterStory:
    """One run in ``folder``, which is emptied first.

    Args:
        folder: for the site and its logs.
        bundle: the signed model bundle.
        photos: the photographs that `sealtrace models photos` fetched.
        tell: called with one line as each step begins.
    """

    def __init__(self, folder: Path, bundle: Path, photos: Path, tell: Tell) -> None:
        self._folder, self._bundle, self._photos, self._tell = folder, bundle, photos, tell
        self.checks = Checks()
        self.trace: Any = None
        self._site: LocalSite | None = None
        self._postgresql: Postgresql | None = None
        self._bucket: Bucket | None = None
        self._store: Store | None = None

    def run(self) -> None:
        """Do all of it; processes still run afterwards (see `stop`).

        Raises:
            ProcessFailed: a process or command failed, so that nothing more could be shown.
        """
        truth = self._compose()
        site = self._make_site(truth)
        self._start(site)
        self._take_in(site, truth)
        self._pack()
        self._trace(site, truth)

    def stop(self) -> None:
        """Stop every process."""
        if self._store is not None:
            self._store.close()
        for one in (self._site, self._bucket, self._postgresql):
            if one is not None:
                one.stop()

    # ------------------------------------------------------------------ steps

    def _compose(self) -> list[ClipTruth]:
        self._tell("composing films of photographed faces before three cameras")
        return list(compose(demo_scenario(), self._photos, self._folder.parent / "clips"))

    def _make_site(self, truth: list[ClipTruth]) -> LocalSite:
        self._tell("making a site, with a CA of its own for the machines that match")
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._folder.mkdir(parents=True)
        logs = self._folder / "logs"
        logs.mkdir()
        environment = LocalSite(plan_of({}, bundle=None), self._folder).environment
        self._postgresql = Postgresql(logs / "postgresql.log", environment)
        s3_port, scheduler_port = free_ports(2)
        self._bucket = Bucket(s3_port, self._folder / "s3.toml", logs / "s3.log", environment)
        began = datetime.now(UTC) - _AGO
        cameras = {
            clip.camera: {
                "source": f"file:{clip.path.resolve()}",
                "pace": "fast",
                "recorded_at": began + timedelta(minutes=number),
            }
            for number, clip in enumerate(truth)
        }
        plan = plan_of(
            cameras,
            bundle=self._bundle,
            broker="mosquitto",
            policy={"confirmations": 2},
            officers={**OFFICERS, "dan": ["investigator"]},
            aggregator_settings={
                "store": {"url": self._postgresql.url},
                "objects": self._bucket.settings,
                "matching": {"pool_from_envelopes": 1},
                "limits": {"gap_grace_s": 5},
            },
        )
        self._site = site = LocalSite.create(plan, self._folder)
        for clip in truth:
            box = clip.camera.replace("cam-", "box-")
            self._command("box", "recordings", str(site.paths.root), box, "--camera", clip.camera)
        self._add_processes(site, f"localhost:{scheduler_port}")
        return site

    def _add_processes(self, site: LocalSite, scheduler: str) -> None:
        """Have headquarters be several processes, each under its own certificate."""
        workers = [word for name in WORKERS for word in ("--worker", name)]
        root, folder = site.paths.root, site.paths.aggregator.parent
        self._command("site", "cluster", str(root), "--scheduler", scheduler, *workers)
        chosen = [word for duty in _MAIN for word in ("--duty", duty)]
        serve = sealtrace("aggregator", "serve", "--config", str(site.paths.aggregator), *chosen)
        site.add("aggregator", serve, folder)
        for name, port in zip(INGEST, free_ports(len(INGEST)), strict=True):
            number = int(name.removeprefix("ingest-"))
            add_process(root, number, PASSPHRASE.encode(), duties=["ingest"], port=port)
            config = str(folder / f"aggregator-{number}.toml")
            site.add(name, sealtrace("aggregator", "serve", "--config", config), folder)
        place = site.paths.cluster / "scheduler"
        config = str(place / "scheduler.toml")
        site.add("scheduler", sealtrace("aggregator", "scheduler", "--config", config), place)
        for name in WORKERS:
            place = site.paths.cluster / name
            self._name_store(place / "match-worker.toml")
            config = str(place / "match-worker.toml")
            site.add(name, sealtrace("aggregator", "match-worker", "--config", config), place)

    def _name_store(self, path: Path) -> None:
        """Tell a match worker where the sealed segments are."""
        if self._postgresql is None or self._bucket is None:
            raise ProcessFailed("the databases were never made")
        objects = {k: v for k, v in self._bucket.settings.items() if k != "wait_minutes"}
        lines = [
            "", "[store]", f'url = "{self._postgresql.url}"',
            "[objects]", *(f'{name} = "{value}"' for name, value in objects.items()),
        ]  # fmt: skip
        path.write_text(path.read_text(encoding="utf-8") + "\n".join(lines) + "\n")

    def _start(self, site: LocalSite) -> None:
        self._tell("starting PostgreSQL, an S3, Mosquitto, custodians, and 6 of headquarters")
        if self._postgresql is None or self._bucket is None:
            raise ProcessFailed("the databases were never made")
        self._postgresql.start()
        self._bucket.start()
        site.start("broker", *CUSTODIANS, "scheduler")
        site.start("aggregator", *INGEST, *WORKERS)
        self._store = open_store(load(site.paths.aggregator, AggregatorConfig).store_place)

    def _take_in(self, site: LocalSite, truth: list[ClipTruth]) -> None:
        boxes = [clip.camera.replace("cam-", "box-") for clip in truth]
        self._tell("three boxes seal their films; who takes most of them in is killed meanwhile")
        self._wait(lambda: all(self._taking(site, name) for name in INGEST), "shares of the boxes")
        site.start(*boxes)
        store = self._opened()
        self._wait(lambda: store.ledger.newest_announcement() > 0, "the first announcement")
        victim = max(INGEST, key=lambda name: self._taking(site, name)["boxes"])
        share = self._taking(site, victim)["boxes"]
        self._kill(site, victim)
        self._wait(
            lambda: (
                all(site.services[box].events("source_ended") for box in boxes)
                and self._segments() >= len(truth)
            ),
            "all films sealed and stored",
        )
        self._wait(lambda: not store.ledger.open_gaps(), "nothing missing any more")
        living = [name for name in ("aggregator", *INGEST) if name in site.services]
        gaps = [event for name in living for event in site.services[name].events("gap_reported")]
        self.checks.note(
            "an ingest process killed in the middle: nothing is missing, and no gap was reported",
            not gaps and not store.ledger.open_gaps(),
            f"{victim} had {share} of {len(boxes)} boxes; {self._segments()} segments of "
            f"{len(truth)} cameras, {len(gaps)} gaps reported",
        )

    @staticmethod
    def _taking(site: LocalSite, name: str) -> dict[str, Any]:
        """Return what a process that takes in said last of its share; empty before it has one."""
        said = site.services[name].events("boxes_chosen")
        return dict(said[-1]) if said else {}

    def _pack(self) -> None:
        self._tell("segments of hours that are over are packed into the S3")
        place = load(self._opened_site().paths.aggregator, AggregatorConfig).store_place.objects
        if place is None:
            raise ProcessFailed("packed segments have no place")
        objects = place.open()
        self._wait(lambda: bool(objects.folders()), "packed segments")
        days = ", ".join(objects.folders())
        self.checks.note(
            "segments of hours that are over are packed into the S3", True, f"{place.url}: {days}"
        )

    def _trace(self, site: LocalSite, truth: list[ClipTruth]) -> None:
        self._tell("a query is filed and approved; one of two match workers is killed as it begins")
        officers = Officers(site)
        subject = officers.enrol(SUBJECT, self._photos / demo_scenario().enrolment_photo)
        began = datetime.now(UTC) - _AGO - timedelta(minutes=30)
        ended = began + timedelta(hours=1, minutes=15)
        filed = officers.file(
            subject,
            cameras=[clip.camera for clip in truth],
            begin=began.isoformat(),
            end=ended.isoformat(),
        )
        officers.approve(filed, "bo", "cy")
        self._kill(site, WORKERS[0])
        told = self._completed(officers, filed)
        who = demo_scenario().subject
        walks = sum(seen.who == who for clip in truth for seen in clip.sightings)
        self.checks.note(
            "a match worker killed meanwhile: the patient is found where they walked, and nowhere "
            "else",
            told["candidates"] == walks,
            f"{told['candidates']} candidates, {walks} walks; {told['state']}",
        )
        self._without_workers(site, officers, truth, (began, ended, subject), told["candidates"])
        self._tell("two investigators confirm the candidates")
        officers.confirm_all(filed)
        self.trace = officers.trace(filed)
        up = [name for name, one in site.services.items() if one.running]
        self.checks.note(
            "every other process is still up", not site.crashed(), f"{len(up)} processes"
        )

    def _without_workers(
        self,
        site: LocalSite,
        officers: Officers,
        truth: list[ClipTruth],
        asked: tuple[datetime, datetime, Path],
        found: int,
    ) -> None:
        self._tell("the same is asked while no match worker is there; then one comes back")
        name, headquarters = WORKERS[1], site.services["aggregator"]
        began, ended, subject = asked
        waits = len(headquarters.events("cluster_waits"))
        last = site.services.pop(name)
        last.kill()
        again = officers.file(
            subject,
            cameras=[clip.camera for clip in truth],
            begin=began.isoformat(),
            end=ended.isoformat(),
        )
        officers.approve(again, "bo", "cy")
        self._wait(
            lambda: len(headquarters.events("cluster_waits")) > waits, "the query saying it waits"
        )
        waiting = officers.show(again)
        site.services[name] = last
        site.start(name)
        anew = self._completed(officers, again)
        self.checks.note(
            "without match workers a query waits, and with one finds the same",
            waiting["state"] != "complete" and anew["candidates"] == found,
            f"{waiting['state']}, then {anew['candidates']} candidates",
        )

    # ------------------------------------------------------------------ helpers

    def _completed(self, officers: Officers, filed: Filed) -> dict[str, Any]:
        return officers.wait(
            filed,
            lambda told: told["state"] == "complete",
            timeout_s=_PATIENCE_S,
            what="the query's end",
        )

    def _kill(self, site: LocalSite, name: str) -> None:
        """Kill a process, and expect it no more."""
        self._tell(f"killing {name}")
        site.services.pop(name).kill()

    def _segments(self) -> int:
        """Return how many segments are stored, in rows or packed."""
        store, now_ms = self._opened(), time.time_ns() // 1_000_000
        announced = store.ledger.announcements(
            [box.cameras[0].name for box in self._opened_site().plan.boxes if box.cameras],
            from_ms=now_ms - 2 * EPOCH_MS,
            to_ms=now_ms,
        )
        return sum(
            store.segments.count(Scope(one.address, one.epoch, one.generation, 0, 95))
            for one in announced
        )

    def _wait(self, until: Callable[[], bool], what: str) -> None:
        deadline, site = time.monotonic() + _PATIENCE_S, self._opened_site()
        while not until():
            for name in site.crashed():
                raise ProcessFailed(f"{name} ended:\n{site.services[name].tail()}")
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{what}: not within {_PATIENCE_S:g} s")
            time.sleep(0.25)

    def _opened(self) -> Store:
        if self._store is None:
            raise ProcessFailed("the store was never opened")
        return self._store

    def _opened_site(self) -> LocalSite:
        if self._site is None:
            raise ProcessFailed("the site was never made")
        return self._site

    def _command(self, *arguments: str) -> None:
        site = self._opened_site()
        run_command(sealtrace(*arguments), folder=site.folder, environment=site.environment)
