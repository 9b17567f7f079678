"""Both ways to the Adversarial Robustness Toolbox: its attacks in experiments, raypipe's attacks as its classes."""
