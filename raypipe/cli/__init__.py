"""Commands that stand on their own, each a file; a group of them is a typer application."""
