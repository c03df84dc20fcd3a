"""What the directory says besides who is who, as changes of a site.

Officers' passkeys and witnesses outside the site (`site_places`: the register of places): all from
the directory's second form on. Nothing here asks or prints; each change may be made again after an
interruption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from protocol.directory import (
    AUTHORITY,
    MAX_OUTSIDE_WITNESSES,
    MAX_PASSKEYS,
    Directory,
    OutsideWitness,
    Principal,
)
from protocol.directory_forms import SECOND
from protocol.errors import MalformedMessage, ProtocolError
from protocol.names import require_name
from protocol.passkey_offers import open_offer
from protocol.passkeys import Passkey
from provisioning.authority import changes
from provisioning.authority.changes import Change
from provisioning.authority.consequences import Consequence, Weight
from provisioning.authority.proposals import Proposal
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site, SiteError, changing, milliseconds, open_site
from provisioning.formats.secretfiles import open_authority
from runtime.text import quoted

_MAX_URL = 300


def add_passkey(folder: Path, offer: bytes, *, now: datetime | None = None) -> Proposal:
    """Propose to list a passkey that an officer offers (`protocol.passkey_offers`).

    Raises:
        SiteError: the offer is not genuine, the passkey is somebody else's, or there is no room.
    """
    site = open_second_form(folder)
    try:
        name, passkey = open_offer(
            offer, site.directory, now_ms=milliseconds(changes.whole_second(now))
        )
    except ProtocolError as error:
        raise SiteError(
            f"the passkey is not listed: {error}; have the officer offer it anew"
        ) from error
    officer = site.directory.principals[name]
    same = passkey in officer.passkeys
    if not same:
        _check_room(site.directory, officer, passkey)

    def listed(directory: Directory) -> Directory:
        now_of = directory.principals[name]
        if passkey in now_of.passkeys:
            return directory
        return _with(directory, replace(now_of, passkeys=(*now_of.passkeys, passkey)))

    page = f"{passkey.origin} (RP id {passkey.rp_id})"
    text = f"what passkey {passkey.fingerprint} signs at {page} is {name}'s word, as by key file"
    return Proposal(
        site,
        would=f"would list passkey {passkey.fingerprint} of {name}, used at {page}",
        done=f"{name} signs with passkey {passkey.fingerprint} too",
        make=lambda passphrase: change_directory(folder, listed, passphrase, now),
        needs_passphrase=not same,
        effects=() if same else (Consequence(Weight.SAID, text),),
    )


def remove_passkey(
    folder: Path, name: str, fingerprint: str, *, now: datetime | None = None
) -> Proposal:
    """Propose to withdraw an officer's passkey; nothing is to be done if they have none such.

    Raises:
        SiteError: nobody is called that.
    """
    site = open_second_form(folder)
    officer = site.directory.principals.get(name)
    if officer is None:
        raise SiteError(f"the site has no '{name}'; see `sealtrace site show {quoted(folder)}`")

    def without(directory: Directory) -> Directory:
        now_of = directory.principals[name]
        left = tuple(one for one in now_of.passkeys if one.fingerprint != fingerprint)
        return (
            directory
            if left == now_of.passkeys
            else _with(directory, replace(now_of, passkeys=left))
        )

    same = without(site.directory) == site.directory
    text = (
        f"what {name} signed with passkey {fingerprint} counts no longer: open queries that stand "
        "on it have to be signed anew"
    )
    return Proposal(
        site,
        would=f"would withdraw passkey {fingerprint} of {name}",
        done=f"{name} has no passkey {fingerprint}",
        make=lambda passphrase: change_directory(folder, without, passphrase, now),
        needs_passphrase=not same,
        effects=() if same else (Consequence(Weight.ASKED, text),),
        question=f"Withdraw passkey {fingerprint} of {name}?",
    )


def add_witness(folder: Path, witness: OutsideWitness, *, now: datetime | None = None) -> Proposal:
    """Propose a witness outside the site, who cosigns its logs.

    Raises:
        SiteError: its name or key is taken, its address is none, or there is no room.
    """
    site = open_second_form(folder)
    directory = site.directory
    known = {one.name: one for one in directory.outside_witnesses}
    same = known.get(witness.name) == witness
    if not same:
        _check_witness(directory, witness)

    def listed(before: Directory) -> Directory:
        if witness in before.outside_witnesses:
            return before
        return replace(before, outside_witnesses=(*before.outside_witnesses, witness))

    return Proposal(
        site,
        would=f"would list the outside witness {witness.name} at {witness.url}, key"
        f" {witness.verify_key.fingerprint}",
        done=f"{witness.name} is an outside witness",
        make=lambda passphrase: change_directory(folder, listed, passphrase, now),
        needs_passphrase=not same,
    )


def remove_witness(folder: Path, name: str, *, now: datetime | None = None) -> Proposal:
    """Propose to take a witness outside the site off the list; nothing if there is none such.

    Raises:
        SiteError: ``name`` is one of the site's own.
    """
    site = open_second_form(folder)
    if name in site.directory.principals:
        raise SiteError(
            f"'{name}' is in the site, not outside; `sealtrace site revoke` puts them out of it"
        )

    def without(directory: Directory) -> Directory:
        left = tuple(one for one in directory.outside_witnesses if one.name != name)
        return replace(directory, outside_witnesses=left)

    left = without(site.directory)
    same = left == site.directory
    needed, count = site.policy.outside_witnesses, len(left.outside_witnesses)
    effects = []
    if not same and count < needed:
        text = f"the policy asks for {needed} outside witnesses, and {count} are left"
        effects.append(Consequence(Weight.ASKED, text))
    return Proposal(
        site,
        would=f"would take the outside witness {name} off the list",
        done=f"{name} is no outside witness",
        make=lambda passphrase: change_directory(folder, without, passphrase, now),
        needs_passphrase=not same,
        effects=tuple(effects),
        question=f"Take {name} off the list all the same?",
    )


def open_second_form(folder: Path) -> Site:
    """Open a site whose directory has room for all this.

    Raises:
        SiteError: it is in its first form.
    """
    site = open_site(folder)
    if site.directory.form < SECOND:
        raise SiteError(
            "the directory is in the form of version 1, which has no room for passkeys, places or"
            " outside witnesses; once all services of the site have been updated, sign it in the"
            f" second form with `sealtrace site update {quoted(folder)} --sign`"
        )
    return site


def _with(directory: Directory, officer: Principal) -> Directory:
    return replace(directory, principals={**directory.principals, officer.name: officer})


def _check_room(directory: Directory, officer: Principal, passkey: Passkey) -> None:
    """Check that an officer can have one passkey more, and that it is nobody else's.

    Raises:
        SiteError: it says why not.
    """
    for name, one in sorted(directory.principals.items()):
        if passkey.public in {other.public for other in one.passkeys}:
            raise SiteError(
                f"passkey {passkey.fingerprint} is listed for '{name}' already"
                + ("; at another page: remove that first" if name == officer.name else "")
            )
    if len(officer.passkeys) >= MAX_PASSKEYS:
        raise SiteError(
            f"'{officer.name}' has {MAX_PASSKEYS} passkeys, which is the most; withdraw one with"
            " `sealtrace site passkey remove`"
        )


def _check_witness(directory: Directory, witness: OutsideWitness) -> None:
    """Check that a witness can be listed.

    Raises:
        SiteError: it says why not.
    """
    name, url = witness.name, witness.url
    try:
        require_name(name, what="the witness")
    except MalformedMessage as error:
        raise SiteError(str(error)) from error
    if name == AUTHORITY or name in directory.principals:
        raise SiteError(f"'{name}' is in the site, and a witness outside is somebody else")
    if any(one.name == name for one in directory.outside_witnesses):
        raise SiteError(
            f"'{name}' is an outside witness with another key or address; take it off the list with"
            " `sealtrace site witness remove` first"
        )
    keys = {one.name: one.verify_key for one in directory.principals.values()}
    keys |= {one.name: one.verify_key for one in directory.outside_witnesses}
    for other, key in sorted(keys.items()):
        if key == witness.verify_key:
            raise SiteError(f"that key is '{other}''s: one party would count as two")
    host, slash, rest = url.removeprefix("https://").partition("/")
    if (
        not url.startswith("https://")
        or not host
        or len(url) > _MAX_URL
        or not url.isascii()
        or any(one.isspace() or not one.isprintable() for one in url)
        or "@" in host
        or (slash and "?" in rest)
    ):
        raise SiteError(f"'{url}' is not an address such as https://witness.example")
    if len(directory.outside_witnesses) >= MAX_OUTSIDE_WITNESSES:
        raise SiteError(
            f"the site has {MAX_OUTSIDE_WITNESSES} outside witnesses, which is the most"
        )


def change_directory(
    path: Path,
    change: Callable[[Directory], Directory],
    passphrase: bytes,
    now: datetime | None,
    *,
    keep: Callable[[SitePaths], None] = lambda _paths: None,
) -> Change:
    """Sign a directory that says otherwise, if it does; bring it to the role folders.

    Args:
        keep: keeps what the directory only names, before it is signed.
    """
    moment = changes.whole_second(now)
    with changing(SitePaths(path.absolute())):
        site = open_second_form(path)
        directory = change(site.directory)
        if directory == site.directory:
            keep(site.paths)
            return changes.spread_changes(site, changed=False)
        authority = open_authority(site.paths, passphrase)
        keep(site.paths)
        return changes.publish(
            replace(site, directory=directory), directory.principals, authority, moment
        )
