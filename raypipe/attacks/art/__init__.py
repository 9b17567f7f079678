"""The Adversarial Robustness Toolbox, both ways: its attacks in a grid, and raypipe's attacks as its classes."""
