"""The processes of an import: each looks at one passage after another, and keeps nothing.

They are children of the importer, and end when it does: also by a kill, since nobody reads what
they tell then.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

from edge_agent.capture import Frame
from edge_agent.footage.found import FoundFile
from edge_agent.footage.planning import Passage
from edge_agent.footage.quality import Quality
from edge_agent.footage.work import Eyes, Frames, Message, look_through
from edge_agent.vision.config import VisionConfig
from runtime.errors import OperationError

MAX_MEMORY_BYTES = 4 << 30
"""Address space of a process: the libraries, the models and films in 4K take 1 GiB of it. A film
that asks for more ends its process, and not the machine's other ones."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A process has loaded its models: modality to model of the templates that it makes."""

    models: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ended:
    """A passage has been looked at to its end."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A process cannot go on, mostly over the film that it looks at; ``reason`` in words."""

    reason: str


Told = Message | Ready | Ended | Failed


@dataclass(frozen=True, slots=True)
class Equipment:
    """What looks at films of a camera, and what it makes templates with."""

    models: Mapping[str, str]
    eyes: Callable[[str], Eyes]
    frames: Callable[[str], Frames]


class AnyOutfit(Protocol):
    """What can be sent to a process, and equips it there."""

    def build(self) -> Equipment:
        """Equip this process."""


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a process needs to look at films.

    Attributes:
        bundle: the folder of the signed models.
        bundle_keys: who may have signed them.
        vision: by camera; others get `common`.
        common: settings of cameras that have none of their own.
        quality: as `edge_agent.footage.frames` has it.
        threads: that one process may use.
    """

    bundle: Path
    bundle_keys: tuple[bytes, ...]
    common: VisionConfig
    vision: Mapping[str, VisionConfig] = field(default_factory=dict)
    quality: Quality = "full"
    threads: int = 1

    def build(self) -> Equipment:
        """Load the models.

        Raises:
            OperationError: the models cannot be used.
        """
        # Here, since the importer itself looks at nothing.
        import cv2  # noqa: PLC0415

        from edge_agent.footage.frames import Reading, frames  # noqa: PLC0415
        from edge_agent.footage.quality import vision_for  # noqa: PLC0415
        from edge_agent.opencv import quiet_opencv  # noqa: PLC0415
        from edge_agent.vision.models import load_models  # noqa: PLC0415
        from edge_agent.vision.pipeline import CameraPipeline  # noqa: PLC0415
        from runtime.bundle import load_bundle  # noqa: PLC0415

        cv2.setNumThreads(self.threads)
        quiet_opencv()
        bundle = load_bundle(
            self.bundle,
            list(self.bundle_keys),
            roles=("face_detector", "face_embedder", "mask_status"),
        )
        models = load_models(bundle, num_threads=self.threads)

        def settings(camera: str) -> VisionConfig:
            return vision_for(self.quality, self.vision.get(camera, self.common))

        def eyes(camera: str) -> Eyes:
            return CameraPipeline(settings(camera), models, camera=camera)

        def reader(camera: str) -> Frames:
            gap_s = 1 / settings(camera).detect_fps

            def read(file: FoundFile) -> Iterator[Frame]:
                readings: list[Reading] = []
                yield from frames(file, quality=self.quality, gap_s=gap_s, tell=readings.append)
                if readings and readings[0].truncated:
                    raise OperationError(
                        "it ends before the length that it states: what comes after is missing"
                    )

            return read

        return Equipment(models.models, eyes, reader)


class Worker:
    """One process, as the importer sees it.

    Args:
        outfit: what it needs.
    """

    def __init__(self, outfit: AnyOutfit) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, outfit), daemon=True)
        self.process.start()
        theirs.close()
        self.passage: int | None = None
        """The number of the passage that it looks at; None while it waits for one."""
        self.ready = False
        """Whether it has loaded its models."""

    def give(self, number: int, passage: Passage) -> None:
        """Have it look at a passage."""
        self.passage = number
        self.connection.send(passage)

    def stop(self) -> None:
        """Have it end at once; what it has not told is lost."""
        with contextlib.suppress(OSError):
            self.connection.close()
        self.process.terminate()

    def join(self) -> None:
        """Wait until it has ended."""
        self.process.join(2.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(2.0)


def tellings(workers: list[Worker], timeout_s: float) -> Iterator[tuple[Worker, Told]]:
    """Yield what workers tell within a time; of one that died, that it failed."""
    by_connection = {worker.connection: worker for worker in workers}
    for ready in wait(list(by_connection), timeout_s):
        assert isinstance(ready, Connection)  # noqa: S101 - nothing else was waited for
        worker = by_connection[ready]
        try:
            told: Told = ready.recv()
        except (EOFError, OSError):
            worker.process.join(2.0)
            told = Failed(
                f"the process that looked at it died (exit code {worker.process.exitcode}): it is "
                "damaged in a way that a library does not survive, or memory is too little for so "
                "many --workers"
            )
        yield worker, told


def _serve(importer: Connection, outfit: AnyOutfit) -> None:
    """Look at what the importer gives; the target of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the importer hears it, and ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, MAX_MEMORY_BYTES)):
        with contextlib.suppress(ValueError, OSError):  # lower already
            resource.setrlimit(limit, (most, most))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, EOFError):
        try:
            equipment = outfit.build()
            importer.send(Ready(dict(equipment.models)))
            while True:
                passage: Passage = importer.recv()
                camera = passage.camera
                for message in look_through(
                    passage, eyes=equipment.eyes(camera), frames=equipment.frames(camera)
                ):
                    importer.send(message)
                importer.send(Ended())
        except (BrokenPipeError, ConnectionResetError, EOFError):
            raise
        except Exception as error:
            importer.send(Failed(f"{type(error).__name__}: {error}"))
