"""Rules by which contacts are graded, a file a disease, each figure with its public source."""
