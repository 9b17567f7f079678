"""The stages of an experiment on Ray. Only this package and `raypipe.progress` use Ray."""
