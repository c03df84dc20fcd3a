"""The aggregator's database, table by table, as the list of steps that made it.

Nothing in it opens anything: envelopes as they came, sealed results, signed messages, and the
bookkeeping around them (docs/threat-model.md). Times are integer ms UTC. A released
list only grows at its end (see `runtime.database.Migration`).

``envelopes`` is read in two ways: by scope (index on stream, epoch, generation, slot), and newer
than a cursor (``id`` only ever rises). Its blobs stand in the order of use, so that SQLite, which
walks a long row from its front, never touches the pages of ``meta`` while it reads ``face``.
"""

from __future__ import annotations

from sqlite_utils import Database

from aggregator.store.sqlite import packs
from aggregator.store.sqlite.leases import SCHEMA as LEASES
from protocol.names import EPOCH_MS
from runtime.clock import system_ms
from runtime.database import Migration

PAGE_BYTES = 16_384

_INTAKE = """
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    box TEXT NOT NULL,
    camera TEXT NOT NULL,
    run INTEGER NOT NULL DEFAULT 0,           -- rises when a board lost its counters and began anew
    highest INTEGER NOT NULL DEFAULT -1,      -- highest sequence of this run that has arrived
    generation INTEGER NOT NULL DEFAULT 0,    -- newest generation that has arrived
    last_received_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (site, box, camera)
) STRICT;
CREATE INDEX streams_by_camera ON streams (camera);

CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL UNIQUE
) STRICT;

-- What has arrived, for telling duplicates from equivocation; kept as long as the envelopes.
CREATE TABLE sequences (
    stream INTEGER NOT NULL REFERENCES streams (id),
    sequence INTEGER NOT NULL,
    run INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    outcome INTEGER NOT NULL,                 -- 1 stored, 2 quarantined, 3 refused
    digest BLOB NOT NULL,                     -- first 16 bytes of the message's SHA-256
    PRIMARY KEY (stream, sequence, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE gaps (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES streams (id),
    run INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    opened_ms INTEGER NOT NULL,
    reported_ms INTEGER,                      -- when it was older than re-ordering explains
    closed_ms INTEGER,                        -- when the last missing message came
    lost INTEGER NOT NULL DEFAULT 0           -- 1: given up (the board began anew, or retention)
) STRICT;
CREATE INDEX gaps_open ON gaps (stream, first) WHERE closed_ms IS NULL AND lost = 0;

CREATE TABLE envelopes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream INTEGER NOT NULL REFERENCES streams (id),
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    segment INTEGER NOT NULL,                 -- 1 a segment, 0 a live envelope
    sequence INTEGER NOT NULL,
    count INTEGER NOT NULL,
    face_model INTEGER REFERENCES models (id),
    appearance_model INTEGER REFERENCES models (id),
    received_ms INTEGER NOT NULL,
    salt BLOB NOT NULL,
    header BLOB NOT NULL,
    signature BLOB NOT NULL,
    face BLOB NOT NULL,                       -- a live envelope's whole ciphertext stands here
    appearance BLOB,
    meta BLOB                                 -- NULL in a live envelope
) STRICT;
CREATE INDEX envelopes_by_scope ON envelopes (stream, epoch, generation, slot, segment, count);

CREATE TABLE announcements (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream INTEGER NOT NULL REFERENCES streams (id),
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    announced_ms INTEGER NOT NULL,
    signed BLOB NOT NULL,                     -- the signed message as it came
    UNIQUE (stream, epoch, generation)
) STRICT;

CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream INTEGER REFERENCES streams (id),
    topic TEXT NOT NULL,
    reason TEXT NOT NULL,                     -- a word such as clock-ahead
    detail TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX quarantine_by_stream ON quarantine (stream);

CREATE TABLE rejects (
    box TEXT NOT NULL,
    camera TEXT NOT NULL,
    reason TEXT NOT NULL,
    count INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (box, camera, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE boxes (
    box TEXT PRIMARY KEY,
    last_seen_ms INTEGER NOT NULL,            -- anything at all, verified
    state TEXT,                               -- online, offline: from its last health report
    version TEXT,
    reported_ms INTEGER,                      -- by the box's clock
    reported_received_ms INTEGER,             -- by ours
    clock_offset_ms INTEGER,                  -- the box's clock minus ours, when it was last heard
    figures TEXT                              -- JSON: name to number
) STRICT, WITHOUT ROWID;
"""

