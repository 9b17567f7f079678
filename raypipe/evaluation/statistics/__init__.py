"""Figures, intervals and tests of stored predictions, all by groups of siblings."""
