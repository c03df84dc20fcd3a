"""Boxes that watch films of people whom we know: a whole site, and the truth about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from puppet_box import slots_ago
from running_site import SERVERS, RunningSite, plan_with_dan
from waiting import wait_for

from demo.local_site import Broker
from demo.scenario import ClipTruth
from demo.wiretap import Wiretap
from protocol.names import SLOT_MS


@dataclass
class FilmSet:
    """A site whose boxes have watched the demo's clips as if recorded in the slot ``slot_ms``."""

    site: RunningSite
    truth: Sequence[ClipTruth]
    slot_ms: int
    starts_ms: dict[str, int]
    photos: Path
    tap: Wiretap | None = None

    @property
    def boxes(self) -> list[str]:
        """The boxes that watch the films, in the films' order."""
        return [clip.camera.replace("cam-", "box-") for clip in self.truth]

    @property
    def window(self) -> tuple[int, int]:
        """The slot in which all of it happened."""
        return self.slot_ms, self.slot_ms + SLOT_MS

    @classmethod
    def make(
        cls,
        folder: Path,
        truth: Sequence[ClipTruth],
        photos: Path,
        bundle: Path,
        *,
        broker: Broker,
        **options: Any,
    ) -> FilmSet:
        """Make the site; nothing runs yet."""
        slot_ms = slots_ago(4)
        starts = {clip.camera: slot_ms + 60_000 + 120_000 * n for n, clip in enumerate(truth)}
        cameras: dict[str, dict[str, Any]] = {
            clip.camera: {
                "source": f"file:{clip.path.resolve()}",
                "pace": "fast",
                "recorded_at": datetime.fromtimestamp(starts[clip.camera] / 1000, UTC),
            }
            for clip in truth
        }
        cameras["cam-4"] = {"source": "file:none.mp4"}  # its box never runs: tests speak for it
        policy = {"same_place_counts": True}
        plan = plan_with_dan(cameras, bundle=bundle, broker=broker, policy=policy, **options)
        made = cls(RunningSite(plan, folder), truth, slot_ms, starts, photos)
        for box, clip in zip(made.boxes, truth, strict=True):
            made.site.may_import(box, clip.camera)
        return made

    def shoot(self) -> None:
        """Start everything; wait until headquarters has all that the boxes have sealed."""
        self.site.start(*SERVERS)
        if self.site.plan.broker.kind == "embedded":
            self.tap = Wiretap(self.site.mqtt("wiretap"))
            self.tap.start()
        self.site.start(*self.boxes)
        for box in self.boxes:
            service = self.site.local.services[box]
            wait_for(
                partial(service.events, "source_ended"),
                f"the end of the film of {box}",
                timeout_s=120,
                explain=service.tail,
            )
            wait_for(
                partial(self._delivered, box),
                f"receipts for the day's keys and all that {box} has sealed",
                explain=service.tail,
            )

    def _delivered(self, box: str) -> bool:
        return not self.site.kept(box) and len(self.site.stored(box.replace("box", "cam"))) > 1

    def stop(self) -> None:
        """Stop everything."""
        if self.tap is not None:
            self.tap.stop()
            self.tap = None
        self.site.stop()

    def enrol(self, *, pseudonym: str = "patient-17", photo: str = "obama.jpg") -> Path:
        """Enrol the subject from a photo with the investigator's command."""
        out = self.site.local.folder / f"{pseudonym}.subject"
        if not out.exists():
            form = out.with_name("consent.pdf")
            form.write_bytes(b"%PDF-1.7 I consent")
            self.site.local.run(
                "ana", "subject", "enrol", "--pseudonym", pseudonym, "--consent", "C-2031/17",
                "--consent-document", str(form), "--photo", str(self.photos / photo),
                "--out", str(out),
            )  # fmt: skip
        return out

    def file(self, subject: Path, *options: str, window: tuple[int, int] | None = None) -> str:
        """File a query over the films' cameras with the investigator's command; return its id."""
        from_ms, to_ms = window or self.window
        cameras = [f"--camera={clip.camera}" for clip in self.truth]
        filed = self.site.local.run_json(
            "ana", "query", "file", "--subject", str(subject), *cameras,
            "--from", iso(from_ms), "--to", iso(to_ms), "--purpose", "patient 17, measles",
            "--yes", *options,
        )  # fmt: skip
        return str(filed["id"])

    def approve(self, query: str, *approvers: str) -> None:
        """Approve a query with the approvers' command."""
        for approver in approvers or ("bo", "cy"):
            self.site.local.run(approver, "query", "approve", query, "--yes")

    def trace(self, subject: Path, *options: str) -> str:
        """File a query, approve it, by one more if it counts people, wait; return its id."""
        query = self.file(subject, *options)
        self.approve(query, "bo", "cy", *(["di"] if "--same-place-counts" in options else []))
        self.site.local.run("ana", "query", "wait", query, "--timeout", "90")
        return query


def iso(time_ms: int) -> str:
    """Return a time as the commands take it."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()
