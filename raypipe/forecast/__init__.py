"""What an experiment will take, before it is run: short trials on the device at hand, and the sums of its plan."""
