"""adaptrt adapter for any ``torch.nn.Module``. Importing this does not import torch."""
