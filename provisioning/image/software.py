"""What a box may install: one list, by hash, in the card's signed-for settings; nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from provisioning.image.errors import ImageError
from provisioning.image.settings import CardFile
from runtime.fsio import read_file

MAX_LIST_BYTES = 1 << 20
_HASH = r"--hash=sha256:[0-9a-f]{64}"
_LINE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!]+(?: *;[^#@]*?)?(?: {_HASH})+")


def list_of_wheels(wheels: Sequence[CardFile]) -> str:
    """Return wheels as a list that pip installs from with ``--require-hashes``."""
    found: dict[str, list[str]] = {}
    for wheel in wheels:
        name, version = wheel.path.name.split("-")[:2]
        found.setdefault(f"{name}=={version}", []).append(wheel.sha256)
    return "".join(
        " ".join([requirement, *(f"--hash=sha256:{digest}" for digest in sorted(digests))]) + "\n"
        for requirement, digests in sorted(found.items())
    )


def read_requirements(path: Path) -> str:
    """Return a list of requirements, one a line: each an exact version with its hashes.

    :raises ImageError: a line could bring anything that is not named by hash, or sealtrace is not
        in it.
    """
    text = read_file(path, MAX_LIST_BYTES).decode("utf-8", "replace").replace("\\\n", " ")
    stripped = (re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines())
    lines = [" ".join(line.split()) for line in stripped if line.strip()]
    for line in lines:
        if _LINE.fullmatch(line) is None:
            raise ImageError(
                f"{path}: {line[:80]!r} is not NAME==VERSION --hash=sha256:...; a box installs "
                "nothing that is not named by its hash: write the list with `uv pip compile "
                "--generate-hashes`"
            )
    if not any(line.startswith("sealtrace==") for line in lines):
        raise ImageError(f"{path} does not name sealtrace; add its wheel with its hash")
    return "".join(f"{line}\n" for line in lines)
