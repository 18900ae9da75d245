"""What a person configures: typed blocks, and the command that saves them from the environment."""

# How the blocks are called that every source shares, beside the buckets (stores/settings.py).
GCP, AWS, WAREHOUSE, ALERTS = "gcp", "aws", "warehouse", "alerts"
