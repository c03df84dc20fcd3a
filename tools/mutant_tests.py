"""Which tests belong to which module, for `tools.mutants`: quick ones."""

from __future__ import annotations

_P, _C = "tests/protocol", "tests/custodian"
_ONE_BY_ONE = f"{_P}/test_checks_one_by_one.py"
_PARSERS = f"{_P}/test_parsers_refuse_hostile_input.py"
_VECTORS = f"{_P}/test_vectors_open_and_recompute.py"
_ONE_KEY = f"{_P}/test_one_key_is_one_party.py"
_LIARS = f"{_P}/test_lying_custodians_are_named.py"
_LIMITS = f"{_P}/test_policy_limits_hold.py"
_SPLIT = f"{_P}/test_audit_split_view.py"
_BY_DIGEST = f"{_P}/test_audit_by_digest.py"
_GRANTS = (
    f"{_C}/test_checks_one_by_one.py",
    f"{_C}/test_sharing.py",
    f"{_C}/test_grant_refusals.py",
    f"{_C}/test_grants_open_exactly_the_scope.py",
    f"{_C}/test_withdrawals.py",
)
_SECOND_FORM = f"{_P}/v2/test_policy_and_queries.py"
_SHEETS = f"{_P}/test_subject_files_and_sheets.py"
_AUDIT = (f"{_P}/test_audit.py", _SPLIT, _BY_DIGEST)
TESTS: dict[str, tuple[str, ...]] = {
    "protocol/admissions.py": (f"{_P}/test_admissions.py", _PARSERS, _ONE_KEY),
    "protocol/audit.py": _AUDIT,
    "protocol/audit_grants.py": (*_AUDIT, _ONE_KEY),
    "protocol/audit_witnesses.py": (_SPLIT, f"{_P}/test_audit.py", _ONE_KEY),
    "protocol/auditlog.py": (
        f"{_P}/test_audit_log.py",
        f"{_P}/test_audit.py",
        "tests/runtime/test_auditlog_store.py",
    ),
    "protocol/authorization.py": (
        f"{_P}/test_authorization.py",
        _ONE_BY_ONE,
        _LIMITS,
        _ONE_KEY,
        _SECOND_FORM,
    ),
    "protocol/cbor_reading.py": (
        f"{_P}/test_decoding_costs_no_more_than_its_size.py",
        _PARSERS,
        _VECTORS,
    ),
    "protocol/directory.py": (
        f"{_P}/test_directories_and_announcements_refused.py",
        _ONE_BY_ONE,
        f"{_P}/test_authorization.py",
        f"{_P}/test_admissions.py",
        _ONE_KEY,
        _PARSERS,
    ),
    "protocol/encoding.py": (
        f"{_P}/test_decoding_costs_no_more_than_its_size.py",
        _PARSERS,
        _VECTORS,
    ),
    "protocol/enrolment.py": (_SECOND_FORM, _SHEETS, f"{_C}/test_queries_of_the_second_form.py"),
    "protocol/epoch.py": (
        f"{_P}/test_directories_and_announcements_refused.py",
        _ONE_BY_ONE,
        f"{_P}/test_key_tree_scope.py",
        _VECTORS,
        f"{_P}/test_sealing_keys_of_low_order.py",
        f"{_C}/test_sharing.py",
        _PARSERS,
    ),
    "protocol/grant.py": (
        _ONE_BY_ONE,
        f"{_P}/test_key_tree_scope.py",
        _LIARS,
        _VECTORS,
        f"{_C}/test_grants_open_exactly_the_scope.py",
        _PARSERS,
    ),
    "protocol/keytree.py": (f"{_P}/test_key_tree_scope.py", _VECTORS, _PARSERS),
    "protocol/policy.py": (
        _LIMITS,
        f"{_P}/test_authorization.py",
        _ONE_BY_ONE,
        _PARSERS,
        _SECOND_FORM,
    ),
    "protocol/about_queries.py": (f"{_P}/test_authorization.py", _VECTORS, _PARSERS),
    "protocol/query.py": (
        _SECOND_FORM,
        _ONE_BY_ONE,
        _LIMITS,
        f"{_P}/test_authorization.py",
        _VECTORS,
        _PARSERS,
    ),
    "protocol/quorum.py": (_SPLIT, _ONE_KEY),
    "protocol/reconcile.py": (_LIARS, _VECTORS),
    "protocol/sealing.py": (f"{_P}/test_sealing.py", _VECTORS, _LIARS, _PARSERS),
    "protocol/sharing.py": (f"{_C}/test_sharing.py",),
    "protocol/signing.py": (
        f"{_P}/test_keys_of_small_order.py",
        f"{_P}/test_authorization.py",
        _VECTORS,
        _PARSERS,
    ),
    "custodian/clock.py": (f"{_C}/test_clock.py", f"{_C}/test_day_keys.py"),
    "custodian/destruction.py": (f"{_C}/test_clock.py", f"{_C}/test_day_keys.py"),
    "custodian/grants.py": (*_GRANTS, f"{_C}/test_custodian_http.py"),
    "custodian/history.py": (f"{_C}/test_sharing.py",),
    "custodian/keystore.py": (
        f"{_C}/test_checks_one_by_one.py",
        f"{_C}/test_day_keys.py",
        f"{_C}/test_clock.py",
    ),
    "custodian/trust.py": (
        f"{_C}/test_custodian_admissions.py",
        f"{_C}/test_sharing.py",
        f"{_C}/test_grant_refusals.py",
        f"{_C}/test_custodian_http.py",
    ),
    "custodian/verification.py": (*_GRANTS, f"{_C}/test_day_keys.py"),
    "custodian/withdrawals.py": (f"{_C}/test_withdrawals.py", f"{_C}/test_grant_refusals.py"),
}
