"""A model of a run as files that others can use without raypipe."""
