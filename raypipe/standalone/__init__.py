"""One model on one set of tiles, attacked and judged in this process: no experiment file, no Ray."""
