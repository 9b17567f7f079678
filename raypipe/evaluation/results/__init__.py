"""Results of a run: from stored predictions to records, worst cases and curves."""
