"""What others can find out: the auditor by the logs, a thief by every file and all traffic."""

from __future__ import annotations

import json
import time
from typing import Any

from demo.intruder import plain_needles
from demo.tour.stage import Stage
from demo.wiretap import find_in_files, find_in_messages

_COSIGNING = {"cosignatures-missing", "not-yet-cosigned"}


def look_everywhere(stage: Stage) -> None:
    """Search for what must be nowhere, and have the auditor find what was tried.

    Raises:
        ProcessFailed: a command failed.
    """
    _nothing_plain(stage)
    _audit_again(stage)


def _nothing_plain(stage: Stage) -> None:
    stage.tell("searching every file and all MQTT traffic for plain templates")
    needles: list[bytes] = []
    for envelope in stage.envelopes():
        granted = stage.keys.get(stage.announcement_of(envelope))
        if granted is not None:
            needles += plain_needles(envelope, granted)
    files = list(stage.site.files())
    on_disk = find_in_files(needles, files)
    on_wire = find_in_messages(needles, stage.heard().messages())
    planted = stage.folder.parent / "planted"
    planted.write_bytes(b"x" * 5000 + b"".join(needles[:1]) + b"x" * 5000)
    found_planted = bool(find_in_files(needles, [planted]))
    planted.unlink()
    stage.checks.note(
        "no file of any process holds a plain template or sighting id",
        bool(needles) and not on_disk and found_planted,
        f"{len(needles)} byte strings, {len(files)} files: "
        + (
            f"{on_disk[0][0].relative_to(stage.folder)}"
            if on_disk
            else "none found; a planted one was"
        ),
    )
    stage.checks.note(
        "the MQTT traffic holds none either",
        bool(needles) and not on_wire,
        f"{len(stage.heard().messages())} messages, {stage.heard().size_bytes():,} bytes: "
        + (on_wire[0] if on_wire else "none found"),
    )


def audit(stage: Stage) -> None:
    """Have the auditor verify all logs.

    Raises:
        ProcessFailed: a command failed.
    """
    stage.tell("the auditor fetches all logs and verifies them offline")
    report = _fetch_and_verify(stage, "audit")
    wrong = [finding for finding in report["findings"] if finding["severity"] != "note"]
    stage.checks.note(
        "the audit logs are whole, and every grant and match is backed",
        bool(report["sound"]) and not wrong,
        wrong[0]["message"] if wrong else _audited(report),
    )


def _audit_again(stage: Stage) -> None:
    stage.tell("the auditor looks again, after all that was tried")
    report = _fetch_and_verify(stage, "audit-again")
    names = {finding["kind"] for finding in report["findings"]}
    stage.checks.note(
        "grants that an aggregator kept from its own log are noticed",
        "grant-not-received" in names,
        ", ".join(sorted(names)) or "nothing was found",
    )
    entries = sorted((stage.folder / "audit-again").rglob("entries.cborseq"))[0]
    data = bytearray(entries.read_bytes())
    data[len(data) // 2] ^= 1
    entries.write_bytes(data)
    report = _verify(stage, "audit-again")
    stage.checks.note(
        "one altered byte in a log is noticed",
        not report["sound"],
        next((f["kind"] for f in report["findings"] if f["severity"] == "wrong"), "not noticed"),
    )


def _fetch_and_verify(stage: Stage, name: str) -> Any:
    """Fetch until every log is cosigned by all others: that takes a few seconds."""
    deadline = time.monotonic() + 30
    while True:
        stage.site.run("eve", "audit", "fetch", "--out", str(stage.folder / name))
        report = _verify(stage, name)
        missing = {f["kind"] for f in report["findings"]} & _COSIGNING
        if not missing or time.monotonic() > deadline:
            return report


def _verify(stage: Stage, name: str) -> Any:
    return json.loads(
        stage.site.run("eve", "audit", "verify", str(stage.folder / name), "--json", expect=None)
    )


def _audited(report: Any) -> str:
    logs = report["logs"]
    return f"{len(logs)} logs, {sum(log['entries'] for log in logs)} entries, all cosigned"
