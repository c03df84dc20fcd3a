"""`sealtrace audit`: fetch the logs of all roles, verify them offline, read what they say."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from officers import desk
from officers.audit_text import entries_table, finding_line, logs_table, officers_table
from officers.desk.audit_desk import audited
from officers.desk.audit_document import audit_html
from officers.desk.audit_words import entry_json, moment, query_lines, report_json, verdict
from officers.desk.moments import shown_in
from officers.desk.report.words import ENGLISH, LANGUAGES, Words
from officers.keyboard import AsJson, Keyring, tell
from protocol.auditlog import KINDS
from runtime.fsio import atomic_write
from runtime.officer import OFFICER_ENVIRONMENT
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.terminal import err, note, out, reported, say, show_table, warn
from runtime.zones import machine_zone

app = typer.Typer(
    name="audit",
    no_args_is_help=True,
    help="Fetch the logs of all roles, verify them offline, read what they say.",
)

Language = StrEnum("Language", [(name, name) for name in LANGUAGES])  # type: ignore[misc]  # from LANGUAGES
_ENGLISH = Language(ENGLISH)
Kind = StrEnum("Kind", {kind.replace("-", "_"): kind for kind in sorted(KINDS)})  # type: ignore[misc]  # its members are the protocol's kinds
_Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The folder that `sealtrace audit fetch` made.")
]
_Sealed = Annotated[
    bool,
    typer.Option(
        "--without-key", help="Do not open the entries' bodies: check only what is in the clear."
    ),
]


@app.command(
    epilog="Examples:  sealtrace audit fetch --officer eve.toml --out logs   |   "
    "sealtrace audit fetch --out logs --json"
)
def fetch(
    out_folder: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="Where to; made, or brought up to date."),
    ],
    officer_file: OfficerFile = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the logs of the aggregator and of every custodian, with directory and policy.

    Into the same folder again it fetches only what is new, and holds it against what was fetched
    before: a role that shows another history than last time is found out here. Keep the folder.

    Exit code 1 when a log is not what it was, or a role cannot be reached (the others are fetched).
    """
    with reported("stopped; run the same command to go on"):
        officer = desk.Officer.load(officer_file)
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), console=err, transient=True
        ) as bar:
            task = bar.add_task("")
            fetched = desk.fetch_logs(
                officer,
                out_folder,
                tell=tell,
                progress=lambda what: bar.update(task, description=what),
            )
    if as_json:
        _print_json([_fetched_json(item) for item in fetched])
    else:
        for item in fetched:
            if item.problem:
                out.print(
                    f"{item.actor}: {item.problem}", style="red", markup=False, soft_wrap=True
                )
            else:
                say(f"{item.actor}: {item.entries} entries, {item.new} of them new")
    raise typer.Exit(1 if any(item.problem for item in fetched) else 0)


@app.command(
    epilog="Examples:  sealtrace audit verify logs --officer eve.toml   |   "
    "sealtrace audit verify logs --without-key   |   sealtrace audit verify logs --json"
)
def verify(
    *,
    folder: _Folder,
    officer_file: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    without_key: _Sealed = False,
    as_json: AsJson = False,
) -> None:
    """Verify fetched logs offline: nothing is asked of anybody, nobody is trusted.

    Whole and unaltered histories, witnesses, times; every grant backed by an approved query and
    inside its cameras, hours and modalities; every match backed by enough grants. With the
    auditor's key the sealed bodies are judged too; without it only what is in the clear.

    Exit code 1 when anything is wrong.
    """
    with reported():
        copy, auditor = _open(folder, officer_file, passphrase_file, without_key=without_key)
        verified = desk.verify_logs(copy, auditor)
        report = verified.report
    if as_json:
        value = report_json(report)
        value["damaged"] = [{"log": name, "problem": problem} for name, problem in copy.damaged]
        value["sound"] = verified.sound
        _print_json(value)
    else:
        say(
            f"site {report.site}, fetched {moment(copy.fetched_ms)} UTC, authority "
            f"{copy.authority.fingerprint}, directory version {copy.directory.version}"
        )
        for table in (logs_table(report), officers_table(report)):
            if table.row_count:
                say()
                show_table(table)
        for query in report.queries:
            say()
            for line in query_lines(query):
                say(line)
        say()
        for name, problem in copy.damaged:
            out.print(f"wrong: copy-damaged ({name}): {problem}", style="bold red", soft_wrap=True)
        for finding in report.findings:
            text, style = finding_line(finding)
            out.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        say(verdict(report, len(copy.damaged)))
    raise typer.Exit(0 if verified.sound else 1)


