"""Objects with their pixels."""
