"""What training, ingest and prediction cost beyond the loops that anybody would write, and what a second core brings.

- training: an epoch of the stage with one worker beside a bare loop over tensors in memory (same network, optimiser and
  batches, no decoding), and with two workers of half the tiles each;
- ingest: large JPEGs to tiles of 224 pixels: our decoding and resizing beside Pillow's in a loop, with their difference
  in pixels; and the whole stage with two workers, with one, and with one that shares a single core with Ray, the driver
  and all else, beside what two processes of that loop bring;
- prediction: `raypipe.evaluation.predict` beside the forward passes alone, and the reading of stored tiles besides.

They take turns, each on one thread. The seconds of ingest are from its call to the published artifact, with warm
workers; those of training are of its epochs.
"""
