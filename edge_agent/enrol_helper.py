"""Looks at photographs for another program, in a process of its own: `-m edge_agent.enrol_helper`.

Photographs come on standard input and answers go to standard output (`runtime.frames`); nothing is
written to any file. Whatever a photograph does to it, who asked goes on. It lives until its input
ends, so that the models are loaded once.

Asked for is ``{"do": "look", "masked": no}`` with one photograph: is it good enough to enrol from,
and what does it look like, upright and small? Or ``{"do": "enrol", "pseudonym", "consent",
"document", "masked", "names"}`` with all photographs: answered by the sealed subject file. Or, by
clothes alone, ``{"do": "clothes", ...}`` with one picture cut to the person, and ``{"do": "words",
..., "words"}`` with none.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runtime.errors import OperationError
from runtime.frames import read_frame, write_frame
from runtime.process import begin

if TYPE_CHECKING:
    from edge_agent.enrol import Enrolled, EnrolmentError
    from edge_agent.vision.arrays import Image
    from edge_agent.vision.models import VisionModels
    from runtime.officer import OfficerConfig

MEMORY_BYTES = 4 << 30
"""Of address space: the models' libraries take about half of it before any photograph."""
MOST_BYTES = 256 << 20
"""Of all photographs of one question."""
_PREVIEW_PX, _PREVIEW_QUALITY = 480, 85


def main(arguments: list[str]) -> int:
    """Answer until standard input ends; return the exit code."""
    begin()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # nothing is written to any file
    questions, answers = _pipes()
    helper: Helper | None = None
    while (message := read_frame(questions, most_bytes=MOST_BYTES)) is not None:
        asked, photos = message
        try:
            if helper is None:
                helper = Helper(Path(arguments[0]))
            said, parts = helper.answer(asked, photos)
        except MemoryError:
            said, parts = {"problem": "memory"}, []
        except OperationError as error:
            said, parts = {"problem": "failed", "said": str(error)}, []
        finally:
            for photo in photos:
                photo[:] = bytes(len(photo))
        write_frame(answers, said, parts)
    return 0


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Keep standard output for answers: what libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return sys.stdin.buffer, answers


