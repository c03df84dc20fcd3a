"""Keeps OpenCV's and FFmpeg's own messages, which may quote a camera's address, out of our logs."""

from __future__ import annotations

import os

import cv2


def quiet_opencv() -> None:
    """Silence OpenCV's and FFmpeg's printing to stderr; a setting of the operator's own is kept.

    What goes wrong is reported by us instead, with the credentials of an address taken out.
    RTSP is asked for over TCP: over UDP a busy network smears every other frame.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
