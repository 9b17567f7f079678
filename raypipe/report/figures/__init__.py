"""Figures of a run, drawn from its rows alone, as SVG that takes its colors and its font from the page."""
