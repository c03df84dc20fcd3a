"""Masked or unmasked, from one aligned face crop: the weights, and the script that trains them."""
