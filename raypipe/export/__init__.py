"""The export of a run's model as files that others can use without raypipe."""
