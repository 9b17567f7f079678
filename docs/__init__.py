"""The documents of raypipe, and the programs that generate parts of them and the website."""