_QUERIES = """
CREATE TABLE queries (
    query_id BLOB PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    requester TEXT NOT NULL,
    signed BLOB NOT NULL,                     -- the signed query as it came
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',          -- why it failed, or waits
    live INTEGER NOT NULL,
    window_from_ms INTEGER NOT NULL,
    window_to_ms INTEGER NOT NULL,
    not_after_ms INTEGER NOT NULL,
    filed_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    progress TEXT NOT NULL DEFAULT '{}'       -- JSON figures: segments, sightings, altered, ...
) STRICT, WITHOUT ROWID;
CREATE INDEX queries_by_state ON queries (state);

CREATE TABLE approvals (
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    approver TEXT NOT NULL,
    signed BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (query_digest, approver)
) STRICT, WITHOUT ROWID;

CREATE TABLE withdrawals (
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    officer TEXT NOT NULL,
    signed BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (query_digest, officer)
) STRICT, WITHOUT ROWID;

-- What custodians granted: never the keys, which stay in the matcher's memory.
CREATE TABLE grants (
    grant_id BLOB NOT NULL,
    custodian TEXT NOT NULL,
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    labels TEXT NOT NULL,                     -- JSON array
    scopes BLOB NOT NULL,                     -- CBOR array of scopes (protocol.grant.Scope)
    refused TEXT NOT NULL,                    -- JSON array of [camera, epoch, reason]
    entry_index INTEGER NOT NULL,             -- in the custodian's log
    granted_ms INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (custodian, grant_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_query ON grants (query_digest);

-- Candidates, sealed to the investigator who asked.
CREATE TABLE results (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    candidate_id BLOB NOT NULL,
    sealed BLOB NOT NULL,
    found_ms INTEGER NOT NULL,
    UNIQUE (query_digest, candidate_id)
) STRICT;

CREATE TABLE decisions (
    query_digest BLOB NOT NULL,
    candidate_id BLOB NOT NULL,
    investigator TEXT NOT NULL,
    signed BLOB NOT NULL,
    decided_ms INTEGER NOT NULL,
    PRIMARY KEY (query_digest, candidate_id),
    FOREIGN KEY (query_digest, candidate_id) REFERENCES results (query_digest, candidate_id)
) STRICT, WITHOUT ROWID;
"""

_FALSE_GRANTS = """
-- Custodians that answered a query falsely: what was granted did not open, the others' did.
CREATE TABLE false_grants (
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    custodian TEXT NOT NULL,
    reason TEXT NOT NULL,
    found_ms INTEGER NOT NULL,
    PRIMARY KEY (query_digest, custodian)
) STRICT, WITHOUT ROWID;
"""

_LOG_OUTBOX = """
-- Entries for the audit log, sealed, committed with what they record until the log has them.
CREATE TABLE log_outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    entry BLOB NOT NULL,
    log_size INTEGER NOT NULL                 -- of the log before: the entry stands after it
) STRICT;
"""

