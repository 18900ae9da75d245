"""By hand: a run, and what was loaded looked at, taken back or loaded again."""
