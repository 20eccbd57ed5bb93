"""Many conversions: every combination of models and options, each in a process with its log."""
