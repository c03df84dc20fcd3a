"""A site: its authorities, keys, certificates, directory, policy, and one folder for each role."""

from provisioning.site.create import create_site
from provisioning.site.layout import SitePaths
from provisioning.site.opened import Site, SiteError, open_site
from provisioning.site.plan import SitePlan, load_plan

__all__ = [
    "Site",
    "SiteError",
    "SitePaths",
    "SitePlan",
    "create_site",
    "load_plan",
    "open_site",
]
