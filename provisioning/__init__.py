"""Makes a site, its model bundle and its demo; admits, configures and revokes boxes."""
