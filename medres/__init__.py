"""medres: ImageNet-pretrained ResNets as DICOM radiograph classifiers that a hospital can audit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medres.imaging.reading import read_radiograph
    from medres.model.classifier import Classifier

__version__ = "0.1.0"
__all__ = ["Classifier", "__version__", "read_radiograph"]

_HOMES = {"Classifier": "medres.model.classifier", "read_radiograph": "medres.imaging.reading"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `medres --help` stays instant."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'medres' has no attribute {name!r}")
