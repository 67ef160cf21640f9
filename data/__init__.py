"""Image and mask files: reading, pairing, checking, splitting, augmenting and feeding them."""
