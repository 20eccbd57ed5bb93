"""Mixed precision that is found by measuring: what has to stay float so that a limit of the loss is kept."""
