"""adaptrt adapter for any ``torch.nn.Module``. Importing this imports no torch."""
