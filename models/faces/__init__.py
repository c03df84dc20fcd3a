"""The default face embedder: SFace, read out of its package and dequantised."""
