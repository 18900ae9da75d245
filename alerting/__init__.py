"""Incidents: the checks that find them, and the channels that send them."""
