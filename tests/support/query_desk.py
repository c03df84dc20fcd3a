"""Subject queries straight over the protocol: what the officers' commands do, step by step."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from protocol_samples import QueryChanges
from puppet_box import MODEL
from running_site import RunningSite
from waiting import wait_for

from protocol.about_queries import MATCHER_KEY_KIND, Approval, MatcherKey, Withdrawal
from protocol.encoding import decode
from protocol.keytree import FACE
from protocol.names import SLOT_MS
from protocol.query import Query, Subject, TemplateReference
from protocol.results import Candidate
from protocol.signing import Signed
from protocol.templates import Template, seal_templates

HOUR_MS = 3_600_000
ENDED = frozenset({"complete", "withdrawn", "expired", "failed"})


def template_of(row: np.ndarray, scale: float, model: str = MODEL) -> Template:
    """Return a subject's template with a fresh salt."""
    return Template(FACE, model, os.urandom(32), row, scale)


@dataclass(frozen=True)
class Case:
    """One query: signed, with the templates that it commits to."""

    query: Query
    signed: Signed
    templates: Mapping[str, Sequence[Template]]

    @property
    def id(self) -> str:
        """The query's id, hex."""
        return self.query.query_id.hex()


class QueryDesk:
    """Asks, approves and reads as the officers of a site would."""

    def __init__(self, site: RunningSite) -> None:
        self.site = site

    def draft(
        self,
        templates: Sequence[Template],
        cameras: Sequence[str],
        from_ms: int,
        to_ms: int,
        /,
        *,
        requester: str = "ana",
        threshold: float = 0.6,
        **changes: Unpack[QueryChanges],
    ) -> Case:
        """Sign a query as ``requester``, of the form that goes with the policy; nothing is sent."""
        now_ms = time.time_ns() // 1_000_000
        purposes = self.site.policy.purposes
        references = tuple(TemplateReference(t.modality, t.model, t.digest) for t in templates)
        query = Query(
            query_id=os.urandom(16),
            site=self.site.plan.site,
            subjects=(
                Subject("patient-17", "consent C-2031/17", references, consent_document=bytes(32)),
            ),
            purpose="contact tracing of a confirmed patient",
            legal_basis="consent",
            cameras=tuple(sorted(cameras)),
            window_from_ms=from_ms // SLOT_MS * SLOT_MS,
            window_to_ms=-(-to_ms // SLOT_MS) * SLOT_MS,
            modalities=(FACE,),
            live=False,
            thresholds={t.model: threshold for t in templates},
            contacts=True,
            max_candidates=50,
            expected_false=0.001,
            requested_at_ms=now_ms,
            not_after_ms=now_ms + 24 * HOUR_MS,
            policy_digest=self.site.policy.digest,
            version=1 if purposes is None else 2,
            purpose_kind=min(purposes or [""]),
        )
        query = replace(query, **changes)
        signed = query.sign(self.site.signing(requester))
        return Case(query, signed, {"patient-17": templates})

    def approval(self, case: Case, approver: str, *, policy_digest: bytes | None = None) -> Signed:
        """Sign an approval; nothing is sent."""
        now_ms = time.time_ns() // 1_000_000
        digest = policy_digest or self.site.policy.digest
        return Approval(case.signed.digest, digest, now_ms).sign(self.site.signing(approver))

    def withdrawal(self, case: Case, officer: str) -> Signed:
        """Sign a withdrawal; nothing is sent."""
        now_ms = time.time_ns() // 1_000_000
        signed = Withdrawal(case.signed.digest, "the patient has recovered", now_ms)
        return signed.sign(self.site.signing(officer))

    def file(self, case: Case) -> None:
        """Send a query and its templates to the aggregator."""
        self.site.post("ana", "aggregator", "/v1/queries", case.signed.to_bytes())
        self.hand_over(case)

    def hand_over(self, case: Case) -> None:
        """Seal the templates to a fresh matcher key and send them."""
        path = f"/v1/queries/{case.id}"
        data = self.site.post("ana", "aggregator", f"{path}/matcher-key", b"")
        signed = Signed.parse(data, kind=MATCHER_KEY_KIND)
        verify_key = self.site.directory.principals["aggregator"].verify_key
        key = MatcherKey.parse(signed.verify(lambda _name: verify_key))
        assert key.query_digest == case.signed.digest
        sealed = seal_templates(case.templates, key.key, query_digest=case.signed.digest)
        self.site.post("ana", "aggregator", f"{path}/templates", sealed, "PUT")

    def approve(self, case: Case, *approvers: str) -> None:
        """Approve and send that."""
        for approver in approvers or ("bo", "cy"):
            data = self.approval(case, approver).to_bytes()
            self.site.post(approver, "aggregator", f"/v1/queries/{case.id}/approvals", data)

    def run(self, case: Case) -> list[Candidate]:
        """File, approve twice, wait for the end; return the candidates."""
        self.file(case)
        self.approve(case)
        self.wait(case, "complete")
        return self.candidates(case)

    def show(self, case: Case) -> dict[str, Any]:
        """What the aggregator says of a query."""
        answer: dict[str, Any] = self.site.call(
            "ana", "aggregator", "GET", f"/v1/queries/{case.id}"
        ).json()
        return answer

    def wait(self, case: Case, *states: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until a query is in one of ``states``; fail at once when it ended otherwise."""

        def reached() -> dict[str, Any]:
            shown = self.show(case)
            if shown["state"] in states:
                return shown
            assert shown["state"] not in ENDED, f"{shown['state']}: {shown['reason']}"
            return {}

        return wait_for(
            reached,
            f"the query to be {' or '.join(states)}",
            timeout_s=timeout_s,
            explain=lambda: {k: self.show(case)[k] for k in ("state", "reason", "progress")},
        )

    def candidates(self, case: Case) -> list[Candidate]:
        """Read and open the candidates, as the investigator who asked."""
        key = self.site.sealing("ana")
        digest = case.signed.digest
        return [Candidate.open(sealed, key, query_digest=digest) for sealed in self.sealed(case)]

    def sealed(self, case: Case) -> list[bytes]:
        """Read the candidates, sealed as they are kept."""
        path = f"/v1/queries/{case.id}/results"
        data = self.site.call("ana", "aggregator", "GET", path).content
        return [item[1] for item in decode(data, what="results")]
