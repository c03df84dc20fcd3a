"""The free photographs of real faces that the demo and the tests use: fetched, never committed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.fsio import atomic_write, read_file
from runtime.registries import (
    FileAltered,
    Member,
    Notify,
    Package,
    PythonPackage,
    check_bytes,
    fetch_archive,
    matches,
    read_member,
)

_MAX_PHOTO_BYTES = 8 * 1024 * 1024

Point = tuple[int, int]
Landmarks = tuple[Point, Point, Point, Point, Point]


@dataclass(frozen=True, slots=True)
class Photo:
    """One photograph: its name, who is on it, where it comes from, and where the face is.

    `landmarks` are pixels (x, y) of right eye, left eye, nose tip, right and left mouth corner (as
    seen by YuNet; right is the person's right, the viewer's left); `face_px` is the face's height.
    """

    name: str
    who: str
    member: Member
    landmarks: Landmarks
    face_px: int


FACE_PHOTOS = PythonPackage(
    requirement="face_recognition==1.3.0",
    sha256="5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
    selection=("--no-binary=face_recognition", "--no-build-isolation"),
)
# Any platform's wheel holds the same photograph; one is named so that the archive can be pinned.
ASTRONAUT_WHEEL = PythonPackage(
    requirement="scikit-image==0.26.0",
    sha256="7df650e79031634ac90b11e64a9eedaf5a5e06fcd09bcd03a34be01745744466",
    selection=(
        "--only-binary=:all:",
        "--python-version=3.12",
        "--implementation=cp",
        "--abi=cp312",
        "--platform=manylinux_2_28_x86_64",
    ),
)


def _face_member(name: str, sha256: str, size: int) -> Member:
    return Member(f"face_recognition-1.3.0/tests/test_images/{name}", sha256, size)


PACKAGES: dict[Package, tuple[Photo, ...]] = {
    FACE_PHOTOS: (
        Photo(
            name="obama.jpg",
            who="obama",
            member=_face_member(
                "obama.jpg",
                "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
                279_922,
            ),
            landmarks=((437, 207), (553, 206), (492, 271), (440, 318), (549, 318)),
            face_px=328,
        ),
        Photo(
            name="obama2.jpg",
            who="obama",
            member=_face_member(
                "obama2.jpg",
                "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
                184_455,
            ),
            landmarks=((253, 361), (375, 380), (282, 445), (240, 501), (344, 517)),
            face_px=391,
        ),
        Photo(
            name="obama3.jpg",
            who="obama",
            member=_face_member(
                "obama3.jpg",
                "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
                595_944,
            ),
            landmarks=((732, 390), (861, 390), (803, 458), (733, 514), (846, 515)),
            face_px=354,
        ),
        Photo(
            name="biden.jpg",
            who="biden",
            member=_face_member(
                "biden.jpg",
                "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
                353_723,
            ),
            landmarks=((525, 321), (652, 336), (595, 408), (514, 461), (624, 475)),
            face_px=414,
        ),
    ),
    ASTRONAUT_WHEEL: (
        Photo(
            name="astronaut.png",
            who="astronaut",
            member=Member(
                path="skimage/data/astronaut.png",
                sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
                size=791_555,
            ),
            landmarks=((201, 105), (245, 105), (221, 127), (204, 145), (242, 145)),
            face_px=111,
        ),
    ),
}
"""Each archive with the photographs that are read out of it."""


def photographs() -> tuple[Photo, ...]:
    """Every photograph of the set, in a fixed order."""
    return tuple(photo for photos in PACKAGES.values() for photo in photos)


def photograph(name: str) -> Photo:
    """The photograph called `name`; KeyError when the set has none."""
    return {photo.name: photo for photo in photographs()}[name]


def fetch_photos(out: Path, cache_dir: Path, notify: Notify = lambda _: None) -> int:
    """Bring the whole set into folder `out`; return how many photographs had to be fetched.

    What is there and whole is left alone; an altered one is replaced.

    Raises:
        FetchError: an archive cannot be fetched or is not what was pinned.
        FileProblem: the disk refuses.
    """
    out.mkdir(parents=True, exist_ok=True)
    fetched = 0
    for package, photos in PACKAGES.items():
        notify(f"checking the photographs of {package.label}")
        missing = [photo for photo in photos if not _is_whole(out / photo.name, photo.member)]
        if not missing:
            continue
        archive = fetch_archive(package, cache_dir, notify)
        for photo in missing:
            try:
                data = read_member(archive, photo.member)
            except FileAltered:
                archive.unlink(missing_ok=True)
                raise
            atomic_write(out / photo.name, data)
            fetched += 1
    return fetched


def read_photo(folder: Path, photo: Photo) -> bytes:
    """The photograph's file, checked.

    Raises:
        FileProblem: it is not there (run `sealtrace models photos`).
        FileAltered: it is not the pinned one.
    """
    data = read_file(folder / photo.name, _MAX_PHOTO_BYTES)
    check_bytes(data, photo.member, what=str(folder / photo.name))
    return data


def _is_whole(path: Path, member: Member) -> bool:
    return path.is_file() and matches(read_file(path, _MAX_PHOTO_BYTES), member)
