"""Preprocessing and decoding with numpy, OpenCV and Pillow only, so that it also runs without torch.

Everywhere in this package an image is uint8 [H, W, 3], RGB. The modules that need OpenCV or Pillow import them, so
import those modules late.
"""
