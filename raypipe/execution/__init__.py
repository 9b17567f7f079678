"""The work of a plan's cells, shard by shard, on any executor. Nothing here imports Ray."""
