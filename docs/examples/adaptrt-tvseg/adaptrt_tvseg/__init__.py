"""adaptrt adapter ``tvseg`` and decoder ``classmap``: torchvision's semantic segmentation."""
