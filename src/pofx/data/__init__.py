"""Data of any kind, each described by a DataSpec."""
