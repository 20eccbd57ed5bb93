"""Objects in boxes."""
