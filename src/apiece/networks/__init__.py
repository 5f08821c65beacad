"""Dense encoder-decoders and pyramids, one file each, named as in their papers."""
