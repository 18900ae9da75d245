"""What tests stand on: the platform under test, its stand-ins, proxies and mutations."""
