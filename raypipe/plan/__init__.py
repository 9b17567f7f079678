"""The plan of an experiment: its cells, their inputs, and their content keys."""
