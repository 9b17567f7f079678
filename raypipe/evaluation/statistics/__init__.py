"""Figures, intervals and tests of stored predictions. All of them respect groups of siblings."""
