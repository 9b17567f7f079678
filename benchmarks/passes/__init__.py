"""The share of a run's time that its processes spend in network passes.

    python -m benchmarks.passes jobs/demo.yaml --out benchmarks/results/passes.json

Every process of `raypipe run`, from an empty store, records when it is within a network's forward or backward pass
(`watched/sitecustomize.py`, which Python imports at its start). Two shares are reported. The first is the share of the
seconds of all cores. The second is the share of the elapsed seconds in which any process was in a pass, to a tenth of a
second. The first can reach 100 % only if a pass runs on every core from the first second to the last.
"""
