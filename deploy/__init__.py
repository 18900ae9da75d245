"""What a machine that runs the pipelines needs around them."""
