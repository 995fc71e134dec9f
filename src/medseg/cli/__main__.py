"""`python -m medseg.cli`, for where the `medseg` script is not on the path."""

from medseg.cli import script

if __name__ == "__main__":
    script()
