"""The cost of training, ingest and prediction beyond plain loops, and the gain from a second core.

- training: an epoch of the stage with one worker, beside a bare loop over tensors in memory (same network, optimizer
and
  batches, no decoding), and with two workers of half the tiles each;
- ingest: large JPEGs to tiles of 224 pixels, with our decoding and resizing beside Pillow's in a loop, and their
  difference in pixels. The whole stage also runs with two workers, with one, and with one that shares a single core
  with Ray, the driver and everything else, beside the gain of that loop from two processes;
- prediction: `raypipe.evaluation.predict` beside the forward passes alone, and with the reading of stored tiles.

They take turns, each on one thread. The seconds of ingest last from its call to the published artifact, with warm
workers. The seconds of training are those of its epochs.
"""
