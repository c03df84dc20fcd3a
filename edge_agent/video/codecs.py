"""Codecs as people call them."""

from __future__ import annotations

_CODECS = {
    **dict.fromkeys(("h264", "avc1", "x264"), "H.264"),
    **dict.fromkeys(("hevc", "hvc1", "hev1", "h265"), "H.265"),
    **dict.fromkeys(("mjpg", "jpeg"), "Motion JPEG"),
    **dict.fromkeys(("fmp4", "mp4v", "xvid"), "MPEG-4"),
    **dict.fromkeys(("mpg1", "mpg2", "mpeg"), "MPEG-2"),
    "images": "images",
}
"""By FourCC, lower case."""


def codec_in_words(fourcc: str) -> str:
    """Return a codec's name by its FourCC in lower case; what is not known stays as it is."""
    return _CODECS.get(fourcc, fourcc)
