"""Where a converted model runs: one folder for each backend."""
