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

from officers.audit_copy import AuditCopy, Fetched, Fetcher, read_audit_copy
from officers.audit_report import (
    SHORT,
    actor_of,
    entry_json,
    finding_line,
    logs_table,
    moment,
    officers_table,
    query_lines,
    report_json,
    summary,
    verdict,
)
from officers.officer import Officer
from protocol.audit import AuditorKey, audit, open_entries
from protocol.audit_queries import OpenedEntry
from protocol.auditlog import KINDS
from protocol.directory import AGGREGATOR, AUDITOR, CUSTODIAN
from protocol.errors import ProtocolError
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.http import PeerUnreachable
from runtime.officer import OFFICER_ENVIRONMENT, OfficerFile, PassphraseFile
from runtime.terminal import err, note, out, plain_table, reported, say, show_table, warn

app = typer.Typer(
    name="audit",
    no_args_is_help=True,
    help="Fetch the logs of all roles, verify them offline, read what they say.",
)

Kind = StrEnum("Kind", {kind.replace("-", "_"): kind for kind in sorted(KINDS)})  # type: ignore[misc]  # its members are the protocol's kinds
_Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The folder that `sealtrace audit fetch` made.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
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
    as_json: _Json = False,
) -> None:
    """Fetch the logs of the aggregator and of every custodian, with directory and policy.

    Into the same folder again it fetches only what is new, and holds it against what was fetched
    before: a role that shows another history than last time is found out here. Keep the folder.

    Exit code 1 when a log is not what it was, or a role cannot be reached (the others are fetched).
    """
    with reported("stopped; run the same command to go on"):
        officer = Officer.load(officer_file)
        fetched = _fetch(officer, out_folder)
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


def _fetch(officer: Officer, folder: Path) -> list[Fetched]:
    fetcher = Fetcher(folder, officer.config.authority_key, officer.tls)
    site = officer.config.site
    fetcher.prepare(site)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), console=err, transient=True
    ) as bar:
        task = bar.add_task("directory and policy")
        _refresh(officer, fetcher)
        fetched = fetcher.fetch_logs(
            officer.directory, lambda actor: bar.update(task, description=f"log of {actor}")
        )
    fetcher.keep_site(
        site,
        officer.trust.signed,
        officer.trust.signed_admissions,
        fetched_ms=system_ms(),
    )
    return fetched


def _refresh(officer: Officer, fetcher: Fetcher) -> None:
    """Take the newest directory that any role holds, and the policy; go on with ours without."""
    site = officer.config.site
    config = officer.config
    try:
        fetcher.keep_policy(
            read_file(config.policy, 1 << 20), read_file(config.policy_signature, 4096), site=site
        )
    except (OperationError, ProtocolError) as error:
        warn(f"your own policy file is left out: {error}")
    directory = officer.directory
    for principal in (*directory.with_duty(AGGREGATOR), *directory.with_duty(CUSTODIAN)):
        if principal.url is None:
            continue
        try:
            for signed in fetcher.fetch_lists(principal.url):
                officer.take_directory(signed)
            if AGGREGATOR in principal.duties:
                fetcher.fetch_policy(principal.url, site=site)
        except PeerUnreachable:
            continue  # said when its log is fetched
        except (OperationError, ProtocolError) as error:
            warn(f"what '{principal.name}' holds of directory and policy is not taken: {error}")


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
    as_json: _Json = False,
) -> None:
    """Verify fetched logs offline: nothing is asked of anybody, nobody is trusted.

    Whole and unaltered histories, witnesses, times; every grant backed by an approved query and
    inside its cameras, hours and modalities; every match backed by enough grants. With the
    auditor's key the sealed bodies are judged too; without it only what is in the clear.

    Exit code 1 when anything is wrong.
    """
    with reported():
        copy, auditor = _open(folder, officer_file, passphrase_file, without_key=without_key)
        report = audit(
            copy.logs,
            directory=copy.directory,
            policies=copy.policies,
            now_ms=copy.fetched_ms,
            auditor=auditor,
            witnessed=copy.witnessed,
            editions=copy.editions,
        )
    if as_json:
        value = report_json(report)
        value["damaged"] = [{"log": name, "problem": problem} for name, problem in copy.damaged]
        value["sound"] = bool(value["sound"]) and not copy.damaged
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
    raise typer.Exit(1 if report.wrong or copy.damaged else 0)


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
    as_json: _Json = False,
) -> None:
    """Show the entries of all fetched logs in order of time, opened for the auditor.

    Reading is not verifying: run `sealtrace audit verify` first.
    """
    with reported():
        copy, auditor = _open(folder, officer_file, passphrase_file, without_key=without_key)
        since_ms = int(since.replace(tzinfo=UTC).timestamp() * 1000) if since else 0
        kinds = {one.value for one in kind or ()}
        chosen = [
            item
            for one in copy.logs
            if not log or actor_of(one.origin) == log
            for item in open_entries(one, auditor)
            if item is not None
            and (not kinds or item.entry.kind in kinds)
            and (not query or (item.entry.query_id or b"").hex().startswith(query.lower()))
            and item.entry.time_ms >= since_ms
        ]
    chosen.sort(key=lambda item: (item.entry.time_ms, item.origin, item.index))
    if as_json:
        _print_json([entry_json(item) for item in chosen])
        return
    _show_entries(chosen)
    for name, problem in copy.damaged:
        warn(f"the copy of the log of '{name}' cannot be read: {problem}")


def _show_entries(chosen: list[OpenedEntry]) -> None:
    table = plain_table("time (UTC)", "log", "#", "kind", "query", "what")
    for item in chosen:
        table.add_row(
            moment(item.entry.time_ms),
            actor_of(item.origin),
            str(item.index),
            item.entry.kind,
            item.entry.query_id.hex()[:SHORT] if item.entry.query_id else "",
            summary(item),
        )
    show_table(table)
    note(f"{len(chosen)} entries")


def _open(
    folder: Path, officer_file: Path | None, passphrase_file: Path | None, *, without_key: bool
) -> tuple[AuditCopy, AuditorKey | None]:
    """Read the folder and the auditor's key, if there is an auditor."""
    named = officer_file or os.environ.get(OFFICER_ENVIRONMENT) or Path("officer.toml").exists()
    if not named:
        if not without_key:
            note("no officer is named: bodies stay sealed (name an auditor with --officer)")
        return read_audit_copy(folder), None
    officer = Officer.load(officer_file, passphrase_file)
    copy = read_audit_copy(folder, officer.config.authority_key)
    listed = copy.directory.principals.get(officer.name)
    if without_key:
        return copy, None
    if listed is None or AUDITOR not in listed.duties:
        note(f"'{officer.name}' is no auditor of the site: bodies stay sealed")
        return copy, None
    return copy, AuditorKey(officer.name, officer.sealing())


def _fetched_json(item: Fetched) -> dict[str, object]:
    return {
        "log": item.actor,
        "entries": item.entries,
        "new": item.new,
        "problem": item.problem or None,
        "unreachable": item.unreachable,
    }


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
