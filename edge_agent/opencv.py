"""Sets OpenCV's FFmpeg up: what it may open, and that it prints nothing that quotes an address."""

from __future__ import annotations

import os

import cv2

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,dhav,asf,flv,gif,"
    "mjpeg,mpjpeg,rtsp,sdp,rtp"
)
"""What FFmpeg may take a file or stream for. Playlists and the like are not among it: they would
have it open other files and addresses than the one that it was given."""


def quiet_opencv() -> None:
    """Silence OpenCV's and FFmpeg's printing to stderr; a setting of the operator's own is kept.

    What goes wrong is reported by us instead, with the credentials of an address taken out.
    RTSP is asked for over TCP: over UDP a busy network smears every other frame.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault(
        "OPENCV_FFMPEG_CAPTURE_OPTIONS", f"rtsp_transport;tcp|format_whitelist;{FORMATS}"
    )
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
