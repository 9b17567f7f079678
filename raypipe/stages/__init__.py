"""The stages of an experiment on Ray. Nothing else in raypipe, but `raypipe.progress`, knows Ray."""
