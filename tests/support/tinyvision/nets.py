"""Networks that really find colors, so that their outputs depend on what is in the image."""

from __future__ import annotations

import torch
from torch import nn

STRIDE = 8


def cell_centers(height: int, width: int) -> torch.Tensor:
    """The centers of the cells of a map, [2, height * width], x then y, in cells."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack((x.flatten(), y.flatten()))


class Features(nn.Module):
    """A convolution with the statistics of a trained one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))


class Flatten(nn.Module):
    """[B, C, H, W] to [B, C, H * W]; every size is read from the tensor, as frameworks do, unless ``static`` is set."""

    static = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.static:
            return x.reshape(-1, int(x.shape[1]), int(x.shape[2]) * int(x.shape[3]))
        return x.view(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])


class Detector(nn.Module):
    """Images [B, 3, H, W] in 0..1 to [B, 7, N]: cx cy w h in pixels and three scores, one column for each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.AvgPool2d(STRIDE)
        self.features = nn.Sequential(Features(3, 8), Features(8, 4))
        self.colors = nn.Conv2d(3, 3, 1)
        self.flatten = Flatten()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = self.cells(images)  # [B, 3, h, w]
        centers = cell_centers(cells.shape[2], cells.shape[3])
        shifts = self.flatten(self.features(cells)).tanh()  # [B, 4, N]
        scores = self.flatten(self.colors(cells)).sigmoid()  # [B, 3, N]
        places = (centers + 0.25 * shifts[:, :2]) * STRIDE
        sizes = (2.0 + 0.25 * shifts[:, 2:]) * STRIDE
        return torch.cat((places, sizes, scores), 1)


class Classifier(nn.Module):
    """Images [B, 3, H, W] to logits [B, 3]: which color there is most of."""

    def __init__(self) -> None:
        super().__init__()
        self.features = Features(3, 8)
        self.head = nn.Linear(8, 3)
        self.colors = nn.Linear(3, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 0.1 * self.head(self.features(images).mean((2, 3))) + self.colors(images.mean((2, 3)))


class Leaky(Classifier):
    """BatchDependent: each image sees a little of the others in its batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images + 0.1 * images.mean(0, keepdim=True))


class Frozen(Classifier):
    """Reads its batch as a number, which a trace keeps."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.reshape(int(images.shape[0]), 3, *images.shape[2:]))


class Damaged(Classifier):
    """Weights that are no numbers."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * torch.nan


class TwoInputs(nn.Module):
    """Vectors ``a`` [B, 4] and ``b`` [B, 4] to a nest of outputs: ``sum`` and two ``parts``."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, object]:
        mixed = self.linear(a) + b
        return {"sum": mixed.sum(1), "parts": (mixed.relu(), None, [mixed.tanh()])}


def seeded(net: nn.Module) -> nn.Module:
    """The net with reproducible weights and statistics that are not those of a fresh one; colors are by hand."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 2.0, generator=generator)
        colors = getattr(net, "colors", None)
        if colors is not None:
            own = torch.eye(3) * 21 - 7  # a color's own channel counts for it, the others against it
            colors.weight.copy_(own.reshape(colors.weight.shape))
            colors.bias.fill_(-4.0)
    return net.eval()


NETS: dict[str, type[nn.Module]] = {
    "detector": Detector,
    "classifier": Classifier,
    "leaky": Leaky,
    "frozen": Frozen,
    "damaged": Damaged,
    "two_inputs": TwoInputs,
}
