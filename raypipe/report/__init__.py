"""Tables, figures and pages for readers, which are made from a run's records alone."""
