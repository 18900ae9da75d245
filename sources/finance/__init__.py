"""The finance ledger, a tab of a Google sheet: how it loads and what it is configured with."""
