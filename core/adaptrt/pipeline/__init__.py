"""The conversion, stage by stage, and loading its results. Only this package calls hooks."""
