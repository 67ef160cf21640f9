"""Read, pair, check, split and augment image and mask files, and make batches of them."""
