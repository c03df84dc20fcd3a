"""How the camera commands print what they found: plain lines and tables."""

from __future__ import annotations

import math

from edge_agent.camera_setup.calibrate import Calibration
from edge_agent.camera_setup.discovery import FoundCamera
from edge_agent.camera_setup.probe import ProbeResult
from edge_agent.homography import fit_ground_plane
from edge_agent.video.codecs import codec_in_words
from edge_agent.vision.config import GroundConfig
from runtime.terminal import note, plain_table, say, show_table, warn


def ground_in_words(ground: GroundConfig | None) -> str:
    """How a camera's ground is known, in words."""
    if ground is None:
        return "not measured: distances are judged by the size of faces"
    if ground.matrix is not None:
        return "given as a matrix"
    plane = fit_ground_plane(ground.image_points_px, ground.ground_points_m)
    return (
        f"{len(ground.image_points_px)} points, missed by {100 * (plane.rms_error_m or 0):.0f} cm"
    )


def show_result(result: ProbeResult) -> None:
    """Print the figures of a probe."""
    facts, light = result.facts, result.light
    stated = f"{facts.fps:.4g}" if facts.fps else "not stated"
    kind = "arrived" if result.live else "decoded (a recording, as fast as this machine can)"
    lost = f"{result.missed} missing" if result.live else f"{result.bad} unreadable"
    faces = result.faces
    rows = {
        "source": result.address,
        "codec": codec_in_words(facts.codec) or "not stated",
        "size": f"{result.width}x{result.height}",
        "frames a second": f"{stated} stated, {result.fps:.1f} {kind}",
        "frames": f"{result.frames} in {result.lasted_s:.1f} s, {lost}",
        "delay": f"opened in {result.opened_s:.1f} s, first picture after "
        f"{result.first_frame_s:.1f} s, longest pause {result.longest_gap_s:.2f} s",
        "light": f"{light.brightness:.0f} of 255, {light.clipped:.0%} pure black or white, "
        f"sharpness {light.sharpness:.0f}",
        "faces": "not looked for"
        if faces is None
        else f"{faces.faces} in {faces.pictures} pictures, at most {faces.most} at once"
        + (
            f"; {faces.height_px:.0f} px high, {faces.eyes_px:.0f} px between the eyes"
            if faces.faces
            else ""
        ),
    }
    if facts.began is not None:
        zone = "" if facts.began.tzinfo else ", the recorder's local time"
        rows["begun"] = f"{facts.began:%Y-%m-%d %H:%M:%S%Z}{zone}, as its header says"
    if result.login:
        rows["login"] = result.login
    for name, value in rows.items():
        say(f"{name:<16} {value}")


def show_calibration(found: Calibration) -> None:
    """Print how points fit, the scale across the picture, and warnings."""
    table = plain_table("point", "picture (px)", "ground (m)", "missed by")
    for number, each in enumerate(found.errors, start=1):
        at = each.point
        table.add_row(
            str(number),
            f"{at.px:g}, {at.py:g}",
            f"{at.x:g}, {at.y:g}",
            f"{each.error_cm:.1f} cm",
        )
    show_table(table)
    table = plain_table("place in the picture", "px", "one pixel is", "and deep")
    for scale in found.scales:
        table.add_row(
            scale.where + (" (guessed)" if scale.extrapolated else ""),
            f"{scale.px:.0f}, {scale.py:.0f}",
            f"{scale.across_cm:.2f} cm wide" if math.isfinite(scale.across_cm) else "no ground",
            f"{scale.depth_cm:.2f} cm" if math.isfinite(scale.depth_cm) else "",
        )
    show_table(table)
    for text in found.warnings:
        warn(text)


def show_found(found: list[FoundCamera]) -> None:
    """Print cameras that answered, or what to do when none did."""
    if not found:
        note(
            "no camera answered. Are they on this network and powered, and is ONVIF switched on in "
            "their settings? A firewall here must let UDP answers in. --interface names another "
            "network, --address asks one camera."
        )
        return
    table = plain_table("address", "name", "hardware", "place", "ONVIF")
    for each in found:
        table.add_row(
            *(each.host, each.name, each.hardware, each.location),
            (each.services[0] if each.services else "none given")
            + (" (another machine!)" if each.services and each.elsewhere else ""),
        )
    show_table(table)
    note(f"next: sealtrace camera streams {found[0].host} --user NAME")
