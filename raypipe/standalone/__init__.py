"""The attack and the evaluation of one model on one set of tiles in this process, without experiment file and Ray."""
