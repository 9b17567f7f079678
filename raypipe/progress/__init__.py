"""The progress of a run, for people who watch it locally or from elsewhere."""
