"""What a platform needs to know of each source: its world, its run and its truth."""
