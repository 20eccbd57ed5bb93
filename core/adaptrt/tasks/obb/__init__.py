"""Objects in rotated boxes."""
