"""Certificates of a role: how long they hold, who vouches for them, whether their keys fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

from runtime.certificates import chain_of, name_of
from runtime.config import TlsConfig
from runtime.doctor.findings import Findings
from runtime.tls import client_context

SOON_DAYS = 7.0
LATE_SHARE = 0.2
"""Of the life of a certificate that is renewed by itself: with less left, renewal has failed."""


def look_at_certificate(
    found: Findings,
    about: str,
    tls: TlsConfig,
    *,
    name: str | None = None,
    renewed_by: str,
    by_itself: bool = False,
) -> None:
    """Look at one certificate, its key and its chain.

    Args:
        found: takes what is found.
        about: what it is for.
        tls: its files.
        name: whose it must be; None: anybody's.
        renewed_by: what to do when it runs out.
        by_itself: whether it should have been renewed in time without anybody's doing.
    """
    with found.looking(about, next=renewed_by):
        chain = chain_of(tls)
        client_context(tls)  # the key fits
        ours = chain[0]
        if name is not None and name_of(ours) != name:
            found.wrong(
                about,
                f"{tls.certificate} is of '{name_of(ours)}', and this is '{name}'",
                "install the certificate that was made for it",
            )
            return
        first = min(chain, key=lambda one: one.not_valid_after_utc)
        _look_at_time(found, about, ours, first, renewed_by, by_itself=by_itself)


def _look_at_time(
    found: Findings,
    about: str,
    ours: x509.Certificate,
    first: x509.Certificate,
    renewed_by: str,
    *,
    by_itself: bool,
) -> None:
    now = datetime.now(UTC)
    if ours.not_valid_before_utc > now:
        found.wrong(
            about,
            f"holds only from {ours.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on",
            "set this machine's clock right",
        )
        return
    left = (first.not_valid_after_utc - now) / timedelta(days=1)
    life = (ours.not_valid_after_utc - ours.not_valid_before_utc) / timedelta(days=1)
    whose = "" if first is ours else f", when '{name_of(first)}' above it ends"
    what = f"of '{name_of(ours)}', until {first.not_valid_after_utc:%Y-%m-%d}{whose}"
    soon = life * LATE_SHARE if by_itself else min(SOON_DAYS, life / 3)
    if left <= 0:
        found.wrong(about, f"{what}: it has run out", renewed_by)
    elif left < soon:
        found.warn(about, f"{what}: {left:.1f} days are left", renewed_by)
    else:
        found.well(about, f"{what} ({left:.0f} days); its key and its chain fit")
