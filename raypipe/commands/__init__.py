"""Commands of the command line that have a name of their own: each a small typer application."""
