"""The training of a classifier on labeled tiles, in plain PyTorch. The stages distribute it over workers."""
