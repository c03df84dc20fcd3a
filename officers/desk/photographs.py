"""Photographs as an officer brings them: looked at by a helper process, kept in memory alone.

The desk decodes no picture. Each goes to a helper (`sealtrace`'s enrolling, which alone sees
pixels) with bounds on memory and time, one at a time; whatever becomes of it, the desk goes on. The
helper ends with the desk, and when nobody has asked it for a while.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from officers.desk.phrases import Phrase, marked, phrase, theirs
from runtime.errors import OperationError
from runtime.frames import FrameInvalid, read_frame, write_frame

MAX_PHOTO_BYTES = 32 << 20
MAX_PHOTOS = 16
_MOST_ANSWERED = 4 << 20
_PATIENCE_S, _IDLE_S, _QUEUE_S = 90.0, 300.0, 120.0
_KEPT = ("PATH", "LANG", "LC_ALL", "HOME", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
"""Of the environment; what else is in it (a passphrase perhaps) is not the helper's business."""

_PROBLEMS: Mapping[str, str] = {
    "NotAnImage": marked(
        "This is no picture that can be read, or it is damaged, or has more than 64 million "
        "pixels. Use a JPEG, PNG, WebP or HEIC file."
    ),
    "NoFaceFound": marked("No face can be found. Use a photo from the front, in good light."),
    "SeveralFacesFound": marked(
        "There are two faces or more. Cut the patient out of it, or use another photo."
    ),
    "FaceTooSmall": marked("The face is too small. Use a closer or larger photo."),
    "FaceTurned": marked("The face is turned away. Use a photo that looks ahead."),
    "FaceInTheDark": marked("The face is too dark. Use a photo in good light."),
    "FaceBlurred": marked("The face is blurred. Use a sharper photo."),
    "FaceTooPoor": marked(
        "The face is not good enough. Use a sharp photo from the front, with the whole face in it."
    ),
    "FaceMasked": marked(
        "The face wears a mask. Use a photo without one, or say that there is none."
    ),
    "PersonTooSmall": marked(
        "The person is too small. Use a larger picture, or cut it to the whole person."
    ),
    "PersonTooPoor": marked(
        "Too little of a standing person shows, or it is too dark to tell colours. Cut the picture "
        "to the whole person, upright."
    ),
    "NoClothes": marked("The site's models cannot compare clothes."),
    "memory": marked("This picture is too large to be looked at. Save it smaller."),
}


class PhotosRefused(OperationError):
    """No template can be made from these photographs; the words say why."""


class HelperFailed(OperationError):
    """The program that looks at photographs cannot be used; the words say why."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen of a photograph.

    Args:
        problem: why nobody can be enrolled from it; None if it is good enough.
        quality: 0 to 1, of a photo that is good enough.
        eyes_px: between the eyes.
        preview: a small JPEG of it that the helper made; empty where it is no picture.
    """

    problem: Phrase | None
    quality: float = 0.0
    eyes_px: float = 0.0
    preview: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Made:
    """What enrolling made: the sealed subject file, and how good the photographs were."""

    subject: bytes = field(repr=False)
    quality: float
    agreement: float


