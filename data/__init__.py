"""From files to uint8 images and labels, and from those to normalised batches."""
