"""What a run is, whoever starts it."""
