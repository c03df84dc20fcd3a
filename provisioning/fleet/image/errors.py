"""What can go wrong between a stock image and one for a box; each message says what to do next."""

from __future__ import annotations

from runtime.errors import OperationError


class ImageError(OperationError):
    """An image cannot be read, changed or written."""


class ChecksumMismatch(ImageError):
    """The base image is not the file whose checksum was given."""


class BaseImageUnusable(ImageError):
    """The base image is damaged, cut short, or of a kind that cannot be prepared."""


class PartitionTableInvalid(BaseImageUnusable):
    """The first sectors are not a partition table, or one that contradicts itself."""


class BootPartitionMissing(BaseImageUnusable):
    """No partition holds a FAT file system that a box could be set up through."""


class BootPartitionFull(ImageError):
    """What the first boot needs does not fit on the boot partition."""


class RootVolumeUnusable(BaseImageUnusable):
    """The root file system of the base image cannot take the card's software."""


class ToolMissing(ImageError):
    """A program that the work needs is not on this machine."""


class ClaimUnusable(ImageError):
    """The box's claim is malformed, has run out, or is for another box."""


class SoftwareUnsigned(ImageError):
    """The software for boxes is not what the site's authority signed."""


class WheelsUnavailable(ImageError):
    """The software for boxes could not be fetched or built."""


class ImageExists(ImageError):
    """There is a file at the image's name already, and it is another one."""


class BlockMapInvalid(ImageError):
    """The block map beside an image is malformed, altered, or of another image."""
