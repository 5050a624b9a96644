"""Which radiographs are read, and how they become the network's input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from medres.config.reading import Settings, read_yaml, validated
from medres.config.versions import Since
from medres.errors import ConfigError
from medres.records import Decoding

PAIRED_LIMBS = frozenset(
    ("ANKLE", "ARM", "CALCANEUS", "CLAVICLE", "ELBOW", "EXTREMITY", "FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HIP",
     "HUMERUS", "KNEE", "LEG", "PATELLA", "RADIUS", "SCAPULA", "SHOULDER", "THUMB", "TIBIA", "TOE", "ULNA", "WRIST")
)  # fmt: skip
"""BodyPartExamined values of limbs that have a mirror image; the trunk has none: the heart lies left."""

_OVERSAMPLED = 4  # pixels that a smaller copy still has, in rows and in columns, for one of the network's
_WEEK = 7 * 24 * 3600.0


class Limits(Settings):
    """Budgets for one file; what exceeds them is refused before it is allocated.

    `seconds` is what a radiograph of some 70 megapixels takes in JPEG 2000, the slowest encoding (10 megapixels: 3 s).
    """

    file_bytes: int = Field(default=512 * 2**20, gt=0, description="Largest file that is opened, bytes.")
    pixels: int = Field(default=100_000_000, gt=0, description="Most pixels (Rows × Columns) of an image.")
    inflated_bytes: int = Field(
        default=400 * 2**20, gt=0, description="Largest size of a deflated data set once inflated, bytes."
    )
    inflation_ratio: float = Field(
        default=250.0,
        gt=1,
        allow_inf_nan=False,
        description="Most times its own size a deflated data set may inflate to.",
    )
    sequence_depth: int = Field(default=50, ge=1, description="Deepest nesting of sequences.")
    smallest_side: int = Field(default=16, ge=2, description="Fewest rows or columns of a radiograph.")
    seconds: float = Field(
        default=20.0,
        gt=0,
        le=_WEEK,
        allow_inf_nan=False,
        description="Most processor time that decoding one file may take, seconds, however long it waits for it.",
    )
    wall_seconds: float = Field(
        default=120.0,
        gt=0,
        le=_WEEK,
        allow_inf_nan=False,
        description="Longest that one file may be worked on, seconds by the clock; then it is tried once more, alone.",
    )
    worker_bytes: int = Field(
        default=4 * 2**30, gt=0, description="Most memory a decoding process may allocate, bytes (Linux)."
    )

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Limits:
        """Limits of which some are given as NAME=VALUE; the others have their defaults, and do not count as set.

        Raises:
            ConfigError: a name or a value is wrong.

        >>> Limits.from_texts(["seconds=60"]).seconds
        60.0
        """
        given = {}
        for text in texts:
            name, equals, value = (part.strip() for part in text.partition("="))
            if not equals or name not in cls.model_fields:
                raise ConfigError(
                    f"--limit {text!r} is not NAME=VALUE with one of the names {', '.join(cls.model_fields)}"
                )
            given[name] = value
        return validated(cls, given, "--limit")

    def changed_by(self, other: Limits) -> Limits:
        """These limits with those that are set in other ones."""
        return self.model_copy(update=other.model_dump(exclude_unset=True))


class Gate(Settings):
    """Which radiographs a model accepts, decided on the header before any pixel is decoded.

    An empty tuple admits everything. Values are compared in upper case.
    """

    name: str = Field(default="grayscale", description="What the gate is called in tables and cards.")
    modality: tuple[str, ...] = Field(default=(), description="Admitted Modality values; others are refused.")
    body_part: tuple[str, ...] = Field(
        default=(), description="Admitted BodyPartExamined values; absent or doubtful goes to review."
    )
    view: tuple[str, ...] = Field(
        default=(), description="Admitted ViewPosition values; absent goes to review, others are refused."
    )
    for_presentation: bool = Field(default=False, description="Refuse PresentationIntentType FOR PROCESSING.")
    review_modality: Annotated[tuple[str, ...], Since(4, then=[])] = Field(
        default=(),
        description="Beside `modality`: Modality values for which a human must look; ABSENT is a file without one.",
    )
    projection: Annotated[bool, Since(4, then=False)] = Field(
        default=False,
        description="Refuse SOP classes that hold no projection radiograph (CT, MR, …), whatever Modality says.",
    )


PROJECTION_MODALITIES = ("CR", "DX", "MG", "IO", "PX", "RG", "RF", "XA")
"""Modality values (PS3.3 C.7.3.1.1.1) of projection radiography."""

ABSENT = "ABSENT"
"""How `Gate.review_modality` names a file whose Modality is absent or empty."""

GATES: Mapping[str, Gate] = {
    "any": Gate(
        name="any",
        modality=PROJECTION_MODALITIES,
        review_modality=("OT", "SC", ABSENT),  # SC is no defined term, yet some secondary captures say it
        projection=True,
    ),
    "frontal-chest": Gate(
        name="frontal-chest",
        modality=("CR", "DX", "RG"),
        body_part=("CHEST", "THORAX"),
        view=("PA", "AP"),
        for_presentation=True,
    ),
    "grayscale": Gate(),
}
"""Named gates: any projection radiograph, frontal chest radiographs, any grayscale image of one frame.

