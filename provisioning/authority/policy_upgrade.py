"""Bring a policy to the present schema: missing keys at their closed values, floors at the models'.

Nothing is opened by it. What a policy of the first schema permitted in silence is forbidden until
the site's authority says it in so many words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from protocol.policy import COVER_STEADY, SCHEMA, Permissions, Policy, parse_policy
from protocol.textformats import parse_toml
from provisioning.authority.policy_text import OF_SECOND_SCHEMA, floors_of, policy_text
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site
from provisioning.formats.plan_policy import PolicyPlan
from runtime.bundle import MANIFEST_NAME, load_bundle
from runtime.fsio import read_file

_MAX_BYTES = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAYS_NOTHING = {"cover_interval_s", "option_approvals", "expected_false"}
"""Keys that close nothing where they are missing."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What a policy would become.

    Args:
        text: the next version, to be signed.
        policy: the same, read.
        added: keys that were not stated, now at their closed values.
    """

    text: bytes
    policy: Policy
    added: tuple[str, ...]


def upgrade_of(site: Site) -> Upgrade | None:
    """Return what the site's policy lacks, written out; None where it lacks nothing.

    Raises:
        BundleError: the models that are installed are not those that the authority signed.
        FileProblem: the policy cannot be read.
        MalformedMessage: a threshold of theirs is none that a policy may state.
    """
    policy = site.policy
    stated = parse_toml(read_file(site.paths.policy, _MAX_BYTES).decode())
    added = tuple(
        key
        for key in ("policy_schema", *OF_SECOND_SCHEMA)
        if key not in stated and key not in _SAYS_NOTHING
    )
    floors = {
        model: score
        for model, score in recommended_floors(site).items()
        if policy.threshold_floor.get(model, -2.0) < score
    }
    if not added and not floors:
        return None
    kept = {m: score for m, score in policy.threshold_floor.items() if m not in floors}
    text = policy_text(
        site.plan.site,
        _plan_of(policy, kept, said=stated),
        version=policy.version + 1,
        schema=SCHEMA,
        default_floors=floors,
    )
    return Upgrade(text, parse_policy(text), added)


def recommended_floors(site: Site) -> dict[str, float]:
    """Return the thresholds that the installed models recommend; none where none are installed.

    Raises:
        BundleError: the models are not those that the authority signed.
    """
    if not has_models(site.paths):
        return {}
    return floors_of(load_bundle(site.paths.models, [site.authority.raw], roles=()))


def has_models(paths: SitePaths) -> bool:
    """Tell whether a bundle of models is installed in the site's folder."""
    return (paths.models / MANIFEST_NAME).exists()


def _plan_of(policy: Policy, floors: Mapping[str, float], *, said: Collection[str]) -> PolicyPlan:
    """Return the values of a policy; what it does not state is closed."""
    permits = policy.permits if policy.schema > 1 else Permissions()
    return PolicyPlan.model_validate(
        {
            "programme_ends": _EPOCH + timedelta(milliseconds=policy.programme_ends_ms),
            "approvals": policy.approvals,
            "max_subjects": policy.max_subjects,
            "max_window_hours": policy.max_window_hours,
            "max_live_hours": policy.max_live_hours,
            "max_cameras": policy.max_cameras,
            "max_query_days": policy.max_query_days,
            "max_candidates": policy.max_candidates,
            "retention_days": policy.retention_days,
            "purposes": tuple(sorted(policy.purposes or ())),
            "live": permits.live,
            "contacts": permits.contacts,
            "continuation": permits.continuation,
            "continuation_minutes": permits.continuation_minutes,
            "continuation_cameras": permits.continuation_cameras,
            "same_place_counts": permits.same_place_counts,
            "evidence_stills": permits.evidence_stills,
            "evidence_export": permits.evidence_export,
            "confirmations": policy.confirmations,
            "enrolment_without_witness": policy.schema > 1 and not policy.witnessed_enrolment,
            "consent_documents": policy.consent_documents or "consent_documents" not in said,
            "cover": policy.cover,
            "cover_interval_s": policy.cover_interval_s if policy.cover == COVER_STEADY else None,
            "outside_witnesses": policy.outside_witnesses,
            "expected_false": policy.expected_false,
            "option_approvals": dict(policy.option_approvals),
            "threshold_floor": dict(floors),
            "legal_basis": {
                name: {
                    "modalities": tuple(sorted(rule.modalities)),
                    "extra_approvals": rule.extra_approvals,
                }
                for name, rule in policy.bases.items()
            },
        }
    )
