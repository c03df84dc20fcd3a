"""The backend for sites of several machines: PostgreSQL 15 or newer, through psycopg 3.

What the rows are for is said in `aggregator.store.ledger` and `aggregator.store.interface`. Loaded
only where the configuration names a server.
"""