A YAML file with the fields of Gate serves as well. Models of format 3 may hold a gate named `any` that admits what
`grayscale` does: a model keeps the fields of its gate, whatever a name means later.
"""


class Preprocessing(Settings):
    """How a radiograph becomes the network's input; its hash travels with the model."""

    size: int = Field(default=320, ge=32, le=2048, description="Side of the square input, pixels.")
    voi: Literal["header", "full", "percentile"] = Field(
        default="header",
        description="What spans black to white: the header's window or LUT, the full stored range, or percentiles.",
    )
    percentiles: tuple[float, float] = Field(
        default=(0.5, 99.5), description="Lower and upper percentile of `voi: percentile`."
    )
    laterality: Literal["as-acquired", "mirror-left-limbs"] = Field(
        default="as-acquired",
        description="`mirror-left-limbs` shows left limbs (ImageLaterality L; never the chest) as right ones.",
    )
    decode: Annotated[Decoding, Since(6, then="full")] = Field(
        default="full",
        description="`reduced` decodes a smaller copy where a JPEG 2000, HTJ2K or baseline JPEG image holds one: the "
        "smallest whose shorter side is four times `size`, at most an eighth.",
    )

    def shorter_side(self, decode: Decoding | None = None) -> int | None:
        """The pixels that an image must keep in rows and in columns while it is decoded; None: all.

        Args:
            decode: how, where that is not as the specification says.

        >>> Preprocessing(size=128).shorter_side("reduced"), Preprocessing(size=128).shorter_side()
        (512, None)
        """
        return _OVERSAMPLED * self.size if (decode or self.decode) == "reduced" else None


def load_gate(source: str | Path) -> Gate:
    """A gate by name (`any`, `frontal-chest`, `grayscale`), or a YAML file with the fields of Gate.

    Raises:
        ConfigError: neither a known name nor a readable file.
    """
    name = str(source)
    if name in GATES:
        return GATES[name]
    if not Path(name).is_file():
        raise ConfigError(f"no gate or file named {name!r}; built-in gates: {', '.join(GATES)}")
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{name} is no text file in UTF-8 that can be read; a gate is a YAML file") from None
    return validated(Gate, own_gate({"name": Path(name).stem} | read_yaml(text, name)), name)


def own_gate(values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The fields of a gate that somebody wrote: without `modality` it admits the modalities of the gate `any`.

    So a gate of knees admits radiographs of knees, and no MR of them. An empty `modality` admits every one.

    >>> own_gate({"body_part": ["KNEE"]})["modality"][:2], own_gate({"modality": []})
    (('CR', 'DX'), {'name': 'custom', 'modality': []})
    """
    usual = GATES["any"].model_dump(include={"modality", "review_modality", "projection"})
    return {"name": "custom", **({} if "modality" in values else usual), **values}
