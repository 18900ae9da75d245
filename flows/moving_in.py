"""`python -m flows.moving_in`, until 0.2.0."""

from flows.source import by_its_old_name

if __name__ == "__main__":
    by_its_old_name("moving_in", "migration")
