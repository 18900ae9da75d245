"""Clients of warehouse, buckets and services, and what they are configured with."""