class PhotoHelper:
    """The helper process of one officer; starts when it is needed.

    Args:
        officer: the officer's configuration file.
        idle_s: after so long without a question the process is ended.
        patience_s: after so long without an answer it is killed.
    """

    def __init__(
        self, officer: Path, *, idle_s: float = _IDLE_S, patience_s: float = _PATIENCE_S
    ) -> None:
        self._officer = officer
        self._idle_s, self._patience_s = idle_s, patience_s
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._idle: threading.Timer | None = None
        self._given_up = False

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def look(self, photo: bytes | bytearray, *, masked: bool = False) -> Looked:
        """Say whether somebody can be enrolled from a photograph.

        Args:
            photo: the file's bytes, whatever they are.
            masked: whether a mask is as it should be.

        Raises:
            HelperFailed: nothing here looks at photographs.
        """
        if not photo:
            return Looked(phrase("The file is empty. Copy it again."))
        if len(photo) > MAX_PHOTO_BYTES:
            return Looked(
                phrase(
                    "The file is larger than {most} MiB. Save the photo smaller.",
                    most=MAX_PHOTO_BYTES >> 20,
                )
            )
        answer = self._ask({"do": "look", "masked": masked}, [photo])
        if answer is None:
            return Looked(
                phrase("This picture could not be looked at. Save it anew as JPEG, or smaller.")
            )
        said, parts = answer
        preview = bytes(parts[0]) if parts else b""
        if problem := said.get("problem"):
            return Looked(_problem(problem, said), preview=preview)
        return Looked(None, _number(said, "quality"), _number(said, "eyes_px"), preview)

    def enrol(
        self,
        photos: Sequence[tuple[str, bytes | bytearray]],
        *,
        pseudonym: str,
        consent: str,
        document: bytes = b"",
        masked: bool = False,
    ) -> Made:
        """Make a subject file, sealed to the officer, from all photographs of one person.

        Args:
            photos: what each is called, and its file's bytes.
            pseudonym: checked already.
            consent: the reference of the consent or order.
            document: its SHA-256; empty if there is none.
            masked: whether a mask is as it should be.

        Raises:
            PhotosRefused: nobody can be enrolled from them.
            HelperFailed: nothing here looks at photographs.
        """
        question = {
            "do": "enrol",
            "names": [name for name, _ in photos],
            "pseudonym": pseudonym,
            "consent": consent,
            "document": document.hex(),
            "masked": masked,
        }
        return self._made(question, [data for _, data in photos])

    def enrol_clothes(
        self,
        picture: bytes | bytearray,
        *,
        pseudonym: str,
        consent: str,
        document: bytes = b"",
    ) -> Made:
        """Make a subject file of what the one person of a picture wears: it identifies nobody.

        Args:
            picture: the file's bytes; it is cut to the person.
            pseudonym, consent, document: as for `enrol`.

        Raises:
            PhotosRefused: no clothes can be told from it.
            HelperFailed: nothing here looks at pictures.
        """
        if not picture:
            raise PhotosRefused(phrase("The file is empty. Copy it again."))
        if len(picture) > MAX_PHOTO_BYTES:
            raise PhotosRefused(
                phrase(
                    "The file is larger than {most} MiB. Save the photo smaller.",
                    most=MAX_PHOTO_BYTES >> 20,
                )
            )
        question = {
            "do": "clothes",
            "pseudonym": pseudonym,
            "consent": consent,
            "document": document.hex(),
        }
        return self._made(question, [picture])

    def enrol_words(
        self, words: str, *, pseudonym: str, consent: str, document: bytes = b""
    ) -> Made:
        """Make a subject file of clothes in words: of nobody in particular.

        Raises:
            PhotosRefused: nothing is known of these words.
            HelperFailed: the site's models cannot be used.
        """
        question = {
            "do": "words",
            "pseudonym": pseudonym,
            "consent": consent,
            "document": document.hex(),
            "words": words,
        }
        return self._made(question, [])

    def _made(self, question: Mapping[str, Any], photos: Sequence[bytes | bytearray]) -> Made:
        answer = self._ask(question, photos)
        if answer is None:
            raise PhotosRefused(
                phrase("The photos could not be looked at. Save them anew as JPEG, or smaller.")
            )
        said, parts = answer
        if said.get("problem") == "PhotosDisagree":
            words = phrase(
                "The photos do not seem to show one person. Leave out the one that is not the "
                "patient ({said}).",
                said=theirs(str(said.get("said", ""))),
            )
            raise PhotosRefused(words)
        if problem := said.get("problem"):
            raise PhotosRefused(_problem(problem, said))
        return Made(bytes(parts[0]), _number(said, "quality"), _number(said, "agreement"))

    def give_up(self) -> None:
        """End for good, without waiting: what is being looked at, or waits, comes to nothing."""
        self._given_up = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process, if there is one; the next question starts it anew."""
        if self._idle is not None:
            self._idle.cancel()
        with self._one_at_a_time:
            self._end()

    # ------------------------------------------------------------------ the process

    def _ask(
        self, question: Mapping[str, Any], photos: Sequence[bytes | bytearray]
    ) -> tuple[dict[str, Any], list[bytearray]] | None:
        """Ask the helper; None where it ended over the question, or took too long.

        Raises:
            HelperFailed: it cannot be started, or others have asked it for too long already.
        """
        if not self._one_at_a_time.acquire(timeout=_QUEUE_S):
            raise HelperFailed(
                phrase("Other photos are being looked at. Wait a minute, and try again.")
            )
        try:
            if self._idle is not None:
                self._idle.cancel()
            if self._given_up:
                return None
            process = self._started()
            too_long = threading.Timer(self._patience_s, process.kill)
            too_long.start()
            try:
                write_frame(_pipe(process.stdin), question, photos)
                answer = read_frame(_pipe(process.stdout), most_bytes=_MOST_ANSWERED)
            except (OSError, FrameInvalid):
                answer = None
            finally:
                too_long.cancel()
            if answer is None:
                self._end()
                return None
            self._idle = threading.Timer(self._idle_s, self.close)
            self._idle.daemon = True
            self._idle.start()
            if answer[0].get("problem") == "failed":
                self._end()
                raise HelperFailed(
                    phrase(
                        "Photos cannot be looked at here: {said}",
                        said=theirs(str(answer[0].get("said", ""))),
                    )
                )
            return answer
        finally:
            self._one_at_a_time.release()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        try:
            self._process = subprocess.Popen(
                # -P: no module from the folder that it is started in
                [sys.executable, "-P", "-m", "edge_agent.enrol_helper", str(self._officer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the desk, which ends it
            )
        except OSError as error:
            raise HelperFailed(
                phrase(
                    "The program that looks at photos does not start ({reason}).",
                    reason=error.strerror or "",
                )
            ) from error
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was still to be written is for nobody
                    continue
        process.wait()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise OSError("the helper has no pipe")
    return stream


def _number(said: Mapping[str, Any], name: str) -> float:
    value = said.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _problem(problem: object, said: Mapping[str, Any]) -> Phrase:
    """Return the words for what is wrong with a photograph."""
    words = _PROBLEMS.get(problem) if isinstance(problem, str) else None
    if problem == "WordsUnclear":
        why = theirs(str(said.get("said", "")).removeprefix("--words: "))
        return phrase("These words are not understood: {why}", why=why)
    if words is None:
        return phrase("{said}", said=theirs(str(said.get("said", ""))))
    return phrase(words)
