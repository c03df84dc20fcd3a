"""Card images for boxes: a stock image plus what its first boot needs, and no private key."""
