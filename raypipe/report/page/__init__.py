"""Pages: each is one self-contained file, which works offline and can be printed."""
