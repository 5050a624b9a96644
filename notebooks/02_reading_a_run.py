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
# # Reading a run
#
# A cross-validation leaves a folder. Here two small ones are made of the same phantom radiographs, opened, plotted and
# compared. Everything is synthetic; no person's image is involved. **Not for diagnostic use.**

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from medres import Division, Run, compare, cross_validate, load_config
from medres.cohort.indexing import write_index
from medres.imaging.synthesis import synthesise_cohort

folder = Path(tempfile.mkdtemp(prefix="medres-"))
synthesise_cohort(folder / "cohort", patients=16, seed=1)
indexed = write_index(folder / "cohort" / "images", folder / "manifest.csv", labels=folder / "cohort" / "labels.csv")
print("\n".join(indexed.lines()))

# %% [markdown]
# ## Two cross-validations
#
# The first deals the patients out into two folds. The second learns for one epoch more on **the same** folds, which it
# is given as a split file: only then can the two be compared image by image. A few epochs at 64 pixels show the
# mechanics, not a good model.

# %%
small = ["preprocessing.size=64", "crossval.folds=2", "evaluation.replicates=100", "evaluation.shortcuts=false"]
once = load_config("quick", [*small, "training.stages=[{epochs: 1}]"])
twice = load_config("quick", [*small, "training.stages=[{epochs: 2}]"])

first = cross_validate(folder / "manifest.csv", labels=["nodule"], config=once, out=folder / "once")

# %%
same_folds = Division(splits=folder / "once" / "splits.json")
second = cross_validate(
    folder / "manifest.csv", labels=["nodule"], config=twice, out=folder / "twice", division=same_folds
)

# %% [markdown]
# ## Opening a run
#
# `cross_validate` gives back what `Run.open` opens at any later time. What the run recorded of itself, of its folds and
# of its figures is typed; every figure has its interval, the method behind it, and how many images and patients it
# rests on.

# %%
run = Run.open(folder / "twice")
print(run.record.recipe, "·", run.record.network.architecture, "·", run.record.network.weights)
for fold in run.folds:
    print(f"fold {fold.fold}: learnt from {fold.training_patients} patients, judged by {fold.held_out_patients}")

# %%
run.metrics["nodule"].auroc

# %%
pd.DataFrame({name: [found.value, found.low, found.high] for name, found in run.metrics["nodule"].pooled.items()},
             index=["value", "low", "high"]).T  # fmt: skip

# %% [markdown]
# `predictions` is `oof.csv`: one row per image, scored by the network that had held its patient out. Every figure
# above can be computed from it again.

# %%
run.predictions[["path", "PatientID", "fold", "label_nodule", "prob_nodule", "positive_nodule"]].head()

# %% [markdown]
# ## Plotting on your own axes
#
# As with scikit-learn's displays, `ax` is yours, and what was drawn can be read from what comes back. Bands and bars
# are 95 % intervals from resampled patients. The dot is the operating point, which inner validation patients chose.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4))
roc = run.plot_roc("nodule", ax=left)
left.set_title(f"AUROC {roc.auroc.value:.2f}")
calibration = run.plot_calibration("nodule", ax=right)
right.set_title(f"calibration error {calibration.calibration_error.value:.2f}")
figure.tight_layout()

# %%
roc.operating_point, calibration.images

# %% [markdown]
# Two runs fit on one pair of axes.

# %%
figure, axes = plt.subplots(figsize=(4.6, 4.4))
first.plot_roc("nodule", ax=axes, name="one epoch")
second.plot_roc("nodule", ax=axes, name="two epochs", color="tab:green")
axes.legend(loc="lower right")
figure.tight_layout()

# %% [markdown]
# ## Comparing two runs
#
# The first run is the reference. The difference is paired by patient. What other patients and what other seeds would
# change adds up in its interval; with one run each, the part of the seeds is assumed.

# %%
compared = compare([first, second], out=folder / "compared", timing=False)
for one in compared.deciding():
    difference = one.difference
    print(f"{one.candidate} minus {one.reference}: AUROC {difference.value:+.3f}, verdict: {one.verdict}")
    print(f"another seed alone may give {one.seed_bar:.3f}; {difference.n} images of {difference.n_patients} patients")
