"""Read files as uint8 images and labels, and turn these into normalised batches."""
