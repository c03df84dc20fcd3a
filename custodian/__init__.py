"""Holds one custodian's shares of the day's keys; grants them for a query it has verified itself."""
