"""Boot cards as boxes do and see what becomes of them (`make boot-test`); 1 if a promise broke.

Stock images are made of Debian's packages, a site's servers run on this machine, cards are built
and flashed by the very commands, and booted by qemu behind UEFI, shim and GRUB. Each step prints a
line. Consoles and logs stay in build/boot-test/evidence.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

from rich.console import Console  # noqa: TID251 - prints our own words

from demo.processes import run_command, sealtrace
from runtime.errors import OperationError
from tests.boot import guest, headquarters, stock
from tests.boot.mirror import Mirror
from tests.boot.story import Broken, Step, Story
from tests.boot.tpm import SoftwareTpm

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".sealtrace"
BUILD = ROOT / "build" / "boot-test"
EVIDENCE = BUILD / "evidence"
TPM = "tpm"
VARIANTS = {
    "bookworm": "Debian 12, all steps",
    "trixie": "Debian 13: card, a cut, admission, sightings, a clean reboot",
    TPM: "Debian 12 with the TPM's libraries, on a machine with a TPM 2.0 (swtpm): the same",
}
TPM_LIBRARIES = (
    "libtss2-esys-3.0.2-0", "libtss2-mu0", "libtss2-rc0", "libtss2-sys1", "libtss2-tctildr0",
    "libtss2-tcti-device0", "libtss2-fapi1",
)  # fmt: skip
SERVERS = "servers"


class Report:
    """Prints a line for each step, and counts them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self.passed = 0
        self.failed: list[str] = []

    def __call__(self, step: str, passed: bool, detail: str, seconds: float) -> None:
        """Tell what became of a step."""
        if passed:
            self.passed += 1
        else:
            self.failed.append(step)
        word = "ok    " if passed else "FAILED"
        self.tell(f"{word} {seconds:5.0f} s  {step}: {detail}")

    def tell(self, text: str) -> None:
        """Print a line, and keep it."""
        with self._lock, (EVIDENCE / "report.txt").open("a") as kept:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
            kept.write(f"{text}\n")


def play(name: str, story: Story, only: Sequence[str], report: Report, *, keep: bool) -> None:
    """Do a variant's steps one after the other; an error is what became of that step."""
    steps = story.whole() if name == "bookworm" else story.short()
    try:
        for step in steps:
            if not step.needed and only and not any(text in step.name for text in only):
                continue
            if not _do(name, step, report) and step.needed:
                report.tell(f"       the other steps of {name} need this one: not tried")
                return
    finally:
        story.guest.cut_power()
        if not keep:
            story.guest.card.unlink(missing_ok=True)


def _do(name: str, step: Step, report: Report) -> bool:
    began = time.monotonic()
    try:
        seen = step.act()
    except (Broken, OperationError, TimeoutError, OSError, ValueError, LookupError) as error:
        kind = "" if isinstance(error, (Broken, OperationError)) else f"{type(error).__name__}: "
        report(f"{name}: {step.name}", False, f"{kind}{error}", time.monotonic() - began)
        return False
    report(f"{name}: {step.name}", True, seen, time.monotonic() - began)
    return True


def prepare(variants: Sequence[str], report: Report) -> None:
    """Make what needs the network: stock images and folders of wheels. Kept from run to run.

    Raises:
        OperationError: something cannot be made.
    """
    for variant in variants:
        began = time.monotonic()
        made = stock_of(variant, report)
        size, where = made.image.stat().st_size / 1e6, "was there" if made.was_there else "made"
        took = time.monotonic() - began
        report(f"{variant}: stock image", True, f"{size:.0f} MB, {where}; {made.sha256[:16]}", took)
        began = time.monotonic()
        folder = wheels_of(variant)
        for binding in folder.glob("tpm2_pytss-*.whl"):
            binding.unlink()  # of the run before: the command refuses what is not its own
        command = sealtrace("image", "wheels", str(folder), "--python", made.python)
        run_command(command, folder=ROOT, environment=os.environ, timeout_s=1200)
        if variant == TPM:
            _add_tpm_binding(folder)
        files = list(folder.glob("*.whl"))
        size = sum(file.stat().st_size for file in files) / 1e6
        took = time.monotonic() - began
        report(f"{variant}: wheels", True, f"{len(files)}, {size:.0f} MB", took)


def stock_of(variant: str, report: Report) -> stock.Stock:
    """Return the stock image that a variant begins with."""
    suite, more = ("bookworm", TPM_LIBRARIES) if variant == TPM else (variant, ())
    log = EVIDENCE / f"stock-{variant}.log"
    return stock.stock_image(suite, BUILD / "stock", log, report.tell, more)


def wheels_of(variant: str) -> Path:
    """Return where a variant's wheels are."""
    return BUILD / f"wheels-{variant}"


def _add_tpm_binding(folder: Path) -> None:
    """Build the binding to a TPM's software stack from its source, by the lock, into ``folder``."""
    lock = (ROOT / "requirements-tpm.lock").read_text()
    listed = folder.parent / "tpm-binding.txt"
    start = lock.index("tpm2-pytss==")
    listed.write_text(lock[start : lock.index("    # via", start)])
    run_command(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--require-hashes",
         "--requirement", str(listed), "--wheel-dir", str(folder)],
        folder=ROOT, environment=os.environ, timeout_s=900,
    )  # fmt: skip


