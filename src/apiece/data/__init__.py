"""Files to images and objects, and back."""
