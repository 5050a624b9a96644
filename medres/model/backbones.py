"""ResNets and DenseNet-121 with torchvision's names and starting weights, without importing torchvision.

`import torchvision` loads torch's compilers and sympy, which costs more than torch itself; a process that scores needs
none of them. A test compares these networks with torchvision's: names, shapes, starting weights, outputs to the bit.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

IMAGENET_CLASSES = 1000
_DEPTHS = {  # blocks in each of the four layers, and whether a block is a bottleneck
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
_WIDTHS = (64, 128, 256, 512)  # of the four layers, channels
_BOTTLENECK = 4  # how many times its inner channels a bottleneck gives
_GROWTH = 32  # channels that each layer of a DenseNet adds


def build_backbone(architecture: str) -> nn.Module:
    """A network of that name for three channels and 1,000 classes, with random weights, as torchvision makes it.

    It draws from torch's generator exactly what torchvision draws, in the same order. A name that is not defined here
    comes from torchvision.

    >>> build_backbone("resnet18").fc.out_features
    1000
    """
    if architecture in _DEPTHS:
        blocks, bottleneck = _DEPTHS[architecture]
        return ResNet(blocks, bottleneck=bottleneck)
    if architecture == "densenet121":
        return DenseNet((6, 12, 24, 16))
    import torchvision

    return torchvision.models.get_model(architecture, weights=None)  # type: ignore[no-any-return]  # it has no types


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)


def _draw(network: nn.Module, *, mode: Literal["fan_in", "fan_out"]) -> None:
    """Draw the weights of every convolution (He et al. 2015); on the meta device, where there are none, draw nothing.

    There torch would load its compilers to find that out.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")


class ResNet(nn.Module):
    """A residual network; a block that halves the image does so in its first 3 × 3 convolution.

    Source: He et al. 2016, Deep Residual Learning for Image Recognition.
    """

    def __init__(self, blocks: tuple[int, ...], *, bottleneck: bool) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for number, (count, width) in enumerate(zip(blocks, _WIDTHS, strict=True), start=1):
            layer = nn.Sequential()
            for place in range(count):
                stride = 2 if number > 1 and place == 0 else 1
                block = Bottleneck(channels, width, stride) if bottleneck else BasicBlock(channels, width, stride)
                layer.append(block)
                channels = width * _BOTTLENECK if bottleneck else width
            self.add_module(f"layer{number}", layer)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, IMAGENET_CLASSES)
        _draw(self, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, 1000) of images (N, 3, S, S)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for number in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """What the input of a block passes through where its shape is not that of the output."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions, and their input added to what they give."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        downsample = _shortcut(inputs, width, stride)  # it draws first, and is registered last
        self.conv1 = _convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, k, k)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """A 3 × 3 convolution between two of 1 × 1, and their input added to what they give."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * _BOTTLENECK
        downsample = _shortcut(inputs, outputs, stride)  # it draws first, and is registered last
        self.conv1 = _convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4 · width, k, k)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)  # type: ignore[no-any-return]


class DenseNet(nn.Module):
    """A densely connected network: each layer sees what all earlier ones of its block gave.

    Source: Huang et al. 2017, Densely Connected Convolutional Networks.
    """

    def __init__(self, blocks: tuple[int, ...]) -> None:
        super().__init__()
        channels = 64
        self.features = nn.Sequential()
        self.features.add_module("conv0", _convolution(3, channels, 7, 2))
        self.features.add_module("norm0", nn.BatchNorm2d(channels))
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("pool0", nn.MaxPool2d(3, stride=2, padding=1))
        for number, layers in enumerate(blocks, start=1):
            self.features.add_module(f"denseblock{number}", DenseBlock(channels, layers))
            channels += layers * _GROWTH
            if number < len(blocks):
                self.features.add_module(f"transition{number}", _transition(channels))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, IMAGENET_CLASSES)
        _draw(self, mode="fan_in")
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, 1000) of images (N, 3, S, S)."""
        x = nn.functional.relu(self.features(images), inplace=True)
        return self.classifier(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def _transition(channels: int) -> nn.Sequential:
    """Half the channels, half the height and width."""
    found = nn.Sequential()
    found.add_module("norm", nn.BatchNorm2d(channels))
    found.add_module("relu", nn.ReLU(inplace=True))
    found.add_module("conv", _convolution(channels, channels // 2, 1))
    found.add_module("pool", nn.AvgPool2d(2))
    return found


class DenseBlock(nn.Module):
    """Layers that each add `_GROWTH` channels to what they are given."""

    def __init__(self, inputs: int, layers: int) -> None:
        super().__init__()
        for place in range(layers):
            self.add_module(f"denselayer{place + 1}", DenseLayer(inputs + place * _GROWTH))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs + layers · growth, k, k)."""
        found = [x]
        for layer in self.children():
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


class DenseLayer(nn.Module):
    """A 1 × 1 convolution that narrows, then one of 3 × 3; each after its norm."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = _convolution(inputs, 4 * _GROWTH, 1)
        self.norm2 = nn.BatchNorm2d(4 * _GROWTH)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = _convolution(4 * _GROWTH, _GROWTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The new channels, (N, growth, k, k)."""
        narrow = self.conv1(self.relu1(self.norm1(x)))
        return self.conv2(self.relu2(self.norm2(narrow)))  # type: ignore[no-any-return]
