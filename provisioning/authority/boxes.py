"""Edge boxes of a site: add one, swap a dead one keeping its cameras, say how each one is."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from protocol.directory import BOX, Principal
from protocol.errors import ProtocolError
from protocol.telemetry import ONLINE
from protocol.textformats import parse_toml
from provisioning.authority import changes
from provisioning.authority.create import make_box, making_in
from provisioning.authority.office import Office
from provisioning.formats.boxstate import BoxState
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site, SiteError, changing, milliseconds, open_site
from provisioning.formats.plan import RESERVED_NAMES
from provisioning.formats.plan_boxes import BoxPlan, CameraPlan
from provisioning.formats.secretfiles import open_authority
from runtime.camera_troubles import camera_troubles
from runtime.fsio import read_file

_MAX_BYTES = 1 << 20


def check_box(site: Site, box: BoxPlan) -> bool:
    """Check that ``box`` can be added; tell whether it is there already, just so.

    Raises:
        SiteError: its name or a camera is taken.
    """
    principal = site.directory.principals.get(box.name)
    cameras = tuple(camera.name for camera in box.cameras)
    if principal is not None:
        if principal.revoked_at_ms is not None:
            raise SiteError(
                f"'{box.name}' has been revoked, and what it once signed must stay its own; choose"
                " a new name"
            )
        same = sorted(principal.cameras) == sorted(cameras)
        # Without any of its own it is told by what it imports; else that may have changed since.
        same &= bool(cameras) or sorted(principal.recordings) == sorted(box.recordings)
        if BOX in principal.duties and same:
            return True
        what = ", ".join(principal.cameras) or ", ".join(sorted(principal.duties))
        raise SiteError(f"the site has a '{box.name}' already ({what}); choose another name")
    if box.name in RESERVED_NAMES:
        raise SiteError(f"'{box.name}' is reserved; choose another name")
    if len(set(cameras)) != len(cameras):
        raise SiteError(f"box '{box.name}' names a camera twice")
    for camera in cameras:
        try:
            owner = site.directory.box_of_camera(camera)
        except ProtocolError:
            continue
        raise SiteError(
            f"camera '{camera}' is on box '{owner.name}'; to move it to a new box run"
            f" `sealtrace box swap DIR {owner.name} {box.name}`, or choose another name"
        )
    return False


def add_box(
    path: Path, box: BoxPlan, passphrase: bytes, *, now: datetime | None = None
) -> changes.Change:
    """Make a folder for ``box`` and list it in a new version of the directory.

    Raises:
        SiteError: its name or a camera is taken.
        KeyFileError: wrong passphrase.
    """
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        if check_box(site, box):
            return changes.spread_changes(site, changed=False)
        authority = open_authority(site.paths, passphrase)
        principal = _new_box(site, box, passphrase, changes.whole_second(now))
        principals = {**site.directory.principals, box.name: principal}
        return changes.publish(site, principals, authority, changes.whole_second(now))


def swap_plan(site: Site, old: str, new: str, cameras: Iterable[CameraPlan] = ()) -> BoxPlan:
    """Return what box ``new`` must be to take over the cameras of ``old``.

    Args:
        cameras: sources, for those cameras whose source ``old``'s folder no longer tells.

    Raises:
        SiteError: ``old`` is not a box, or a camera's source is unknown.
    """
    principal = require_box(site, old)
    known = {**read_box_cameras(site, old), **{camera.name: camera for camera in cameras}}
    missing = [name for name in principal.cameras if name not in known]
    if missing:
        raise SiteError(
            f"the folder of '{old}' is no longer here, so nobody knows where its cameras are; add"
            + "".join(f" --camera {name}=URL" for name in missing)
        )
    chosen = tuple(known[name] for name in principal.cameras)
    return BoxPlan(name=new, cameras=chosen, recordings=principal.recordings)


def swap_box(
    path: Path,
    old: str,
    new: str,
    passphrase: bytes,
    *,
    cameras: Iterable[CameraPlan] = (),
    now: datetime | None = None,
) -> changes.Change:
    """Revoke box ``old`` and make ``new`` in its place, with its cameras, in one new directory.

    Raises:
        SiteError: ``old`` is not a box, ``new`` is taken, or a camera's source is unknown.
        KeyFileError: wrong passphrase.
    """
    moment = changes.whole_second(now)
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        plan = swap_plan(site, old, new, cameras)
        without = site.directory.revoke(old, at_ms=milliseconds(moment))
        if check_box(replace(site, directory=without), plan):
            return changes.spread_changes(site, changed=False)
        authority = open_authority(site.paths, passphrase)
        principal = _new_box(site, plan, passphrase, moment)
        Office.open(site.paths, site.plan, passphrase).revoke(old, now=moment)
        taken_over = replace(principal, recordings=site.directory.principals[old].recordings)
        principals = {**without.principals, new: taken_over}
        return changes.publish(site, principals, authority, moment)


def read_box_cameras(site: Site, name: str) -> dict[str, CameraPlan]:
    """Return the cameras in a box's folder by name; empty when the folder is not here.

    Raises:
        SiteError: its ``box.toml`` cannot be read.
    """
    path = site.paths.box(name)
    if not path.exists():
        return {}
    try:
        values = parse_toml(read_file(path, _MAX_BYTES).decode())
        cameras = [CameraPlan.model_validate(camera) for camera in values.get("cameras", [])]
    except (ValueError, TypeError) as error:
        raise SiteError(f"{path} cannot be read: {error}; correct it") from error
    return {camera.name: camera for camera in cameras}


def _new_box(site: Site, box: BoxPlan, passphrase: bytes, now: datetime) -> Principal:
    """Make the folder of ``box``; one that an interrupted run left, and nobody knows, goes."""
    target = site.paths.box(box.name).parent
    if target.exists():
        if not (target / "box.toml").exists():
            raise SiteError(f"{target} is in the way and is not a box's folder; move it away")
        shutil.rmtree(target)
    making = making_in(site, passphrase, now)
    with changes.new_folder(target) as folder:
        make_box(making, box, folder)
    return making.principals[box.name]


def require_box(site: Site, name: str) -> Principal:
    """Return the box ``name``, in force or revoked.

    Raises:
        SiteError: nobody, or somebody else, is called that.
    """
    principal = site.directory.principals.get(name)
    if principal is None or BOX not in principal.duties:
        known = ", ".join(sorted(p.name for p in site.directory.with_duty(BOX))) or "none yet"
        raise SiteError(f"the site has no box '{name}'; it has: {known}")
    return principal


def overview(site: Site, *, now: datetime | None = None) -> list[BoxState]:
    """Return every box of the directory, revoked ones too, by name.

    Raises:
        OperationError: the list of certificates cannot be read.
    """
    left = changes.certificate_days(site, now)
    found = []
    for name, principal in sorted(site.directory.principals.items()):
        if BOX not in principal.duties:
            continue
        revoked, until_ms = principal.revoked_at_ms, principal.version_1_until_ms
        found.append(
            BoxState(
                name=name,
                cameras=principal.cameras,
                sources={c.name: c.source for c in read_box_cameras(site, name).values()},
                certificate_days=left.get(name),
                revoked_at=None if revoked is None else datetime.fromtimestamp(revoked / 1000, UTC),
                recordings=principal.recordings,
                version_1_until=None
                if until_ms is None
                else datetime.fromtimestamp(until_ms / 1000, UTC),
            )
        )
    return found


def with_live(state: BoxState, row: Mapping[str, Any] | None) -> BoxState:
    """Return ``state`` with what the aggregator tells about the box (``GET /v1/boxes``).

    A revoked box is not online, whatever its last report says: it may be connected for some
    seconds more, and nothing that it sends is taken.
    """
    if row is None:
        return state
    seen_ms, gaps = row.get("last_seen_ms"), row.get("gaps") or ()
    trouble = []
    told_revoked = bool(row.get("revoked"))
    revoked = told_revoked or state.revoked_at is not None
    if told_revoked and state.revoked_at is None:
        trouble.append("revoked, as headquarters have it")
    if row.get("clock_wrong"):
        trouble.append(f"its clock is {(row.get('clock_offset_ms') or 0) / 1000:+.0f} s off")
    if rejects := row.get("rejects"):
        count = sum(int(reject.get("count", 0)) for reject in rejects)
        trouble.append(f"{count} messages refused ({rejects[-1].get('reason', '')})")
    if row.get("quarantined"):
        look = "`sealtrace aggregator quarantine`"
        trouble.append(f"{row['quarantined']} messages in quarantine ({look})")
    if not revoked:
        trouble += camera_troubles(state.cameras, row.get("figures") or {})
    return replace(
        state,
        last_seen=None if not seen_ms else datetime.fromtimestamp(int(seen_ms) / 1000, UTC),
        online=row.get("state") == ONLINE and not revoked,
        version=str(row.get("version") or ""),
        protocol=row.get("protocol"),
        gaps=len(gaps),
        trouble=(*state.trouble, *trouble),
    )


def joined(listed: BoxState, admitted: BoxState) -> BoxState:
    """Return what the site's folder and the registrar together know of a box."""
    revoked = [at for at in (listed.revoked_at, admitted.revoked_at) if at is not None]
    days = [d for d in (listed.certificate_days, admitted.certificate_days) if d is not None]
    return replace(
        listed,
        sources=listed.sources or admitted.sources,
        certificate_days=max(days, default=None),
        revoked_at=min(revoked, default=None),
        trouble=(*listed.trouble, *admitted.trouble),
    )
