"""Run a source by hand, trace a row to its batch, undo and replay batches."""
