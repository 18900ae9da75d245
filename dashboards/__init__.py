"""The pages that show the marts: static HTML, made in Python from a snapshot."""
