"""Read files: trees, archives, annotations, and pictures of every format."""
