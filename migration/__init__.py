"""Moving in from an older system: old rows, old marts compared, views under old names."""
