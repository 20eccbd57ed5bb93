"""adaptrt."""
