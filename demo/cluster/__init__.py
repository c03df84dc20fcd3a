"""The demo's trace on several processes: PostgreSQL, an S3, two that take in, two that match."""
