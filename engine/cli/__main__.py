"""``python -m automator67.engine.cli``: the command line, for child processes."""

from automator67.engine.cli.main import main

if __name__ == "__main__":
    main()
