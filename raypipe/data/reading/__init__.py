"""Readers of files: trees, archives, annotations, and pictures of every supported format."""
