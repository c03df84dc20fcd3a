"""Have the demo's report and contact list made, and show that an altered report does not pass."""

from __future__ import annotations

import csv
import io
import json

from demo.checks import Checks
from demo.officers import Filed, Officers
from demo.processes import ProcessFailed


def check_handed_over(checks: Checks, officers: Officers, filed: Filed) -> None:
    """Hand a query's results over as a health office takes them, and check what it would.

    Raises:
        ProcessFailed: nothing could be made.
    """
    site, short = officers.site, filed.query_id[:8]
    base = site.folder / f"report-{short}"
    site.run(
        "ana", "trace", "report", filed.query_id, "--language", "ko", "--out", str(base),
        "--force",
    )  # fmt: skip
    files = [base.with_suffix(kind) for kind in (".pdf", ".html")]
    for file in files:
        site.run("ana", "trace", "verify-report", str(file))
    altered = base.with_name(f"altered-{short}.html")
    altered.write_bytes(files[1].read_bytes().replace("접촉자".encode(), "접촉차".encode(), 1))
    words = ["trace", "verify-report", str(altered), "--signature", str(base.with_suffix(".sig"))]
    try:
        site.run("ana", *words)
        noticed = False
    except ProcessFailed:
        noticed = True
    finally:
        altered.unlink()
    checks.note(
        "the report passes as the officer signed it, and not with one letter changed",
        noticed,
        f"{files[0].name} ({files[0].stat().st_size // 1024} KiB), {files[1].name}",
    )
    persons, bundle = base.with_name(f"contacts-{short}.csv"), base.with_name(f"fhir-{short}.json")
    for form, file in (("csv-persons", persons), ("fhir", bundle)):
        site.run(
            "ana", "trace", "export", filed.query_id, "--format", form, "--out", str(file),
            "--force",
        )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(persons.read_text(encoding="utf-8-sig"))))
    told = json.loads(bundle.read_text())["entry"]
    totals = [one for one in told if "hasMember" in one["resource"]]
    checks.note(
        "the contact list has a row a person, each of its case and graded, and FHIR says the same",
        bool(rows)
        and len(totals) == len(rows)
        and all(row["index_case"] and row["grade"] for row in rows),
        f"{len(rows)} people met by {', '.join(sorted({row['index_case'] for row in rows}))}: "
        + ", ".join(f"{row['minutes_within_reach']} min, {row['grade']}" for row in rows),
    )
