"""Networks, which know nothing of probability."""
