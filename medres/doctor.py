"""What this installation can do, found by trying, not by asking what is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def findings() -> Iterator[str]:
    """One line per finding: versions, device, decoders, weights, folders."""
    import torch

    from medres.cohort.cache import cache_folder
    from medres.config import Network, Training
    from medres.imaging import codecs
    from medres.model.weights import named_source
    from medres.training.engine import choose_compute
    from medres.training.provenance import environment

    for name, version in environment().items():
        yield f"{name:24} {version}"
    compute = choose_compute(Training())
    yield f"{'device':24} {compute}" + ("" if compute.device.type == "cuda" else " (no GPU found)")
    for name, version in codecs.versions().items():
        yield f"{'decoder ' + name:24} {version}"
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    for architecture in ("resnet50", "resnet101"):
        source = named_source(Network(architecture=architecture))
        found = "found" if (hub / source.filename).is_file() else f"not here: put {source.filename} into {hub}"
        yield f"{'weights ' + architecture:24} {source.name.split()[-1]}, {found}"
    folder = cache_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    yield f"{'pixel cache':24} {folder}, {size / 2**20:.0f} MiB (MEDRES_CACHE moves it; it may be deleted)"
