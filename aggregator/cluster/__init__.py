"""Matching on several machines: Dask as the carrier, shut to all but sealed portions of work."""
