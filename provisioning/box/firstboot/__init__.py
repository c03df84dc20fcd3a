"""What a box does itself: its keys, enrolling, installing what it is told, renewing."""
