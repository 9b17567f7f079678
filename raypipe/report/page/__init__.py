"""Pages: one self-contained file each, which works offline and prints."""
