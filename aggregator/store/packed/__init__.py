"""Packed segments: those of hours that are over, in immutable files in a folder or an S3.

What the ledger knows of them is in `aggregator.store.packs`; the files in `format`, where they are
in `place`; `reading` gives them as rows and runs, `packing` makes them, `store` puts them under one
roof with the rows that are not packed yet.
"""
