"""The class that stands for no prediction."""

NO_CLASS = -1
"""Prediction for a tile whose logits are not all finite, and certified prediction for a tile without a certificate.

It equals no label, so the tile counts as misclassified.
"""
