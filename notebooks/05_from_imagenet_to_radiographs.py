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
# # From ImageNet to radiographs
#
# A pretrained network was made for colour photographs; a radiograph has one channel, other contrasts and another
# question. What has to change, what adapts by itself, and what is it worth? Everything here is synthetic; no person's
# image is involved. **Not for diagnostic use.**
#
# **No ImageNet weights are used here**, so that the notebook runs without a download. A small network is pretrained
# live on another cohort of phantoms instead. Where you have torchvision's weights, `--config resnet50` starts from
# them, and every step below is the same.

# %%
import json
import tempfile
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from medres import Division, compare, cross_validate, load_config, train
from medres.cohort.indexing import write_index
from medres.config import Network
from medres.imaging.synthesis import synthesise_cohort
from medres.model.backbones import build_backbone
from medres.model.network import IMAGENET_MEAN, IMAGENET_STD, build_network
from medres.model.weights import fill_backbone, load_backbone

warnings.filterwarnings("ignore", "IProgress not found")  # progress is logged, not drawn
started = time.perf_counter()
folder = Path(tempfile.mkdtemp(prefix="medres-"))

# %% [markdown]
# ## Three channels become one, exactly
#
# A grey image that is fed to a colour network three times, each copy normalised with its channel's mean and deviation,
# gives some first feature maps. Filters that are added up over the channels, divided by their deviations, give the
# same, up to what the means contribute, and that ends where the zero padding of the border begins. medres therefore
# *folds* three channels into one and a second of ones. Nothing is approximated: here both ways are computed, with a
# colour network of random weights, as good for this as one of ImageNet's.

# %%
torch.manual_seed(0)
colour = build_backbone("resnet18").eval()
torch.save(colour.state_dict(), folder / "colour.pth")
weights = load_backbone(Network(architecture="resnet18", weights="file", weights_file=folder / "colour.pth"))
folded = build_network("resnet18", labels=1, folded=True).eval()
fill_backbone(folded, weights)

grey = torch.rand(4, 1, 96, 96)
mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
colour.fc = torch.nn.Identity()
with torch.no_grad():
    three, one = colour((grey.expand(-1, 3, -1, -1) - mean) / deviation), folded.features(grey)
    naive = build_network("resnet18", labels=1, folded=True).eval()
    fill_backbone(naive, weights)
    naive.backbone.conv1.weight[:, 1] = 0  # the filters alone, without what the means add
    without = naive.features(grey)
print(f"largest difference of a feature: {(three - one).abs().max():.1e}, of features up to {three.abs().max():.2f}")
print(f"with filters that are only added up: {(three - without).abs().max():.1e}")
assert (three - one).abs().max() < 1e-4 * three.abs().max()

# %% [markdown]
# Normalisation travels with the network (`mean` and `std` are its buffers), so that nobody can forget it or do it
# twice: the input of every medres network is a radiograph in [0, 1].

# %%
print({name: round(float(getattr(folded, name)), 3) for name in ("mean", "std")})

# %% [markdown]
# ## Something to start from
#
# Phantoms of 40 patients, and three questions about each film: is there a nodule, is the patient a woman, is the view
# lateral? What a network learns of them in some seconds is the pretraining. It is kinder than ImageNet: these are
# radiographs, and one of the questions will be asked again.

# %%
synthesise_cohort(folder / "source", patients=40, seed=11)
write_index(folder / "source" / "images", folder / "source" / "manifest.csv", labels=folder / "source" / "labels.csv")
source = pd.read_csv(folder / "source" / "manifest.csv", dtype=str)
source["label_female"] = (source["PatientSex"] == "F").astype(int)
source["label_lateral"] = (source["ViewPosition"] == "LL").astype(int)
source.to_csv(folder / "source" / "manifest.csv", index=False)
small = ["preprocessing.size=64", "evaluation.replicates=400", "evaluation.shortcuts=false", "training.patience=20",
         "evaluation.heatmaps.measured=false", "crossval.folds=2"]  # fmt: skip
pretraining = load_config("quick", [*small, "training.stages=[{epochs: 10}]"])
card = train(
    folder / "source" / "manifest.csv",
    labels=["nodule", "female", "lateral"],
    config=pretraining,
    out=folder / "pretrained",
)
pd.DataFrame({name: [found["auroc"].value] for name, found in card.metrics.items()}, index=["AUROC"]).T.round(3)

# %% [markdown]
# ## The cohort at hand
#
# Other phantoms, of 24 patients: as few as a pilot study has. One question: a nodule?

# %%
synthesise_cohort(folder / "target", patients=24, seed=12)
indexed = write_index(
    folder / "target" / "images", folder / "target" / "manifest.csv", labels=folder / "target" / "labels.csv"
)
print("\n".join(indexed.lines()))

