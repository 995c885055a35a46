"""Models made of two families."""
