"""The honest grid of raypipe beside the paper's static grid, written as its authors would, on a tenth of the tiles.

`make bench-pipeline` alternates both on the same data set, split, epochs and backbones, each in processes of its own:

- `baseline` is one process of torchvision and the Adversarial Robustness Toolbox, with the static evaluation only;
- ours is `raypipe run` from an empty store: static evaluation, white-box attacks on the hardened models, transfer,
  worst case, sanity checks and intervals.

Before the first round `raypipe plan --estimate` forecasts the cost of ours, and the record compares it with the
outcome.
"""
