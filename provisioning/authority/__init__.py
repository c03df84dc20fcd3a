"""A site: its authorities, keys, certificates, directory, policy, and one folder for each role."""

from provisioning.authority.create import create_site
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site, SiteError, open_site
from provisioning.formats.plan import SitePlan, load_plan

__all__ = [
    "Site",
    "SiteError",
    "SitePaths",
    "SitePlan",
    "create_site",
    "load_plan",
    "open_site",
]
