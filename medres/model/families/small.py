"""Small networks of any depth, with shortcuts or without: those on which degradation was first shown.

Source: He et al. 2016, Deep Residual Learning for Image Recognition, section 4.2; the blocks are those of
`model.backbones`, which are torchvision's. What is an option here is one in no recipe: a network without shortcuts is
there to be looked at.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from medres.model.backbones import BasicBlock, Bottleneck

Shortcuts = Literal["identity", "projection", "projections", "none"]
"""What is added to what a block computes. `identity`: its input, with zeros for the channels that are missing where
there are more behind it than before (option A of the paper); `projection`: its input, through a 1 × 1 convolution where
the shape changes (B, torchvision's and medres's own); `projections`: through one everywhere (C); `none`: nothing, a
plain network."""

STAGES = 3


class SmallResNet(nn.Module):
    """A 3 × 3 convolution, three stages of blocks at S, S/2 and S/4, global average pooling, one linear layer.

    Input: float32 (N, 1, S, S). Output: logits (N, labels).

    Args:
        depth: layers with weights: 6 n + 2 of basic blocks, 9 n + 2 of bottlenecks, for n blocks in each stage.
        width: channels of the first stage; each further one has twice as many.
        shortcuts: what is added to what a block computes.
        bottleneck: whether blocks are bottlenecks, which give four times their width.
        norms: whether there are batch norms; without, gradients are seen as they were before these came.
        labels: answers.

    Raises:
        ValueError: no number of blocks gives that depth.

    >>> network = SmallResNet(20, width=8)
    >>> len(network.blocks), network(torch.zeros(2, 1, 32, 32)).shape
    (9, torch.Size([2, 1]))
    """

    def __init__(
        self,
        depth: int,
        *,
        width: int = 16,
        shortcuts: Shortcuts = "identity",
        bottleneck: bool = False,
        norms: bool = True,
        labels: int = 1,
    ) -> None:
        super().__init__()
        each, rest = divmod(depth - 2, STAGES * (3 if bottleneck else 2))
        if each < 1 or rest:
            raise ValueError(f"no network of this kind has {depth} layers: depth is {9 if bottleneck else 6} n + 2")
        if shortcuts not in get_args(Shortcuts):
            raise ValueError(f"{shortcuts!r} is no kind of shortcut: {', '.join(get_args(Shortcuts))}")
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential()
        channels = width
        for stage in range(STAGES):
            for place in range(each):
                stride = 2 if stage and not place else 1
                block = _block(channels, width * 2**stage, stride, shortcuts, bottleneck=bottleneck)
                self.blocks.append(block)
                channels = width * 2**stage * (4 if bottleneck else 1)
        self.fc = nn.Linear(channels, labels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if not norms:
            _without_norms(self)

    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, labels)."""
        x = self.blocks(functional.relu(self.bn1(self.conv1(images))))
        return self.fc(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


class _PlainBasic(BasicBlock):
    """The same two convolutions; nothing is added to what they give."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, k, k)."""
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)))  # type: ignore[no-any-return]


class _PlainBottleneck(Bottleneck):
    """The same three convolutions; nothing is added to what they give."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4 · width, k, k)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)))  # type: ignore[no-any-return]


class PaddedIdentity(nn.Module):
    """Every second row and column where the stride is 2, and channels of zeros where more are wanted; no weights."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.added, self.stride = outputs - channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, outputs, k, k)."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


def _block(channels: int, width: int, stride: int, shortcuts: Shortcuts, *, bottleneck: bool) -> nn.Module:
    """A block of one of the kinds."""
    outputs = 4 * width if bottleneck else width
    if shortcuts == "none":
        plain = _PlainBottleneck(channels, width, stride) if bottleneck else _PlainBasic(channels, width, stride)
        plain.downsample = None
        return plain
    block = Bottleneck(channels, width, stride) if bottleneck else BasicBlock(channels, width, stride)
    if shortcuts == "identity" and block.downsample is not None:
        block.downsample = PaddedIdentity(channels, outputs, stride)
    if shortcuts == "projections" and block.downsample is None:
        block.downsample = nn.Sequential(nn.Conv2d(channels, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    return block


def _without_norms(network: nn.Module) -> None:
    """Let every batch norm hand on what it is given."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            network.set_submodule(name, nn.Identity())


def start_as_identity(network: nn.Module) -> int:
    """Let every residual block of a network hand on its input at first: its last norm multiplies by zero.

    Works on any network of the blocks of medres or torchvision, whose `zero_init_residual` does the same (Goyal 2017).

    Returns:
        How many blocks there are.

    >>> start_as_identity(SmallResNet(20, width=8))
    9
    """
    count = 0
    for module in network.modules():
        last = getattr(module, "bn3", getattr(module, "bn2", None))
        if isinstance(last, nn.BatchNorm2d) and hasattr(module, "downsample"):
            nn.init.zeros_(last.weight)
            count += 1
    return count


def rearranged(network: SmallResNet, order: Sequence[int]) -> SmallResNet:
    """A copy of a trained network with its blocks in another order, or fewer of them; the network stays as it is.

    A residual block that is left out leaves its shortcut behind; where the shape changes in it, it must stay.

    Args:
        network: of which the copy is made.
        order: places of blocks, from first to last.

    Raises:
        ValueError: a block would not fit the one before it.

    >>> len(rearranged(SmallResNet(20, width=8), [0, 2, 3, 4, 5, 6, 7, 8]).blocks)
    8
    """
    changed = copy.deepcopy(network)
    blocks = [changed.blocks[place] for place in order]
    channels, side = network.conv1.out_channels, 0
    for place, block in zip(order, blocks, strict=True):
        inputs, outputs, stride = block_shape(block)
        stage = _stage(network, place)
        if inputs != channels or stage != side + (stride == 2):
            raise ValueError(f"block {place} does not fit where it would stand: it takes {inputs} channels")
        channels, side = outputs, stage
    if channels != network.fc.in_features:
        raise ValueError("the last block does not fit the linear layer: blocks that change the shape must stay")
    changed.blocks = nn.Sequential(*blocks)
    return changed


def block_shape(block: nn.Module) -> tuple[int, int, int]:
    """Channels that a block takes, channels that it gives, and its stride."""
    convolutions = [one for one in block.children() if isinstance(one, nn.Conv2d)]
    stride = max(one.stride[0] for one in convolutions)
    return convolutions[0].in_channels, convolutions[-1].out_channels, stride


def _stage(network: SmallResNet, place: int) -> int:
    """The stage that a block is of: how often the image was halved with it."""
    return sum(block_shape(block)[2] == 2 for block in list(network.blocks)[: place + 1])


def movable(network: SmallResNet) -> list[int]:
    """Places of the blocks that change no shape: those that may be left out or change places within their stage."""
    shapes = [block_shape(block) for block in network.blocks]
    return [place for place, (inputs, outputs, stride) in enumerate(shapes) if inputs == outputs and stride == 1]


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor, *, batch: int = 256) -> Tensor:
    """What a network says of images in evaluation mode, (N, labels); it is left in the mode that it had."""
    before = network.training
    found = torch.cat([network.eval()(part) for part in torch.split(images, batch)])
    network.train(before)
    return found
