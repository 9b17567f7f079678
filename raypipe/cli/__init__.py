"""The command line. Each command in a file of its own stands alone; a group of commands is a typer application."""
