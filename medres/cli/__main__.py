"""`python -m medres.cli` is `medres`."""

from medres.cli import main

if __name__ == "__main__":
    main()
