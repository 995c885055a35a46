"""Pure functions: no learning, no state."""
