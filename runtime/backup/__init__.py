"""Back up a role that runs, and put it back: what every role's command for it needs.

A backup is a folder: copies of the role's databases, its configuration sealed under the passphrase
of its identity, and a manifest, signed by that identity, with the digest of each
(docs/decisions/0051-day-keys-are-in-no-backup.md).
"""