class Helper:
    """An investigator's, with the models of the site's bundle.

    Raises:
        OperationError: the configuration or the bundle cannot be used.
    """

    def __init__(self, officer: Path) -> None:
        # Imported here, as OpenCV and the models' runtimes take a second and the limits are set.
        from edge_agent.enrolling import load_enrolling_models  # noqa: PLC0415
        from runtime.officer import load_officer  # noqa: PLC0415

        self.settings: OfficerConfig = load_officer(officer)
        self._load: Callable[[OfficerConfig], VisionModels] = load_enrolling_models
        self._models: VisionModels | None = None

    @property
    def models(self) -> VisionModels:
        """What looks at faces; loaded when the first photograph is there."""
        if self._models is None:
            self._models = self._load(self.settings)
        return self._models

    def answer(
        self, asked: dict[str, Any], photos: list[bytearray]
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Return what is to be said, and the bytes beside it."""
        if asked.get("do") == "look" and len(photos) == 1:
            return self._look(photos[0], masked=asked.get("masked") is True)
        if asked.get("do") == "enrol":
            return self._enrol(asked, photos)
        if asked.get("do") == "clothes" and len(photos) == 1:
            return self._clothes(asked, photos[0])
        if asked.get("do") == "words":
            return self._words(asked)
        return {"problem": "failed", "said": "nobody asks so"}, []

    def _look(self, data: bytearray, *, masked: bool) -> tuple[dict[str, Any], list[bytes]]:
        from edge_agent.enrol import (  # noqa: PLC0415 - as in the constructor
            EnrolmentError,
            check_bare,
            decode_photo,
            only_face,
        )

        models = self.models  # a bundle that is missing is told before anything about a photograph
        try:
            image = decode_photo(bytes(data), "")
        except EnrolmentError as error:
            return _told(error), []
        preview = _preview(image)
        try:
            face = only_face(image, "", models)
            check_bare(face, "", models, masked=masked)
            face.crop.fill(0)
        except EnrolmentError as error:
            return _told(error), [preview]
        finally:
            image.fill(0)
        return {"quality": face.quality, "eyes_px": face.eyes_px}, [preview]

    def _enrol(
        self, asked: dict[str, Any], photos: list[bytearray]
    ) -> tuple[dict[str, Any], list[bytes]]:
        from edge_agent.enrol import EnrolmentError, Photo, template_of  # noqa: PLC0415

        names = asked["names"]
        brought = [
            Photo(name, lambda data=data: bytes(data))  # type: ignore[misc]
            for name, data in zip(names, photos, strict=True)
        ]
        try:
            made = template_of(brought, self.models, masked=asked["masked"] is True)
        except EnrolmentError as error:
            return _told(error), []
        return self._sealed(made, asked)

    def _clothes(
        self, asked: dict[str, Any], picture: bytearray
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Enrol somebody by what they wear on a picture."""
        from edge_agent.enrol import EnrolmentError, decode_photo  # noqa: PLC0415
        from edge_agent.enrol_clothes import template_of_clothes  # noqa: PLC0415
        from edge_agent.enrolling import enrolling_bundle, without_native_chatter  # noqa: PLC0415
        from edge_agent.vision.models import load_clothes  # noqa: PLC0415

        verified = enrolling_bundle(self.settings, None, (), roles=("appearance_embedder",))
        with without_native_chatter():
            network = load_clothes(verified)
        if network is None:
            return {"problem": "NoClothes", "said": "the bundle has no network for clothes"}, []
        try:
            image = decode_photo(bytes(picture), "")
            made = template_of_clothes(image, "", None, network)
        except EnrolmentError as error:
            return _told(error), []
        return self._sealed(made, asked)

    def _words(self, asked: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """Make a subject of clothes in words: nobody in particular."""
        from edge_agent.enrol import EnrolmentError  # noqa: PLC0415
        from edge_agent.enrol_clothes import template_from_words  # noqa: PLC0415
        from edge_agent.enrolling import enrolling_bundle  # noqa: PLC0415
        from runtime.clothes_words import WordsUnusable, word_directions  # noqa: PLC0415

        verified = enrolling_bundle(self.settings, None, (), roles=("appearance_embedder",))
        try:
            made = template_from_words(asked["words"], word_directions(verified))
        except (EnrolmentError, WordsUnusable) as error:
            return {"problem": type(error).__name__, "said": str(error)}, []
        return self._sealed(made, asked, words=asked["words"])

    def _sealed(
        self, made: Enrolled, asked: dict[str, Any], *, words: str = ""
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Return the subject file of a template, which is wiped."""
        from edge_agent.enrolling import investigator_key, seal_subject  # noqa: PLC0415

        try:
            subject = seal_subject(
                [made],
                asked["pseudonym"],
                asked["consent"],
                bytes.fromhex(asked["document"]),
                investigator_key(self.settings),
                investigator=self.settings.name,
                words=words,
            )
        finally:
            made.wipe()
        said = {"quality": made.quality, "agreement": made.agreement, "models": [made.model_id]}
        return said, [subject.to_bytes()]


def _told(error: EnrolmentError) -> dict[str, Any]:
    """Return what is wrong with a photograph, by the name of its class."""
    return {"problem": type(error).__name__, "said": str(error)}


def _preview(image: Image) -> bytes:
    """Return the picture, small, as a JPEG that was made here: no byte of the file is in it."""
    import cv2  # noqa: PLC0415 - as in the constructor

    scale = min(1.0, _PREVIEW_PX / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    done, coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _PREVIEW_QUALITY])
    small.fill(0)
    data = coded.tobytes() if done else b""
    coded.fill(0)
    return data


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
