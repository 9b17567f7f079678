"""The base of every settings record, the errors of stages and downloads, and the version."""
