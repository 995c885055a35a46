"""Ways from noise to data, one a file."""
