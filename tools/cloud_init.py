"""Unpack Debian's cloud-init to check generated files with, and never install it.

``python -m tools.cloud_init`` has `apt-get` fetch the packages (no root, nothing of the machine is
changed: an installed cloud-init would set the machine up anew at its next start) and unpacks them
into ``.sealtrace/cloud-init``, or ``$SEALTRACE_CLOUD_INIT``. Run again it does nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = Path("/usr/bin/python3")
"""The interpreter that Debian's packages are for."""
_PACKAGES = (
    "cloud-init", "python3-attr", "python3-certifi", "python3-chardet", "python3-configobj",
    "python3-idna", "python3-jinja2", "python3-json-pointer", "python3-jsonpatch",
    "python3-jsonschema", "python3-markupsafe", "python3-oauthlib", "python3-pyrsistent",
    "python3-requests", "python3-six", "python3-urllib3", "python3-yaml",
)  # fmt: skip
_MODULES = "usr/lib/python3/dist-packages"


def folder() -> Path:
    """Return where the packages are unpacked, or would be."""
    given = os.environ.get("SEALTRACE_CLOUD_INIT")
    return Path(given) if given else ROOT / ".sealtrace" / "cloud-init"


def modules() -> Path | None:
    """Return the folder of cloud-init's Python modules; None where it was not unpacked."""
    found = folder() / _MODULES
    return found if (found / "cloudinit").is_dir() and PYTHON.exists() else None


def unpack() -> str:
    """Fetch and unpack; return what went wrong, empty if nothing did."""
    if modules() is not None:
        return ""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return "this takes Debian's apt-get and dpkg; the tests that need cloud-init are skipped"
    target = folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".cloud-init-", dir=target.parent) as made:
        fetched = subprocess.run(
            ["apt-get", "download", "-qq", *_PACKAGES],
            cwd=made, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if fetched.returncode:
            told = fetched.stderr.strip().splitlines() or ["no reason given"]
            return f"apt-get cannot fetch cloud-init: {told[-1]}; run `apt-get update` as root"
        whole = Path(made) / "whole"
        for package in sorted(Path(made).glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(package), str(whole)], check=True)
        shutil.rmtree(target, ignore_errors=True)
        whole.rename(target)
    return ""


if __name__ == "__main__":
    problem = unpack()
    sys.stdout.write(f"{problem or folder()}\n")
    sys.exit(1 if problem else 0)
