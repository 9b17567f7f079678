"""From the files of a data set to tiles: read, split, chosen, audited."""
