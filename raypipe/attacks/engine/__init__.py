"""The parts that attacks share, and the loop that runs any of them on 8-bit tiles."""
