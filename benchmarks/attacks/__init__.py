"""Attacks of raypipe and of four libraries on the same models and tiles: speed, passes, success and distortion.

    python -m benchmarks.attacks --data LC25000 --out results/attacks

Every figure is recomputed here from the images that a contestant returns. Times are CPU seconds of this process on one
thread. Contestants take turns, so that other load on the machine affects all of them.
"""
