"""Attacks, training and shared use of a GPU, measured within eight minutes and without a network.

    python -m benchmarks.gpu --out results/bench-gpu

Each section runs in a process of its own and is ended at its time limit. It writes each row at once, so neither a
failure nor an interruption loses what was measured before. `--device cpu --quick` runs all of it on tiny settings: this
tests the script, and its figures say nothing about a GPU.
"""
