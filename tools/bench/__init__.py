"""`make bench`: ratios to a floor that is measured in the same run, on this machine."""
