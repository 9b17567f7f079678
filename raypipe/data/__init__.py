"""Data sets, from files to tiles: reading, splitting, choosing a subset, and auditing."""
