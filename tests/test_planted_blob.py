"""A bright blob of a known place is found by the heatmap of a network that looks for brightness, whatever the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medres import Classifier, read_radiograph
from medres.config import Preprocessing
from medres.imaging.preprocessing import preprocess
from medres.model.heatmaps.grid import Stride
from medres.statistics.pointing import peak
from tests.support.phantoms import write_radiograph

SIZE = 160


@pytest.fixture(scope="module")
def brightness(small_model: Path) -> Classifier:
    """The small model's house around a network of averages: its evidence is the brightness around a cell."""
    model = Classifier.load(small_model, device="cpu")
    (member,) = model.members
    with torch.no_grad():
        for name, value in member.network.named_parameters():
            if value.ndim == 4:
                torch.nn.init.constant_(value, 1 / value[0].numel())
            else:
                torch.nn.init.constant_(value, float("weight" in name))
        for name, buffer in member.network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.fill_(float("var" in name))
        member.network.mean.zero_()
        member.network.std.fill_(1)
    spec = Preprocessing(size=SIZE, laterality="mirror-left-limbs")
    model.card = model.card.model_copy(update={"preprocessing": spec})
    return model


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(60, 700), st.integers(60, 700)),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    inverted=st.booleans(),
    left=st.booleans(),
    aspect=st.sampled_from([(1, 1), (2, 1), (2, 3)]),
    stride=st.sampled_from([32, 16, 8]),
)
def test_the_peak_lies_within_a_cell_of_a_planted_blob_in_native_pixels(
    brightness: Classifier, tmp_path: Path, shape: tuple[int, int], where: tuple[float, float], inverted: bool,
    left: bool, aspect: tuple[int, int], stride: Stride,
) -> None:  # fmt: skip
    rows, columns = shape
    row, column = (part * (side - 1) for part, side in zip(where, shape, strict=True))
    scale = SIZE / max(rows * aspect[0] / aspect[1], columns)
    y, x = np.mgrid[:rows, :columns]
    spread = 6 / scale  # network pixels
    pixels = 4000 * np.exp(-(((y - row) * aspect[0] / aspect[1]) ** 2 + (x - column) ** 2) / (2 * spread**2))
    path = write_radiograph(
        tmp_path / "blob.dcm", 4095 - pixels if inverted else pixels, patient="1", uid="2.25.1",
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2", PixelAspectRatio=list(aspect),
        BodyPartExamined="KNEE", ImageLaterality="L" if left else "R",
    )  # fmt: skip
    radiograph = read_radiograph(path)
    placement = preprocess(radiograph, brightness.preprocessing).placement
    assert placement.mirrored == left
    found = brightness.explain(radiograph, label="disc", stride=stride)
    assert found.heatmap.shape == shape
    seen, planted = placement.to_input(np.array([peak(found.heatmap), (row, column)])).clip(0, SIZE - stride)
    # Beyond the outermost cells' centres no map tells places apart, and at a stride of 8 the gradient of strided layers
    # favours every second cell.
    assert np.abs(seen - planted).max() <= max(stride, 16) + 1
