"""What offices, registrar and boards hand to each other: plans, layouts, claims, forms."""
