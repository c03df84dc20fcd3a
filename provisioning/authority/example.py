"""The commented ``site.toml`` that `sealtrace site init --example` prints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from provisioning.formats.plan_policy import PROGRAMME_DAYS


def example_toml(now: datetime | None = None) -> str:
    """Return an example that `sealtrace site init --config` takes as it is."""
    ends = (now or datetime.now(UTC)) + timedelta(days=PROGRAMME_DAYS)
    return _EXAMPLE.replace("PROGRAMME_ENDS", ends.strftime("%Y-%m-%dT00:00:00Z"))


_EXAMPLE = """\
# A site: who is in it. Make it with: sealtrace site init DIR --config site.toml
# Names are lower-case letters, digits and hyphens. What stands behind '#' is the default.

site = "north-hospital"

# How many custodians must agree before any sighting can be opened (m of n).
threshold = 2

# The site's time zone: of times that officers and recorders write without one.
# time_zone = "Asia/Seoul"                 # default: each machine's own

# A signed model bundle for boxes and investigators, made by `sealtrace models build`.
# bundle = ".sealtrace/models"
# bundle_signer = ".sealtrace/keys/model-signer.pub"

# --- Custodians: each under another authority, on another machine. ------------------------------

[[custodians]]
name = "c1"
host = "custodian.health-board.example"    # stands in its certificate and in the directory
port = 8441
# listen = "0.0.0.0"                       # default: every interface; loopback for localhost
# names = ["10.1.2.3"]                     # more names for its certificate

[[custodians]]
name = "c2"
host = "custodian.data-protection.example"
port = 8441

[[custodians]]
name = "c3"
host = "custodian.university.example"
port = 8441
# settings = { days_ahead = 7 }            # copied into its own custodian.toml

# --- Headquarters --------------------------------------------------------------------------------

[aggregator]
host = "hq.north-hospital.example"
port = 8440

[broker]
kind = "mosquitto"                         # or "embedded": plain, one machine, demonstrations
host = "hq.north-hospital.example"
port = 8883
# max_message_bytes = 8388608

[registrar]                                # or: registrar = false, above the first [section]
host = "hq.north-hospital.example"         # default: the aggregator's
port = 8445
# claim_hours = 72                         # within which a flashed box must come

# --- Officers: investigator (asks), approver (agrees), auditor (checks). -------------------------

[[officers]]
name = "ana"
duties = ["investigator"]

[[officers]]
name = "dan"                               # two confirm each hit: see policy.confirmations
duties = ["investigator"]

[[officers]]
name = "bo"
duties = ["approver"]

[[officers]]
name = "cy"
duties = ["approver"]

[[officers]]
name = "dee"
duties = ["approver"]

[[officers]]
name = "eve"
duties = ["auditor"]

# --- Edge boxes and the cameras that are wired to them; more come with `sealtrace box add`. ------

[[boxes]]
name = "box-1"
# settings = { outbox = { max_mb = 500 } } # copied into its box.toml

[[boxes.cameras]]
name = "cam-1"
source = "rtsp://user:password@10.0.0.11/stream1"   # or http://..., v4l2:/dev/video0, a file, ...
# Every other key is copied into box.toml: homography, detect_fps, pace, ...

# --- Policy: the most that a query may ask for. --------------------------------------------------

[policy]
programme_ends = PROGRAMME_ENDS      # after it nothing is granted any more
approvals = 2                              # the requester's own does not count
max_subjects = 10
max_window_hours = 336
max_live_hours = 72                        # 0 forbids live queries
max_cameras = 500
max_query_days = 7
max_candidates = 200
retention_days = 14                        # then the custodians destroy the day's key
purposes = ["contact tracing"]             # what a query may be for; an empty list permits none
live = true
contacts = "near"                          # or "none"; "linked": also who is one person
continuation = false                       # following a confirmed person by their clothes
continuation_minutes = 120                 # so long before and after
continuation_cameras = 30                  # most cameras of a query that does
same_place_counts = false                  # how many others were there
evidence_stills = 0                        # pictures, of so many sightings a query
evidence_export = false                    # whether those of confirmed hits may become files
confirmations = 2                          # investigators who must each confirm a hit
enrolment_without_witness = true           # false: a second officer sees whose photographs they are
consent_documents = true                   # a query on consent names the document, by its hash
cover = "slots"                            # or "off", "steady"
# cover_interval_s = 30                    # with "steady" only
outside_witnesses = 0                      # witnesses outside the site who must cosign its logs
expected_false = 10                        # strangers expected of each subject, by default

# [policy.option_approvals]
# live = 1                                 # further approvals for what is asked besides comparing

# [policy.threshold_floor]
# "sface-128@0123abcd" = 0.5               # lowest threshold; default: as the bundle recommends

[policy.legal_basis.consent]
modalities = ["face", "appearance"]
extra_approvals = 0

[policy.legal_basis.statutory-order]
modalities = ["appearance"]                # a face template needs consent
extra_approvals = 1

# --- Certificates and secret files ---------------------------------------------------------------

[certificates]
box_days = 30
service_days = 397
officer_days = 397
ca_years = 10

[security]
argon2_memory_kib = 47104                  # what each guess at a passphrase costs
"""
