"""The officers of the demo at their keyboards: each step is a command that they would type."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from demo.intruder import tls_of
from demo.local_site import PASSPHRASE, LocalSite
from demo.processes import ProcessFailed
from protocol.about_queries import Approval
from protocol.authorization import parse_signed_query
from protocol.policy import parse_policy
from protocol.signing import Signed, SigningKey
from runtime.http import client, raise_for_problem
from runtime.keyfiles import read_secret

CONFIRMING = ("ana", "dan")
"""The investigators who both confirm each hit."""
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Filed:
    """A query that was filed: its id and, as signed, itself."""

    query_id: str
    signed: Signed


@dataclass(frozen=True, slots=True)
class Officers:
    """Acts for the officers of ``site``."""

    site: LocalSite

    def enrol(self, pseudonym: str, photo: Path) -> Path:
        """Enrol a subject from a photo, as ana; return the subject file."""
        file = self.site.folder / f"{pseudonym}.subject"
        form = self.site.folder / f"{pseudonym}.consent.pdf"
        form.write_bytes(f"%PDF-1.7 {pseudonym} consents".encode())
        arguments = ["--pseudonym", pseudonym, "--consent", "consent form 2026/17"]
        arguments += ["--consent-document", str(form)]
        self.site.run(
            "ana", "subject", "enrol", *arguments, "--photo", str(photo), "--out", str(file)
        )
        return file

    def file(
        self,
        subject: Path,
        *,
        cameras: Sequence[str],
        begin: str,
        end: str,
        live: bool = False,
        follow: bool = False,
        counts: bool = False,
    ) -> Filed:
        """File a query as ana, which dan confirms with her.

        Args:
            follow: ask that whoever is confirmed be followed by their clothes.
            counts: ask how many people were where.
        """
        wanted = [word for camera in cameras for word in ("--camera", camera)]
        told = self.site.run_json(
            "ana", "query", "file", "--subject", str(subject), *wanted, "--from", begin,
            "--to", end, *(["--live"] if live else []),
            *(["--same-place-counts"] if counts else []),
            *(["--continuation"] if follow else []),
            "--legal-basis", "consent", "--confirmer", "dan",
            "--purpose", "contact tracing of a confirmed patient", "--yes",
        )  # fmt: skip
        query_id = str(told["id"])
        with self._http() as http:
            raw = raise_for_problem(http.get(f"/v1/queries/{query_id}/signed")).content
        return Filed(query_id, parse_signed_query(raw))

    def approve(self, filed: Filed, *officers: str) -> None:
        """Approve a query."""
        for officer in officers:
            self.site.run(officer, "query", "approve", filed.query_id, "--yes")

    def revoke(self, filed: Filed, officer: str) -> None:
        """Take an approval back."""
        reason = "--reason=the patient withdrew consent"
        self.site.run(officer, "query", "revoke", filed.query_id, reason, "--yes")

    def show(self, filed: Filed) -> dict[str, Any]:
        """Return where the query stands."""
        with self._http() as http:
            told: dict[str, Any] = raise_for_problem(
                http.get(f"/v1/queries/{filed.query_id}")
            ).json()
        return told

    def wait(
        self, filed: Filed, until: Callable[[dict[str, Any]], bool], *, timeout_s: float, what: str
    ) -> dict[str, Any]:
        """Wait until a query's state satisfies ``until``.

        Raises:
            ProcessFailed: it does not within ``timeout_s``, or a process of the site has ended.
        """
        deadline = time.monotonic() + timeout_s
        while not until(told := self.show(filed)):
            if crashed := self.site.crashed():
                name = crashed[0]
                raise ProcessFailed(f"{name} ended:\n{self.site.services[name].tail()}")
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    f"{what}: not within {timeout_s:g} s; the query is {told['state']}"
                    f" ({told['reason'] or 'no reason given'})"
                )
            time.sleep(_POLL_S)
        return told

    def confirm_all(self, filed: Filed) -> None:
        """Confirm every candidate, as ana and then as dan."""
        for officer in CONFIRMING:
            self.confirm(filed, officer)

    def confirm(self, filed: Filed, officer: str) -> None:
        """Confirm every candidate: the clips have people before two cameras at one time."""
        self.site.run(officer, "trace", "confirm", filed.query_id, "--all", "--anyway", "--yes")

    def shown(self, filed: Filed) -> Any:
        """Return the trace as ana is shown it."""
        return self.site.run_json("ana", "trace", "show", filed.query_id)

    def trace(self, filed: Filed) -> Any:
        """Return the trace as ``trace export`` writes it."""
        file = self.site.folder / f"trace-{filed.query_id[:8]}.json"
        self.site.run(
            "ana",
            "trace",
            "export",
            filed.query_id,
            "--format",
            "json",
            "--out",
            str(file),
            "--force",
        )
        return json.loads(file.read_text())

    def signed_approvals(self, filed: Filed, *officers: str) -> list[Signed]:
        """Sign approvals with the officers' own keys, to be shown to custodians directly."""
        policy_digest = self._policy_digest()
        now_ms = time.time_ns() // 1_000_000
        approvals = []
        for officer in officers:
            folder = self.site.officer(officer).parent
            seed = read_secret(folder / "identity.secret", PASSPHRASE.encode(), "identity")
            approval = Approval(filed.signed.digest, policy_digest, now_ms)
            approvals.append(approval.sign(SigningKey(officer, seed)))
        return approvals

    def _policy_digest(self) -> bytes:
        return parse_policy(self.site.paths.policy.read_bytes()).digest

    def _http(self) -> httpx.Client:
        folder = self.site.officer("ana").parent
        return client(self.site.plan.aggregator.url, tls_of(folder), max_answer_bytes=16 << 20)
