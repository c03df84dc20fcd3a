"""The embedded backend: one SQLite file, through sqlite-utils.

What the rows are for is said in `aggregator.store.ledger` and `aggregator.store.interface`.
"""
