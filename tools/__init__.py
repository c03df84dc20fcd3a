"""Tools for those who work on the code; nothing of a site uses them."""
