"""The forecast of an experiment's cost: short trials on this machine's device, and sums over the plan."""
