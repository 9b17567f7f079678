"""From an experiment to its cells: what is computed from what, under which content keys."""
