"""adaptrt adapter ``tvseg``: torchvision's semantic segmentation."""
