"""A blank card to flash: a loop device where that is allowed, and an ordinary file elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BlankCard:
    """``options`` are for `sealtrace flash`; ``content`` is where to read what it wrote."""

    options: tuple[str, ...]
    content: Path


@contextmanager
def blank_card(path: Path, size: int) -> Iterator[BlankCard]:
    """Have a card of ``size`` bytes whose content lies in the file ``path``."""
    with path.open("wb") as stream:
        stream.truncate(size)
    tool = shutil.which("losetup") or "/usr/sbin/losetup"
    try:
        done = subprocess.run(
            [tool, "--find", "--show", str(path)], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        yield BlankCard(("--file", str(path)), path)
        return
    device = Path(done.stdout.strip())
    confirmed = ("--loop-devices", "--yes-device", device.name)
    try:
        yield BlankCard(("--device", str(device), *confirmed), path)
    finally:
        subprocess.run([tool, "--detach", str(device)], check=True)
