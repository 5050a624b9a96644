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
# # From a DICOM file to a prediction
#
# One radiograph walks the whole path of medres: it is synthesised, read, rendered, preprocessed, scored and
# explained. Everything here is synthetic; no person's image is involved. **Not for diagnostic use.**

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from medres import Classifier, load_config, read_radiograph, train
from medres.cohort.indexing import write_index
from medres.errors import Refused
from medres.imaging.preprocessing import preprocess
from medres.imaging.synthesis import synthesise_cohort

folder = Path(tempfile.mkdtemp(prefix="medres-"))

# %% [markdown]
# ## A cohort
#
# `synthesise_cohort` writes phantom radiographs as DICOM: several transfer syntaxes, MONOCHROME1 and 2, frontal
# and lateral views, lesions of known place.

# %%
synthesise_cohort(folder / "cohort", patients=24, seed=1)
indexed = write_index(folder / "cohort" / "images", folder / "manifest.csv", labels=folder / "cohort" / "labels.csv")
print("\n".join(indexed.lines()))

# %%
manifest = pd.read_csv(folder / "manifest.csv", dtype=str)
manifest[["path", "PatientID", "ViewPosition", "PhotometricInterpretation", "label_nodule"]].head()

# %% [markdown]
# ## Reading
#
# `read_radiograph` returns display values: float32 in [0, 1], higher is brighter, whatever the file's polarity,
# bit depth and compression were. What cannot be read right is refused with a reason code.

# %%
positive = manifest[(manifest["label_nodule"] == "1") & (manifest["ViewPosition"] == "PA")].iloc[0]
radiograph = read_radiograph(folder / positive["path"])
print(radiograph.pixels.shape, radiograph.provenance["transfer_syntax"], radiograph.provenance["decoder"])

# %%
try:
    read_radiograph(folder / "manifest.csv")
except Refused as refusal:
    print(refusal)

# %% [markdown]
# ## Preprocessing
#
# The network sees a square; the Placement maps points and heatmaps back to native pixels.

# %%
config = load_config("quick", ["preprocessing.size=64", "training.stages=[{epochs: 2}]"])
prepared = preprocess(radiograph, config.preprocessing)
print(prepared.pixels.shape, prepared.pixels.dtype)

# %% [markdown]
# ## Training
#
# Two epochs at 64 pixels show the mechanics, not a good model: the card says what it was trained on and that it
# started from random weights.

# %%
card = train(folder / "manifest.csv", labels=["nodule"], config=config, out=folder / "model")
print(card.model_id, "·", card.weights)

# %% [markdown]
# ## Predicting and explaining
#
# Loading verifies hashes and recomputes a self-check. A probability comes with the operating point that it is
# compared with.

# %%
model = Classifier.load(folder / "model")
score = model.predict(radiograph).scores["nodule"]
print(f"probability {score.probability:.2f}, operating point {score.threshold:.2f}, positive: {score.positive}")

# %%
explanation = model.explain(radiograph, label="nodule")
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 5))
left.imshow(radiograph.pixels, cmap="gray", vmin=0, vmax=1)
left.set_title("radiograph")
right.imshow(radiograph.pixels, cmap="gray", vmin=0, vmax=1)
right.imshow(explanation.heatmap, cmap="inferno", alpha=0.4, vmin=0, vmax=model.heatmap_scale("nodule"))
right.set_title(f"evidence, at most {explanation.strength:.2f} logits")
for axes in (left, right):
    axes.axis("off")
figure.tight_layout()
