"""Tests that cost seconds without starting a process: `make check` leaves them to `make test`.

Listed by what the report of the dearest files says (`cost_report`), in one place, so that the fast
loop stays under a minute and a half.
"""

from __future__ import annotations

from pathlib import Path

MARKER = "slow"
_FILES = {
    "aggregator/test_custodians_that_lie.py",
    "aggregator/test_intake_checks.py",
    "aggregator/test_log_and_store_agree.py",
    "aggregator/test_standing_queries_wait_for_arrivals.py",
    "custodian/test_clock.py",
    "custodian/test_custodian_http.py",
    "custodian/test_day_keys.py",
    "custodian/test_grant_refusals.py",
    "edge_agent/box/test_clock_steps.py",
    "edge_agent/box/test_outbox_survives.py",
    "edge_agent/test_capture_live.py",
    "edge_agent/test_mask_classifier.py",
    "fuzz/test_fuzzing_finds_faults.py",
    "officers/test_audit_commands.py",
    "officers/test_queries_of_the_second_form.py",
    "officers/test_query_cli_files_approves_revokes.py",
    "officers/test_traces_command_opens_decides_exports.py",
    "protocol/test_audit_log.py",
    "protocol/test_decoding_costs_no_more_than_its_size.py",
    "protocol/test_modalities_are_named_in_one_place.py",
    "provisioning/test_admission_over_https.py",
    "provisioning/test_image_base.py",
    "provisioning/test_policy_upgrade.py",
    "provisioning/test_registrar_commands.py",
    "provisioning/test_site_cli.py",
    "runtime/test_http_client_bounds.py",
    "runtime/test_http_slow_and_many.py",
    "runtime/test_integrity.py",
    "runtime/test_log_api.py",
    "runtime/test_logs.py",
    "runtime/test_mqtt_broker_that_talks_nonsense.py",
}
_TESTS = Path(__file__).resolve().parents[1]
SLOW_FILES = frozenset(_TESTS / name for name in _FILES)
