"""The embedded stack: everything the pipelines need, on one machine and without a cloud account."""
