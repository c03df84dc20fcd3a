"""Build the Debian packages of the roles (`make packages`).

Each package holds one role's Python environment, from its lock file with hashes and this checkout,
with units, an account, an example of its configuration and maintainer scripts. A package is built
for one Debian release and one architecture; anything may build it that has dpkg-deb and readelf.
The same commit gives the same bytes. Where lintian is installed it looks at each, and an error of
it is one of the build.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.packages import build, lint
from tools.packages.environment import BuildError
from tools.packages.releases import MACHINES, RELEASES, Target
from tools.packages.roles import ROLES, ROOT, named

_EXAMPLES = """\
examples:
  python -m tools.packages                             all roles, for the Debian of this machine
  python -m tools.packages custodian --release trixie
  python -m tools.packages edge --architecture arm64
"""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(
        prog="python -m tools.packages",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(role.name for role in ROLES)
    made.add_argument("roles", nargs="*", metavar="ROLE", help=f"which of {names}; default: all")
    made.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build" / "packages",
        metavar="DIR",
        help="folder of the packages (default: build/packages)",
    )
    made.add_argument(
        "--release",
        choices=sorted(RELEASES),
        default=build.release_here(),
        help="Debian release, which decides the Python: "
        + ", ".join(f"{r.name} {r.python}" for r in RELEASES.values())
        + " (default: this machine's, else bookworm)",
    )
    made.add_argument(
        "--architecture",
        choices=sorted(MACHINES),
        default=build.architecture_here(),
        help="(default: this machine's)",
    )
    made.add_argument(
        "--wheels",
        type=Path,
        default=ROOT / "build" / "wheels",
        metavar="DIR",
        help="where wheels are kept for the next build (default: build/wheels)",
    )
    made.add_argument(
        "--version",
        metavar="TEXT",
        help="default: the project's, the commit's time, the release",
    )
    made.add_argument(
        "--maintainer",
        metavar="TEXT",
        help="'Name <address>' (default: DEBFULLNAME and DEBEMAIL, else the commit's author)",
    )
    made.add_argument(
        "--compression",
        choices=("xz", "gzip", "none"),
        default="xz",
        help="xz is smallest, none quickest (default: xz)",
    )
    made.add_argument(
        "--no-lint",
        action="store_true",
        help="have lintian, where it is installed, not look at them: it takes minutes",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what was asked for; return the exit code."""
    asked = parser().parse_args(arguments)
    try:
        roles = named(asked.roles)
        target = Target(RELEASES[asked.release], asked.architecture)
        made = build.build_of(target, asked.version, asked.maintainer, asked.compression)
        out: Path = asked.out
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="sealtrace-packages-") as scratch:
            order = build.Order(roles, target, made, out, asked.wheels)
            _say(f"version {made.version}, Debian {asked.release}, {asked.architecture}")
            packages = build.make(order, Path(scratch), _say)
        if not asked.no_lint:
            for package in packages:
                lint.look_at(package, _say)
    except (BuildError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
