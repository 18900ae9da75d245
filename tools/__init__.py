"""What developers run: benchmarks, costs, the soak, pictures of pages, vendored files."""