def boot(variants: Sequence[str], only: Sequence[str], report: Report, *, keep: bool) -> None:
    """Start the site, play the variants' stories side by side, one a core, stop everything."""
    work = BUILD / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    hq = headquarters.Headquarters.make(work / "site", EVIDENCE, STATE)
    mirror: Mirror | None = None
    stories: dict[str, Story] = {}
    tpm: SoftwareTpm | None = None
    cores = os.cpu_count() or 1
    cpus = max(1, cores // len(variants))
    try:
        hq.start()
        mirror = Mirror(hq, headquarters.ADDRESS)
        mirror.start()
        for number, variant in enumerate(variants, start=1):
            made = stock_of(variant, report)
            own = None
            if variant == TPM:
                own = tpm = SoftwareTpm(work / "swtpm", EVIDENCE / "tpm.log")
            stories[variant] = Story(
                f"box-{number}", made, wheels_of(variant), hq, mirror, work / variant, EVIDENCE,
                own, cpus,
            )  # fmt: skip
        with ThreadPoolExecutor(cores, "story") as pool:
            playing = [
                pool.submit(play, variant, story, only, report, keep=keep)
                for variant, story in stories.items()
            ]
            try:
                for done in playing:
                    done.result()
            except BaseException:
                for later in playing:
                    later.cancel()
                for story in stories.values():
                    story.guest.cut_power()  # which ends the steps that wait for it
                raise
    finally:
        for story in stories.values():
            story.guest.cut_power()
        if tpm is not None:
            tpm.stop()
        if mirror is not None:
            mirror.stop()
        hq.stop()
        if keep:
            report.tell(f"cards and the site's files are in {work}; remove it when you are done")
        else:
            shutil.rmtree(work, ignore_errors=True)


def check_servers(report: Report) -> None:
    """Install and start the servers' packages in a fresh Debian."""
    from tests.boot.servers import check

    check(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test; return 1 if a promise broke, 2 if something needed is not here."""
    parser = argparse.ArgumentParser(
        prog="make boot-test", description=__doc__,
        epilog="Example: make boot-test BOOT_ARGS='--variant bookworm --only outbox --keep'",
    )  # fmt: skip
    choices = (*VARIANTS, SERVERS)
    parser.add_argument("--variant", action="append", choices=choices, default=[],
                        help="only this; may be repeated; all by default")  # fmt: skip
    parser.add_argument("--only", action="append", default=[], metavar="STEP",
                        help="only steps whose name holds this, and what they need")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep cards and the site's files")
    parser.add_argument("--list", action="store_true", help="list variants, start nothing")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=140)
    if options.list:
        for name, what in (*VARIANTS.items(), (SERVERS, "the servers' packages in a fresh Debian")):
            console.print(f"{name:<10} {what}", highlight=False)
        return 0
    signal.signal(signal.SIGTERM, _interrupted)
    wanted = options.variant or list(choices)
    variants = [name for name in VARIANTS if name in wanted]
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    report = Report(console)
    if options.inside:
        return _inside(variants, options.only, report, keep=options.keep)
    for old in EVIDENCE.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    return _outside(wanted, variants, arguments, report)


def _outside(
    wanted: Sequence[str], variants: Sequence[str], arguments: Sequence[str] | None, report: Report
) -> int:
    """Do what needs the network, then boot in a namespace without one."""
    if variants:
        missing = [*stock.missing_tools(), *guest.missing_parts(), *headquarters.missing_parts()]
        if missing:
            report.tell(f"error: install what is not here: apt install {' '.join(missing)}")
            return 2
        if not guest.kvm_works():
            report.tell("KVM does not run the firmware here: by TCG, with six times the patience")
    began = time.monotonic()
    code = 0
    try:
        if variants:
            prepare(variants, report)
            given = list(sys.argv[1:] if arguments is None else arguments)
            command = headquarters.isolated([str(Path(__file__).resolve()), "--inside", *given])
            code = subprocess.run(command, check=False, cwd=ROOT).returncode
        if SERVERS in wanted:
            check_servers(report)
    except OperationError as error:
        report.tell(f"error: {error}")
        code = 1
    except KeyboardInterrupt:
        report.tell("interrupted")
        code = 1
    failed = code != 0 or bool(report.failed)
    took = (
        f"{time.monotonic() - began:.0f} s; consoles and logs are in {EVIDENCE.relative_to(ROOT)}"
    )
    report.tell(f"{'Something failed' if failed else 'Everything held'} ({took})")
    return 1 if failed else 0


def _inside(variants: Sequence[str], only: Sequence[str], report: Report, *, keep: bool) -> int:
    if not headquarters.is_isolated():
        report.tell("error: not in a network namespace of its own")
        return 2
    try:
        boot(variants, only, report, keep=keep)
    except KeyboardInterrupt:
        report.tell("interrupted")
        return 1
    except OperationError as error:
        report.tell(f"error: {error}")
        return 1
    return 1 if report.failed else 0


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
