"""medres: ImageNet-pretrained ResNets as DICOM radiograph classifiers that a hospital can audit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medres.api.run import Run
    from medres.api.verbs import compare, cross_validate, evaluate, score_folder, train, write_report
    from medres.cohort.manifest import read_manifest
    from medres.config import load_config
    from medres.imaging.reading import read_radiograph
    from medres.model.classifier import Classifier
    from medres.runs.division import Division

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Division",
    "Run",
    "__version__",
    "compare",
    "cross_validate",
    "evaluate",
    "load_config",
    "read_manifest",
    "read_radiograph",
    "score_folder",
    "train",
    "write_report",
]

_HOMES = {
    "Classifier": "medres.model.classifier",
    "Division": "medres.runs.division",
    "Run": "medres.api.run",
    "load_config": "medres.config",
    "read_manifest": "medres.cohort.manifest",
    "read_radiograph": "medres.imaging.reading",
}
_VERBS = "medres.api.verbs"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `medres --help` stays instant."""
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, _VERBS)), name)
    raise AttributeError(f"module 'medres' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for whoever asks with Tab."""
    return __all__
