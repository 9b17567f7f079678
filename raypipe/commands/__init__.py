"""Commands of the command line that stand on their own, each a file."""
