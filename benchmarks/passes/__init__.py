"""How much of a run's time its processes spend in network passes.

    python -m benchmarks.passes jobs/demo.yaml --out benchmarks/results/passes.json

Every process of `raypipe run`, from an empty store, writes down when it is within a network's forward or backward pass
(`watched/sitecustomize.py`, which Python imports as it starts). Two shares are told: of the seconds of all cores, and,
to a tenth of a second, of the seconds by the clock those in which any process was in a pass. The first can reach 100 %
only if a pass runs on every core from the first second to the last.
"""
