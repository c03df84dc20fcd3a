"""The free photographs of real faces that the demo and the tests use: fetched, never committed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from provisioning.registries import (
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
from runtime.fsio import atomic_write, read_file

_MAX_PHOTO_BYTES = 8 * 1024 * 1024
_IMAGES = "face_recognition-1.3.0/tests/test_images"


@dataclass(frozen=True, slots=True)
class Photo:
    """One photograph: the name it is kept under, who is on it, and where it comes from."""

    name: str
    who: str
    member: Member


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


def _face_photo(name: str, who: str, sha256: str, size: int) -> Photo:
    return Photo(name=name, who=who, member=Member(f"{_IMAGES}/{name}", sha256, size))


PACKAGES: dict[Package, tuple[Photo, ...]] = {
    FACE_PHOTOS: (
        _face_photo(
            "obama.jpg",
            "obama",
            "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
            279_922,
        ),
        _face_photo(
            "obama2.jpg",
            "obama",
            "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
            184_455,
        ),
        _face_photo(
            "obama3.jpg",
            "obama",
            "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
            595_944,
        ),
        _face_photo(
            "obama_partial_face.jpg",
            "obama",
            "c2d1f09e7ef3042352b41e41286e6eb0522f64f88308be13886991b95db52117",
            423_060,
        ),
        _face_photo(
            "obama_partial_face2.jpg",
            "obama",
            "9a812347f97633542b8cd9992de22def11b74f79d82056bc3ee830f13878e028",
            478_346,
        ),
        _face_photo(
            "biden.jpg",
            "biden",
            "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
            353_723,
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
        ),
    ),
}
"""Each archive with the photographs that are read out of it."""


def photographs() -> tuple[Photo, ...]:
    """Every photograph of the set, in a fixed order."""
    return tuple(photo for photos in PACKAGES.values() for photo in photos)


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
