"""A camera by GStreamer's RTSP server: H.264 and MJPEG over TCP, behind a digest login.

Run by the system's Python (Debian: gir1.2-gst-rtsp-server-1.0, python3-gi, GStreamer's plugins
`good` and `ugly`), which has none of our packages: `python3 camera.py PORT FRAMES-FOLDER FPS`,
user and password by the environment. The pictures (`%05d.jpg`) go round for ever.
"""

import os
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - after their versions

_PICTURES = (
    'multifilesrc location="{folder}/%05d.jpg" loop=true caps="image/jpeg,framerate={fps}/1" ! '
    "identity sync=true ! jpegdec ! videoconvert ! video/x-raw,format=I420"
)
_STREAMS = {
    "/h264": "{pictures} ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} "
    "bitrate=1500 threads=1 ! rtph264pay name=pay0 pt=96 config-interval=1",
    "/mjpeg": "{pictures} ! jpegenc ! rtpjpegpay name=pay0 pt=26",
}
_ROLE = "viewer"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until the process is ended; say "ready" once it listens."""
    port, folder, fps = sys.argv[1:4]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, _ROLE)
    auth.add_digest(os.environ["CAMERA_USER"], os.environ["CAMERA_PASSWORD"], token)
    server.set_auth(auth)
    mounts = server.get_mount_points()
    for path, launch in _STREAMS.items():
        factory = GstRtspServer.RTSPMediaFactory()
        pictures = _PICTURES.format(folder=folder, fps=fps)
        factory.set_launch(f"( {launch.format(pictures=pictures, fps=fps)} )")
        factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
        factory.set_shared(True)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_role(_ROLE)
        for right in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role(_ROLE, right, True)
        factory.set_permissions(permissions)
        mounts.add_factory(path, factory)
    if server.attach(None) == 0:
        sys.exit(f"cannot listen on port {port}")
    server.connect("client-connected", lambda *_: say("client"))
    say("ready")
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
