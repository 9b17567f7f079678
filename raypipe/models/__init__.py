"""Classifiers: backbones, input transforms, and their weights."""
