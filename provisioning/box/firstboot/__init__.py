"""What a box does itself: its keys, joining, installing what it is told, renewing."""
