"""Discovery, settings, one session for each conversion, and the typed facade over the hooks."""