@app.command(
    epilog="Examples:  sealtrace audit show logs --officer eve.toml   |   "
    "sealtrace audit show logs --query 9f3c --kind grant   |   "
    "sealtrace audit show logs --since 2031-05-04 --json"
)
def show(
    *,
    folder: _Folder,
    officer_file: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    without_key: _Sealed = False,
    query: Annotated[
        str, typer.Option(metavar="ID", help="Only entries of the query whose id begins so.")
    ] = "",
    kind: Annotated[
        list[Kind] | None, typer.Option(help="Only entries of this kind; may be given often.")
    ] = None,
    log: Annotated[str, typer.Option(metavar="NAME", help="Only the log of this role.")] = "",
    since: Annotated[
        datetime | None,
        typer.Option(
            help="Only entries from then on, UTC.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"]
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the entries of all fetched logs in order of time, opened for the auditor.

    Reading is not verifying: run `sealtrace audit verify` first.
    """
    with reported():
        copy, auditor = _open(folder, officer_file, passphrase_file, without_key=without_key)
        selection = desk.Selection(
            query=query,
            kinds={one.value for one in kind or ()},
            log=log,
            since_ms=int(since.replace(tzinfo=UTC).timestamp() * 1000) if since else 0,
        )
        chosen = desk.read_entries(copy, auditor, selection)
    if as_json:
        _print_json([entry_json(item) for item in chosen])
        return
    show_table(entries_table(chosen))
    note(f"{len(chosen)} entries")
    for name, problem in copy.damaged:
        warn(f"the copy of the log of '{name}' cannot be read: {problem}")


@app.command(
    epilog="Examples:  sealtrace audit page logs --officer eve.toml --out audit.html   |   "
    "sealtrace audit page logs --out audit.html --language ko"
)
def page(
    *,
    folder: _Folder,
    out_file: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write the page (HTML).")
    ],
    language: Annotated[Language, typer.Option(help="Language of the page.")] = _ENGLISH,
    officer_file: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    without_key: _Sealed = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write what an audit found as one page that opens in any browser, without a server.

    The logs are verified first, as by `sealtrace audit verify`: verdict, findings with what they
    mean, counts by month and legal ground, and each query's life, sentence by sentence with the
    entries that prove it. The page fetches nothing, and the same logs make the same file. It tells
    what the entries' contents say, so keep it as you keep the logs.

    Exit code 1 when anything is wrong.
    """
    with reported():
        desk.check_free(out_file, overwrite=force)
        copy, auditor = _open(folder, officer_file, passphrase_file, without_key=without_key)
        words = Words(language.value, shown_in() or machine_zone())
        found = audited(folder, copy, auditor, month_of=words.month)
        atomic_write(out_file, audit_html(found, words), 0o600, overwrite=force)
    say(f"{out_file} is written: {verdict(found.report, len(copy.damaged))}")
    raise typer.Exit(0 if found.sound else 1)


def _open(
    folder: Path, officer_file: Path | None, passphrase_file: Path | None, *, without_key: bool
) -> tuple[desk.AuditCopy, desk.AuditorKey | None]:
    """Read the folder and the auditor's key, if there is an auditor."""
    named = officer_file or os.environ.get(OFFICER_ENVIRONMENT) or Path("officer.toml").exists()
    if not named:
        if not without_key:
            note("no officer is named: bodies stay sealed (name an auditor with --officer)")
        return desk.read_audit_copy(folder), None
    officer = desk.Officer.load(officer_file)
    copy = desk.read_audit_copy(folder, officer.config.authority_key)
    if without_key:
        return copy, None
    if not desk.may_open_bodies(copy, officer):
        note(f"'{officer.name}' is no auditor of the site: bodies stay sealed")
        return copy, None
    return copy, desk.AuditorKey(officer.name, Keyring(officer, passphrase_file).sealing())


def _fetched_json(item: desk.Fetched) -> dict[str, object]:
    return {
        "log": item.actor,
        "entries": item.entries,
        "new": item.new,
        "problem": item.problem or None,
        "unreachable": item.unreachable,
    }


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
