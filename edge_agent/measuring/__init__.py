"""Error rates of a bundle's face templates on a folder of a site's own pictures."""