_VERSION_2 = """
-- 0 and 1 take no room in a row, so that neither is looked for behind the blobs.
ALTER TABLE envelopes ADD COLUMN version_2 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE announcements ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE announcements ADD COLUMN origin TEXT NOT NULL DEFAULT 'live';

-- Of a segment of version 2 what is read only where somebody was found, so that comparing passes
-- over no page of it.
CREATE TABLE sealed_rows (
    id INTEGER PRIMARY KEY,                   -- that of the envelope
    cover BLOB NOT NULL,
    counts BLOB,
    meta BLOB NOT NULL
) STRICT;

-- The live envelopes of version 2 in store, by number: what segments replace.
CREATE TABLE live_numbers (
    id INTEGER PRIMARY KEY,                   -- that of the envelope
    stream INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    sequence INTEGER NOT NULL
) STRICT;
CREATE INDEX live_numbers_by_slot ON live_numbers (stream, epoch, generation, slot, sequence);

-- What segments of version 2 replace, for live envelopes that come after them.
CREATE TABLE replaced_numbers (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT;
CREATE INDEX replaced_numbers_by_slot ON replaced_numbers (stream, epoch, generation, slot, first);
"""

_OFFICERS = """
-- Candidates are sealed to who asked and to each who confirms, and each of them decides.
CREATE TABLE result_seals (
    query_digest BLOB NOT NULL,
    candidate_id BLOB NOT NULL,
    officer TEXT NOT NULL,
    sealed BLOB NOT NULL,
    UNIQUE (query_digest, candidate_id, officer),
    FOREIGN KEY (query_digest, candidate_id) REFERENCES results (query_digest, candidate_id)
        ON DELETE CASCADE
) STRICT;
INSERT INTO result_seals (query_digest, candidate_id, officer, sealed)
    SELECT r.query_digest, r.candidate_id, q.requester, r.sealed
    FROM results r JOIN queries q ON q.digest = r.query_digest ORDER BY r.number;
ALTER TABLE results DROP COLUMN sealed;

CREATE TABLE officers_decisions (
    query_digest BLOB NOT NULL,
    candidate_id BLOB NOT NULL,
    officer TEXT NOT NULL,
    signed BLOB NOT NULL,
    decided_ms INTEGER NOT NULL,
    PRIMARY KEY (query_digest, candidate_id, officer),
    FOREIGN KEY (query_digest, candidate_id) REFERENCES results (query_digest, candidate_id)
) STRICT, WITHOUT ROWID;
INSERT INTO officers_decisions
    SELECT query_digest, candidate_id, investigator, signed, decided_ms FROM decisions;
DROP TABLE decisions;
ALTER TABLE officers_decisions RENAME TO decisions;

-- Which rows of metadata custodians opened for a query, with their receipts, sealed as results.
CREATE TABLE openings (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    opened_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX openings_by_query ON openings (query_digest);

-- The same rows, each once, so that a restart asks for no more: hashes that tell no place.
CREATE TABLE opened_rows (
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    mark BLOB NOT NULL,
    PRIMARY KEY (query_digest, mark)
) STRICT, WITHOUT ROWID;

CREATE TABLE opening_seals (
    opening INTEGER NOT NULL REFERENCES openings (number),
    officer TEXT NOT NULL,
    sealed BLOB NOT NULL,
    UNIQUE (opening, officer)
) STRICT;
"""

_WATCHING = """
-- What a query's cameras watched and counted, sealed as results; the newest alone.
CREATE TABLE watching (
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    officer TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (query_digest, officer)
) STRICT;
"""

_FILMS = """
-- Films have generations of their own beside that of what the box sees: each ends by its own.
ALTER TABLE streams ADD COLUMN live_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN floor_generation INTEGER NOT NULL DEFAULT 0;
UPDATE streams SET live_generation = coalesce(
    (SELECT max(generation) FROM announcements WHERE stream = streams.id AND origin = 'live'),
    generation
);
CREATE INDEX announcements_of_films ON announcements (epoch) WHERE origin = 'recorded';

-- Up to where the store had come when a query ended: films that come later were not compared.
ALTER TABLE queries ADD COLUMN seen_envelope INTEGER;
ALTER TABLE queries ADD COLUMN seen_announcement INTEGER;
UPDATE queries SET seen_envelope = (SELECT coalesce(max(id), 0) FROM envelopes),
    seen_announcement = (SELECT coalesce(max(id), 0) FROM announcements)
    WHERE state IN ('complete', 'withdrawn', 'expired', 'failed');
"""

