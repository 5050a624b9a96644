"""The reference radiograph, which every saved model verifies itself on; nothing but NumPy is needed for it."""

from __future__ import annotations

import numpy as np

from medres.imaging.anatomy import Anatomy, Nodule, line_integral
from medres.imaging.projection import FIELD_WIDTH, pixel_centres
from medres.records import Radiograph


def reference_radiograph(rows: int = 256, columns: int = 208) -> Radiograph:
    """The reference man with one nodule, without noise or any random number.

    Uses only elementary functions in double precision, so that every machine computes the same picture to
    about 1e-7: saved models verify themselves on it.

    Returns:
        A Radiograph whose `pixels` are float32 (rows, columns) in [0, 1].

    >>> picture = reference_radiograph(64, 52).pixels
    >>> picture.shape, bool(picture.min() == 0.0), bool(picture.max() > 0.9)
    ((64, 52), True, True)
    """
    pixel = FIELD_WIDTH / columns
    attenuation = line_integral(
        Anatomy(),
        pixel_centres(columns, pixel, 0.0),
        pixel_centres(rows, pixel, 0.0),
        view="PA",
        nodules=(Nodule((-78.0, 8.0, -32.0), 20.0),),
    )
    brightness = np.clip((attenuation - 1.2) / 4.2, 0.0, 1.0)
    return Radiograph(
        pixels=brightness.astype(np.float32),
        sop_instance_uid="2.25.1",
        study_instance_uid="2.25.2",
        patient_id="PHANTOM-REFERENCE",
        view_position="PA",
        laterality="U",
    )
