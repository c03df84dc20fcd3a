"""The registrar at headquarters: claims in, certificates and signed configuration out."""
