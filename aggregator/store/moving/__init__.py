"""Moves a running site's ledger from the embedded backend into PostgreSQL."""