_LINKS = """
-- Which companions of a query's subjects are one person, sealed as results; the newest alone.
CREATE TABLE links (
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    officer TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (query_digest, officer)
) STRICT;

-- The numbers of its contacts are made from it: the same after a restart, another's in no query.
ALTER TABLE queries ADD COLUMN link_seed BLOB;
UPDATE queries SET link_seed = randomblob(32);
"""

_HEALTH = """
-- What boxes reported, by quarter hour of our clock: of each figure the worst value, nothing seen.
CREATE TABLE box_health (
    box TEXT NOT NULL,
    slot INTEGER NOT NULL,
    reports INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    silent_ms INTEGER NOT NULL,
    version TEXT NOT NULL,
    worst TEXT NOT NULL,
    PRIMARY KEY (box, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX box_health_by_slot ON box_health (slot);
"""

_REFUSALS = """
-- Approvers' signed no, with the reason.
CREATE TABLE refusals (
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    approver TEXT NOT NULL,
    signed BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (query_digest, approver)
) STRICT, WITHOUT ROWID;
"""

_STILLS = """
-- What officers asked boxes for and boxes answered: minutes of it, sealed to who asked.
CREATE TABLE still_requests (
    request BLOB PRIMARY KEY,                 -- SHA-256 of the signed request
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    officer TEXT NOT NULL,
    box TEXT NOT NULL,
    signed BLOB NOT NULL,
    stills INTEGER NOT NULL,                  -- sightings that it names
    received_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE still_answers (
    request BLOB NOT NULL,
    mark BLOB NOT NULL,                       -- of the sighting: a hash that tells no place
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    officer TEXT NOT NULL,
    signed BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    UNIQUE (request, mark)
) STRICT;
CREATE INDEX still_answers_by_reader ON still_answers (query_digest, officer);

-- Of which sightings stills were sent, each once: what the log counts.
CREATE TABLE stills_sent (
    query_digest BLOB NOT NULL REFERENCES queries (digest),
    mark BLOB NOT NULL,
    PRIMARY KEY (query_digest, mark)
) STRICT, WITHOUT ROWID;
"""

_PAST_RUNS = """
-- The runs of streams that are over: what came in them when its digests are not kept any more.
CREATE TABLE past_runs (
    stream INTEGER NOT NULL,
    run INTEGER NOT NULL,
    highest INTEGER NOT NULL,
    ended_ms INTEGER NOT NULL,
    PRIMARY KEY (stream, run)
) STRICT, WITHOUT ROWID;
"""


def _date_messages(database: Database) -> None:
    """Say of each digest on which day it came; of those that are there, today, so that they stay.

    As a default, so that no row is written anew.
    """
    today = system_ms() // EPOCH_MS
    database.conn.execute(f"ALTER TABLE sequences ADD COLUMN day INTEGER NOT NULL DEFAULT {today}")


MIGRATIONS: tuple[Migration, ...] = (
    Migration("intake: streams, envelopes, announcements, quarantine, boxes", _INTAKE),
    Migration("queries, approvals, grants, sealed results, decisions", _QUERIES),
    Migration("custodians that granted falsely", _FALSE_GRANTS),
    Migration("entries on their way to the audit log", _LOG_OUTBOX),
    Migration("envelopes and announcements of version 2", _VERSION_2),
    Migration("results and decisions by officer, openings of rows", _OFFICERS),
    Migration("what the cameras of queries watched", _WATCHING),
    Migration("generations of films, and what came after a query had ended", _FILMS),
    Migration("companions of queries that are linked", _LINKS),
    Migration("history of boxes' health", _HEALTH),
    Migration("refusals of approvers", _REFUSALS),
    Migration("stills that officers ask boxes for", _STILLS),
    Migration("packed segments", packs.SCHEMA),
    Migration("leases of processes, and the size of the audit log", LEASES),
    Migration("the day of each message, and runs that are over", _PAST_RUNS, _date_messages),
)
