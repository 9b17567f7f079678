"""raypipe's honest grid beside the paper's static one, as its authors would have written it, on a tenth of the tiles.

`make bench-pipeline` alternates both, each in processes of its own, on the same data set, split, epochs and backbones:

- `baseline` is one process of torchvision and the Adversarial Robustness Toolbox, and tests old tiles alone;
- ours is `raypipe run`, from an empty store: static, white-box, transfer, worst case, sanity checks, intervals.

Before the first round `raypipe plan --estimate` says what ours will take; the record holds that against the outcome.
"""
