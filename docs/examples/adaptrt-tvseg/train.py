"""Trains LR-ASPP for a few seconds on drawn images: red and blue shapes on gray. Writes shapes.pth, and val/ with eight images.

The network starts from random weights, because nothing is downloaded. This shows a checkpoint, not how to train.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torchvision.models.segmentation import LRASPP_MobileNet_V3_Large_Weights, lraspp_mobilenet_v3_large

STEPS, BATCH, SIZE, RATE = 60, 8, 64, 5e-3


def draw(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 [H, W, 3] RGB, and its classes, uint8 [H, W]: 0 background, 1 red, 2 blue."""
    image = rng.integers(90, 150, (height, width, 3)).astype(np.uint8)
    classes = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 5)):
        label, radius = int(rng.integers(1, 3)), int(min(height, width) * rng.uniform(0.12, 0.28))
        bright, dark = int(rng.integers(170, 256)), int(rng.integers(0, 80))
        color = (bright, dark, dark) if label == 1 else (dark, dark, bright)
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        square = rng.random() < 0.5
        for canvas, value in ((image, color), (classes, label)):
            if square:
                cv2.rectangle(canvas, (x - radius, y - radius), (x + radius, y + radius), value, -1)
            else:
                cv2.circle(canvas, (x, y), radius, value, -1)
    return image, classes


def main() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    normalize = LRASPP_MobileNet_V3_Large_Weights.DEFAULT.transforms(resize_size=None)
    network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # MobileNetV3's own is made for thousands of steps
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        images, classes = map(np.stack, zip(*(draw(rng, SIZE, SIZE) for _ in range(BATCH)), strict=True))
        logits = network(normalize(torch.from_numpy(images).permute(0, 3, 1, 2)))["out"]
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(classes).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.save({"state_dict": network.state_dict(), "steps": STEPS}, "shapes.pth")
    for folder in ("images", "masks"):
        Path("val", folder).mkdir(parents=True, exist_ok=True)
    for number in range(8):
        image, classes = draw(np.random.default_rng(1006 + number), 96, 128)
        cv2.imwrite(f"val/images/{number}.png", image[..., ::-1])
        cv2.imwrite(f"val/masks/{number}.png", classes)


if __name__ == "__main__":
    main()
