"""What people look at, drawn from a run's records alone."""
