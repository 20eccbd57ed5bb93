"""Images in, predictions out: numpy, OpenCV and Pillow only, so that it also runs where there is no torch.

Everywhere in this package an image is uint8 [H, W, 3], RGB. The modules that need OpenCV or Pillow import them, so
import those modules late.
"""
