# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why residual networks?
#
# medres is built on ResNets, and most of what is said of them is repeated, not checked: that plain networks get worse
# with depth, that shortcuts repair it, that deep ones are many shallow ones in disguise. Here small networks are
# trained in about three minutes on one processor core, and each saying is held against what happens. Where it does not
# hold here, the text says so. Everything is synthetic; no person's image is involved.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from medres.imaging.phantoms import phantom
from medres.model.families.claims import claims, family_counts
from medres.model.families.counting import build_published, count_network, seconds_per_image
from medres.model.families.small import SmallResNet, logits_of, movable, rearranged, start_as_identity

torch.set_num_threads(1)  # layers as small as these gain nothing from several
started = time.perf_counter()

# %% [markdown]
# ## A task small enough to train live
#
# Phantom chest radiographs of 16 × 16 pixels, each with two questions: was the film taken from behind (PA) or from the
# front (AP), and is the build a woman's? Half of the images are learnt from, the other half are held out. Sixteen
# pixels suffice for both questions, and let a network of 56 layers learn in seconds.

# %%
rng = np.random.default_rng(0)
views, sexes = rng.integers(0, 2, 800), rng.integers(0, 2, 800)
films = [
    phantom(rng, rows=64, columns=64, view=("PA", "AP")[view], sex=("M", "F")[sex]).stored
    for view, sex in zip(views, sexes, strict=True)
]
pixels = torch.tensor(np.stack(films).astype(np.float32))[:, None]
pixels = functional.avg_pool2d(pixels, 4)
pixels = (pixels - pixels.mean((2, 3), keepdim=True)) / pixels.std((2, 3), keepdim=True)
answers = torch.tensor(np.stack([views, sexes], 1).astype(np.float32))
images, targets, unseen, unseen_targets = pixels[::2], answers[::2], pixels[1::2], answers[1::2]

figure, axes = plt.subplots(1, 6, figsize=(9, 1.9))
for place, ax in enumerate(axes):
    ax.imshow(images[place, 0], cmap="gray")
    ax.set(xticks=[], yticks=[], title=f"{('PA', 'AP')[int(targets[place, 0])]}, {('m', 'f')[int(targets[place, 1])]}")
figure.tight_layout()

# %% [markdown]
# ## The networks
#
# All have one 3 × 3 convolution, three stages of blocks of two convolutions each, and one linear layer (He et al. 2016,
# section 4.2). *Plain* and *residual* ones have exactly the same weights; in a residual block the input is added to
# what the two convolutions give. `projection` is the shortcut that torchvision's ResNets have: a 1 × 1 convolution
# where the shape changes.

