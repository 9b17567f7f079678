"""The entry point of the command `raypipe` and of `python -m raypipe`.

It imports next to nothing, so that Ctrl-C in the first second, while the commands are imported, ends in one line.
"""

from raypipe.base.stopping import watch_start


def main() -> None:
    """Run the command line."""
    watch_start()
    from raypipe.cli.app import main as run_command_line  # noqa: PLC0415  takes half a second

    run_command_line()


if __name__ == "__main__":
    main()