# %% [markdown]
# ## Six ways to start
#
# On the same two folds: a random start; all weights fine-tuned; the same with earlier layers learning more slowly
# (`layer_decay`); the backbone resting for the first half of the epochs; the backbone resting throughout, so that only
# the head learns; and a linear probe, which fits the head on resting features exactly.

# %%
start = folder / "pretrained" / "models" / "model.safetensors"
begun = ["network.weights=file", f"network.weights_file={json.dumps(str(start))}"]
epochs = 6
ways = {
    "random start": [],
    "fine-tuned": [*begun, "training.learning_rate=3e-4"],
    "layer decay 0.5": [*begun, "training.learning_rate=3e-4", "training.layer_decay=0.5"],
    "frozen, then fine-tuned": [*begun, "training.learning_rate=3e-4", f"training.frozen_epochs={epochs // 2}"],
    "frozen": [*begun, f"training.frozen_epochs={epochs}"],
    "linear probe": [*begun, "training.method=linear-probe"],
}
runs = {}
for name, changes in ways.items():
    config = load_config("quick", [*small, f"training.stages=[{{epochs: {epochs}}}]", *changes])
    known = folder / "runs" / "random-start" / "splits.json"
    division = Division(splits=known) if runs else Division()
    out = folder / "runs" / name.replace(" ", "-").replace(",", "")
    runs[name] = cross_validate(
        folder / "target" / "manifest.csv", labels=["nodule"], config=config, out=out, division=division
    )
print(f"{len(runs)} cross-validations; {time.perf_counter() - started:.0f} s since the start")

# %%
reached = pd.DataFrame(
    [
        {"way": name, "AUROC": found.value, "low": found.low, "high": found.high, "seconds": run.record.seconds}
        for name, run in runs.items()
        for found in [run.metrics["nodule"].auroc]
    ]
).set_index("way")
reached.round(3)

# %%
figure, ax = plt.subplots(figsize=(6, 3))
places = np.arange(len(reached))[::-1]
ax.hlines(places, reached["low"].astype(float), reached["high"].astype(float), color="tab:blue")
ax.plot(reached["AUROC"], places, "o", color="tab:blue")
ax.axvline(0.5, color="gray", linestyle=":", label="chance")
ax.set_yticks(places, reached.index)
ax.set(xlabel="AUROC of held-out patients, 95 % interval", xlim=(0.3, 1.01))
ax.legend(loc="lower left")
figure.tight_layout()

# %% [markdown]
# Intervals of one way each are wide, because patients are few; whether two ways differ is seen from differences paired
# by patient, to which `compare` adds what another seed may change (assumed here, for each way was trained once).

# %%
compared = compare(list(runs.values()), out=folder / "compared", timing=False)
for one in compared.deciding():
    found = one.difference
    print(f"{one.candidate} minus {one.reference}: {found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f}): "
          f"{one.verdict}")  # fmt: skip

# %% [markdown]
# ## What adapts, and what does not
#
# How far did each part of the network move from where it started? Raghu et al. (2019) found that pretrained networks
# reuse their early layers and change the late ones. The length of the change, relative to that of the weights:

# %%
stages = ("conv1", "layer1", "layer2", "layer3", "layer4")
before = load_file(start)
moved = pd.DataFrame(index=stages)
for name in ("fine-tuned", "layer decay 0.5", "frozen, then fine-tuned"):
    after = load_file(runs[name].folder / "models" / "fold-0" / "models" / "model.safetensors")
    for stage in stages:
        own = [key for key in before if key.startswith(f"backbone.{stage}.") and before[key].ndim == 4]
        change, length = (
            sum(value.square().sum().item() for value in values)
            for values in ([after[key] - before[key] for key in own], [before[key] for key in own])
        )
        moved.loc[stage, name] = (change / length) ** 0.5
axes = moved.plot.bar(figsize=(6, 3.2), rot=0)
axes.set(xlabel="Part of the network", ylabel="Change ÷ length of weights")
axes.figure.tight_layout()
moved.round(3)

# %% [markdown]
# ## What to take home
#
# - Three channels become one without any loss; no layer has to be learnt anew for it.
# - Pretraining is expected to be worth most where images are few and its question is near. Here the pretrained ways lie
#   above the random start and their intervals are wide: look at the verdicts, not the order: 24 patients tell little.
# - A linear probe is the cheapest first answer: `--set training.method=linear-probe`, and for several depths
#   `medres depth --probe-only`.
# - `layer_decay` and `frozen_epochs` spare what early layers know; whether that helps is a matter of the cohort, and
#   with so few patients mostly a tie.
# - What holds for phantoms need not hold for films, and what holds for this pretraining need not hold for ImageNet's:
#   run the same lines on your cohort.

# %%
print(f"the whole notebook took {time.perf_counter() - started:.0f} s")