# %%
kinds = {
    "plain 20": {"depth": 20, "shortcuts": "none"},
    "plain 56": {"depth": 56, "shortcuts": "none"},
    "residual 20": {"depth": 20, "shortcuts": "identity"},
    "residual 56": {"depth": 56, "shortcuts": "identity"},
}
others = {
    "residual 56, identity start": {"depth": 56, "shortcuts": "identity"},
    "residual 20, projection": {"depth": 20, "shortcuts": "projection"},
    "residual 20, projections": {"depth": 20, "shortcuts": "projections"},
}
seeds, steps, batch, width = (0, 1, 2), 160, 32, 8
pd.DataFrame(
    {
        name: {"layers with weights": counted.layers, "parameters": counted.parameters,
               "thousand multiply-adds": counted.multiply_adds // 1000}
        for name, kind in (kinds | others).items()
        for counted in [count_network(SmallResNet(width=width, labels=2, **kind), (1, 16, 16))]
    }
).T  # fmt: skip

# %% [markdown]
# ## Training: the same steps for all
#
# Stochastic gradient descent with momentum, the learning rate falling along half a cosine, the same images in the same
# order for every network of one seed. Three seeds of each of the four; one of the others, which are looked at further
# down. *Identity start* sets the last norm of every residual block to zero, so that each block hands on its input and
# the network begins as a shallow one.

# %%
trained, losses = {}, {}
for name, kind in (kinds | others).items():
    for seed in seeds if name in kinds else seeds[:1]:
        torch.manual_seed(seed)
        network = SmallResNet(width=width, labels=2, **kind).to(memory_format=torch.channels_last)
        if "start" in name:
            start_as_identity(network)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        order = torch.Generator().manual_seed(seed)
        losses[name, seed] = []
        for _ in range(steps):
            chosen = torch.randint(len(images), (batch,), generator=order)
            loss = functional.binary_cross_entropy_with_logits(network(images[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses[name, seed].append(loss.item())
        trained[name, seed] = network
print(f"{len(trained)} networks trained; {time.perf_counter() - started:.0f} s since the start")

# %% [markdown]
# ## Degradation
#
# If a deep plain network were merely overfitting, it would know its training images better than the shallow one and
# held-out images worse. Look at the training error.

# %%
errors = pd.DataFrame(
    [
        {"network": name, "seed": seed,
         "training error": ((logits_of(network, images) > 0) != (targets > 0)).float().mean().item(),
         "held-out error": ((logits_of(network, unseen) > 0) != (unseen_targets > 0)).float().mean().item(),
         "last training loss": np.mean(losses[name, seed][-20:])}
        for (name, seed), network in trained.items()
    ]
).set_index(["network", "seed"])  # fmt: skip
errors.round(3)

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for ax, family in zip(axes, ("plain", "residual"), strict=True):
    for depth, colour in ((20, "tab:blue"), (56, "tab:red")):
        for seed in seeds:
            smooth = pd.Series(losses[f"{family} {depth}", seed]).rolling(10, min_periods=1).mean()
            ax.plot(smooth, color=colour, alpha=0.8, label=f"{depth} layers" if seed == 0 else None)
    ax.set(title=family, xlabel="Step", ylabel="Training loss (log loss per answer)", ylim=(0, 1))
    ax.legend()
figure.tight_layout()

# %%
training = errors["training error"].unstack()
worse = {
    family: int((training.loc[f"{family} 56"] > training.loc[f"{family} 20"] + 0.1).sum())
    for family in ("plain", "residual")
}
print(f"the 56-layer network has the higher training error (by more than 10 points) in {worse['plain']} of 3 seeds if "
      f"plain, in {worse['residual']} of 3 if residual")  # fmt: skip
assert worse["plain"] >= 2
assert worse["residual"] == 0

# %% [markdown]
# The deep plain network does not even learn its own images: that is degradation, not overfitting, and shortcuts repair
# it. (Ten points, because in six seeds the plain pair lay 15 to 40 apart and the residual one 0 to 7: in so few steps
# the deep residual network, too, is a little behind.) What shortcuts do not do is make depth pay by itself: compare the
# held-out errors of the two residual networks. Nor is this proof for other tasks; `medres depth` asks a cohort.
#
# ## Gradients, layer by layer
#
# A usual explanation is that gradients vanish on their way through many layers. Here is the norm of the gradient of
# every 3 × 3 convolution on one batch, from the first layer to the last: at the start, without batch norms and with
# them, and after the training.

# %%
norms = {}
for family in ("plain", "residual"):
    for stage in ("start, no batch norm", "start", "trained"):
        torch.manual_seed(0)
        kind = kinds[f"{family} 56"]
        network = (
            trained[f"{family} 56", 0] if stage == "trained"
            else SmallResNet(width=width, labels=2, norms=stage == "start", **kind)
        )  # fmt: skip
        network.train().zero_grad()
        functional.binary_cross_entropy_with_logits(network(images[:batch]), targets[:batch]).backward()
        layers = [one for one in network.modules() if isinstance(one, torch.nn.Conv2d) and one.kernel_size == (3, 3)]
        norms[family, stage] = np.array([one.weight.grad.norm().item() for one in layers])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for ax, family in zip(axes, ("plain", "residual"), strict=True):
    for stage in ("start, no batch norm", "start", "trained"):
        ax.semilogy(np.maximum(norms[family, stage], 1e-12), label=stage)
    ax.set(title=f"{family}, 56 layers", xlabel="3 × 3 convolution, from the input", ylabel="Norm of its gradient")
    ax.legend()
figure.tight_layout()

# %%
for (family, stage), values in norms.items():
    print(f"{family}, {stage}: first layer ÷ last layer = {values[0] / max(values[-1], 1e-12):.3g}")
ratio = norms["plain", "start"][0] / norms["plain", "start"][-1]
print("with batch norms the plain network's gradients", "do not vanish" if ratio > 0.1 else "vanish", "at the start")

# %% [markdown]
# "Gradients vanish in deep plain networks" does not hold here. With weights drawn as He et al. draw them, the first
# layer's gradient without norms is of the order of the last one's, and with batch norms it is *larger*, in the plain
# network a thousand times: they explode rather than vanish, and shortcuts tame that. He et al. said themselves that
# vanishing gradients are not what degrades plain networks with norms.
#
# Another explanation is that the gradients of different images become as unlike each other as noise (Balduzzi et al.
# 2017). The next figure looks at that: the cosine between the gradients that images with the same answers receive at
# the start, the mean over pairs. Where it is near zero, a step for one image says nothing of the next.

# %%
likeness = {}
for family in ("plain", "residual"):
    for depth in (20, 56):
        torch.manual_seed(0)
        network = SmallResNet(width=width, labels=2, **kinds[f"{family} {depth}"])
        inputs = images[(targets == targets[0]).all(1)][:32].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(inputs).sum(), inputs)
        flat = functional.normalize(gradient.flatten(1), dim=1)
        cosines = flat @ flat.T
        likeness[f"{family} {depth}"] = (cosines.sum() - cosines.trace()).item() / (32 * 31)

figure, ax = plt.subplots(figsize=(5, 2.8))
ax.barh(list(likeness), list(likeness.values()), color=["tab:blue", "tab:red"] * 2)
ax.set(xlabel="Mean cosine between the gradients of two images", xlim=(0, None))
figure.tight_layout()
print({name: round(value, 3) for name, value in likeness.items()})

# %% [markdown]
# ## An identity start
#
# A residual block can do nothing at all: with the last norm at zero it hands on its input. The deep network then begins
# as a shallow one. (Blocks whose last norm starts at one, as torchvision's do, are *not* identities at the start,
# whatever is said of "defaulting to the identity"; `zero_init_residual` is an option there, and off.)

# %%
fresh = SmallResNet(width=width, labels=2, **kinds["residual 56"])
x = torch.rand(1, width, 16, 16)
print("a fresh block changes its input by", f"{(fresh.blocks[1].eval()(x) - x).abs().mean().item():.2f}", "on average")
blocks = start_as_identity(fresh)
print(f"after start_as_identity, each of {blocks} blocks:", f"{(fresh.blocks[1].eval()(x) - x).abs().max().item():.2f}")

figure, ax = plt.subplots(figsize=(5, 3.2))
for name, colour in (("residual 56", "tab:red"), ("residual 56, identity start", "tab:green")):
    ax.plot(pd.Series(losses[name, 0]).rolling(10, min_periods=1).mean(), color=colour, label=name)
ax.set(xlabel="Step", ylabel="Training loss (log loss per answer)", ylim=(0, 1))
ax.legend()
figure.tight_layout()
starts = errors.loc[[("residual 56", 0), ("residual 56, identity start", 0)], "training error"]
print("training error:", ", ".join(f"{name} {value:.3f}" for (name, _), value in starts.items()))

# %% [markdown]
# An identity start is a safe start, not a faster one in so short a training: at first only the outermost parts of the
# network learn, and every block has to leave zero before it can help.
#
# ## Leaving out a block, and exchanging two
#
# Veit et al. (2016) read a residual network as an ensemble of many shallow paths: a block that is left out halves the
# number of paths, and the others still carry the answer. In a plain network there is one path, and every layer is on
# it. Here every block that changes no shape is left out of a trained network in turn, and every two neighbours are
# exchanged; nothing is trained again. The plain network is the one of 20 layers, because that of 56 has learnt nothing
# that could be lost.

# %%
lesions = []
for name in ("plain 20", "residual 20", "residual 56"):
    for seed in seeds:
        network, places = trained[name, seed], list(range(len(trained[name, seed].blocks)))
        before = errors.loc[(name, seed), "training error"]
        changes = [("left out", [one for one in places if one != left]) for left in movable(network)]
        for one, other in zip(movable(network), movable(network)[1:], strict=False):
            if other == one + 1:
                changes.append(("exchanged", [*places[:one], other, one, *places[other + 1 :]]))
        for change, order in changes:
            logits = logits_of(rearranged(network, order), images)
            error = ((logits > 0) != (targets > 0)).float().mean().item()
            lesions.append({"network": name, "seed": seed, "change": change, "added error": error - before})
lesions = pd.DataFrame(lesions)
damage = lesions.groupby(["network", "change"])["added error"].agg(["mean", "max", "count"])
damage.round(3)

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for ax, change in zip(axes, ("left out", "exchanged"), strict=True):
    parts = lesions[lesions["change"] == change]
    for place, name in enumerate(("plain 20", "residual 20", "residual 56")):
        values = parts.loc[parts["network"] == name, "added error"]
        ax.plot(place + np.linspace(-0.2, 0.2, len(values)), values, "o", alpha=0.6)
    ax.set_xticks(range(3), ["plain 20", "residual 20", "residual 56"])
    ax.set(title=f"One block {change}" if change == "left out" else "Two neighbours exchanged")
    ax.set(ylabel="Added error (share of answers)", xlabel="Network")
figure.tight_layout()

# %%
mean = damage["mean"].unstack()
print(mean.round(3))
times_less = mean.loc["plain 20", "left out"] / mean["left out"]
print(f"a block less costs the residual network of 20 layers {times_less['residual 20']:.1f} times less than the plain "
      f"one, that of 56 layers {times_less['residual 56']:.1f} times less")  # fmt: skip
assert times_less["residual 56"] > 2.5

# %% [markdown]
# One block of a deep residual network is hardly missed, and any block of the plain one is. (In six seeds the factor was
# 5 for 56 layers, and only 2 for 20: with three blocks to a stage, each carries a lot. The view of many shallow paths
# needs many blocks.)
#
# ## Basic blocks and bottlenecks
#
# A bottleneck narrows to a quarter of its channels, convolves there, and widens again. It is said to save 40 %. Counted
# exactly, it buys four times the channels for the arithmetic of a basic block of its inner width.

# %%
block_kinds = {
    "basic blocks, 20 layers": SmallResNet(20, width=16),
    "bottlenecks, 20 layers (4 × the channels)": SmallResNet(20, width=16, bottleneck=True),
    "bottlenecks, 29 layers, as many blocks": SmallResNet(29, width=16, bottleneck=True),
    "bottlenecks, 29 layers, as many channels": SmallResNet(29, width=4, bottleneck=True),
}
pd.DataFrame(
    [
        {
            "network": name,
            "channels at the end": network.fc.in_features,
            "parameters": counted.parameters,
            "million multiply-adds at 32 px": round(counted.multiply_adds / 1e6, 1),
            "kB that training keeps of an image": round(counted.kept_bytes / 1e3),
        }
        for name, network in block_kinds.items()
        for counted in [count_network(network, (1, 32, 32))]
    ]
).set_index("network")

# %% [markdown]
# ## Projections or identities
#
# Where a block changes the shape, something must make its input fit: zeros for the new channels (*identity*), or a
# 1 × 1 convolution (*projection*, torchvision's way). Convolutions in every shortcut (*projections*) cost the most and
# take away what makes a shortcut one.

# %%
names = ["residual 20", "residual 20, projection", "residual 20, projections"]
errors.loc[[(name, 0) for name in names]].round(3)

# %% [markdown]
# Zeros do as well as convolutions. One seed each tells no small difference: in He et al. the three differ by half a
# point of a hundred.
#
# ## What is said of the family, counted
#
# Parameters and multiply-adds below are exact; a test holds them against the figures that torchvision publishes.

# %%
pd.DataFrame(
    {
        name: {
            "parameters (millions)": round(counted.parameters / 1e6, 1),
            "multiply-adds (thousand millions)": round(counted.multiply_adds / 1e9, 2),
            "activations (millions)": round(counted.activations / 1e6, 1),
            "MB that training keeps of an image": round(counted.kept_bytes / 1e6),
        }
        for name, counted in family_counts().items()
    }
).T

# %%
with pd.option_context("display.max_colwidth", None):
    table = pd.DataFrame([{"said": one.said, "verdict": one.verdict, "figures": one.figures} for one in claims()])
table.style.set_properties(**{"text-align": "left", "white-space": "normal"}).hide(axis="index")

# %% [markdown]
# ## And on this machine
#
# Arithmetic is not time. Scoring and learning of two images of 112 pixels at once, each network against ResNet-18:

# %%
times = {}
for name in family_counts():
    network = build_published(name)
    batch_of_two = torch.rand(2, 3, 112, 112)
    scoring = seconds_per_image(network, batch_of_two, learning=False, rounds=2)
    times[name] = {"scoring": scoring, "learning": seconds_per_image(network, batch_of_two, learning=True, rounds=1)}
    del network
times = pd.DataFrame(times).T
relative = times / times.loc["resnet18"]
relative["multiply-adds"] = [counted.multiply_adds for counted in family_counts().values()]
relative["multiply-adds"] /= relative.loc["resnet18", "multiply-adds"]
relative.round(2)

# %%
figure, ax = plt.subplots(figsize=(5.4, 3.8))
for what, marker in (("scoring", "o"), ("learning", "s")):
    ax.loglog(relative["multiply-adds"], relative[what], marker, label=what)
for name, row in relative.iterrows():
    ax.annotate(name, (row["multiply-adds"], row["scoring"]), (4, -10), textcoords="offset points", fontsize=8)
ends = [0.9, relative["multiply-adds"].max() * 1.3]
ax.plot(ends, ends, color="gray", linewidth=0.8, label="as much time as arithmetic")
ax.set(xlabel="Multiply-adds ÷ ResNet-18's", ylabel="Time ÷ ResNet-18's")
ax.legend()
figure.tight_layout()

# %% [markdown]
# ## Do shortcuts speed training up?
#
# "Residual networks train 30 to 40 % faster" is said without saying than what. Here: steps until the smoothed training
# loss falls below 0.35, with and without shortcuts.

# %%
first = {}
for (name, seed), values in losses.items():
    below = np.flatnonzero(pd.Series(values).rolling(10).mean() < 0.35)
    first[name, seed] = int(below[0]) if len(below) else np.inf
reached = pd.Series(first).unstack().loc[list(kinds)].rename_axis(columns="seed")
print("steps until the loss falls below 0.35 (inf: never in this training)")
reached

# %%
shallow = 1 - reached.loc["residual 20"].median() / reached.loc["plain 20"].median()
print(f"20 layers: shortcuts save {shallow:.0%} of the steps (median of 3 seeds)")
print("56 layers: the plain network gets there in", int(np.isfinite(reached.loc["plain 56"]).sum()), "of 3 seeds")
print("so the claim depends on depth: there is no one figure")

# %% [markdown]
# ## What to take home
#
# - Plain networks of many layers fail on their own training images; the same layers with shortcuts do not.
# - Shortcuts, not batch norms, are what matters for depth here: both networks had norms, and gradients did not vanish.
# - A deep residual network hardly misses a block; a plain one is ruined. That is what the ensemble view predicts, and
#   with few blocks it holds only in part.
# - Parameters tell neither arithmetic nor memory nor time. Count, or measure.
# - None of this says that more depth helps *your* cohort. `medres depth manifest.csv --label …` asks that.

# %%
print(f"the whole notebook took {time.perf_counter() - started:.0f} s")
