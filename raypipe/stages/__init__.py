"""The stages of an experiment on Ray. Nothing else in raypipe, but telemetry, knows of Ray."""
