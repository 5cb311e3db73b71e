"""`python -m sciddiff` is `sciddiff`."""

from sciddiff.cli import main

if __name__ == "__main__":
    main()
