"""`make cost`: what BigQuery would bill for the statements that the platform sends."""
