"""What may be wrong with images and their objects."""
