"""The base of every settings record, the errors of stages, and the version."""
