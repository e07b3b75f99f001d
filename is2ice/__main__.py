"""Run the command line: ``python -m is2ice``."""

from is2ice.cli.main import main

if __name__ == "__main__":
    main()
