"""An experiment file, from YAML to a validated record."""
