"""What `sealtrace doctor` looks at in a site's folder, at the office; no passphrase is needed."""

from __future__ import annotations

import stat
from pathlib import Path

from provisioning.authority.inspect import inspect_site
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import open_site
from runtime.doctor.files import look_at_secrets
from runtime.doctor.findings import Findings
from runtime.doctor.machine import look_at_disk
from runtime.text import counted, quoted


def examine(path: Path, found: Findings) -> str:
    """Look at a site's folder, from its ``site.toml``; return which site it is.

    Raises:
        SiteError, ConfigError: it is none, or what the authority has signed does not verify.
    """
    site = open_site(path.absolute().parent)
    paths = site.paths
    look_at_disk(found, paths.root)
    _look_at_secrets(found, paths)
    with found.looking("site"):
        report = inspect_site(site)
        for problem in report.problems:
            found.warn("site", problem)
        if not report.problems:
            found.well("site", f"{counted(len(report.rows), 'principal')}, nothing is due")
        directory = site.directory
        found.well(
            "directory",
            f"version {directory.version}, policy version {site.policy.version}: signed",
        )
    return f"site {site.plan.site}, the folder of its office"


def _look_at_secrets(found: Findings, paths: SitePaths) -> None:
    """Look who may read the authorities' keys, and who may enter the folder at all."""
    root = paths.root.stat()
    if root.st_mode & stat.S_IWOTH:
        found.wrong(
            "keys",
            f"everybody may change what is in {paths.root}",
            f"chmod o-rwx {quoted(paths.root)}",
        )
    secrets = [paths.authority_secret, paths.root_key, paths.issuing_key]
    look_at_secrets(found, secrets, state_dir=None, optional=[paths.cluster_key])
