"""What the office makes for all boards: card images, flashed cards, releases."""
