from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

import pytest
from click.testing import CliRunner

from medres import doctor
from medres.cli import medres as group
from medres.imaging import samples
from medres.imaging.samples import EncodedSample, Trial
from tests.support.dicom_files import JPEG


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = doctor.version

    def version(name: str) -> str:
        if name == "imagecodecs":
            raise PackageNotFoundError(name)
        return installed(name)

    assert doctor.missing_packages() == []
    monkeypatch.setattr(doctor, "version", version)
    (missing,) = doctor.missing_packages()
    assert missing.startswith("imagecodecs")


def test_a_transfer_syntax_that_cannot_be_decoded_is_said_with_its_remedy_and_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trials() -> Iterator[Trial]:
        yield Trial(EncodedSample(f"{JPEG}80", 8), "imagecodecs 1", "")
        yield Trial(EncodedSample(f"{JPEG}80", 12), "", "DECODE_FAILED: no decoder")

    monkeypatch.setattr(samples, "try_samples", trials)
    done = CliRunner().invoke(group, ["doctor"])
    assert done.exit_code == 1
    (line,) = [line for line in done.output.splitlines() if f"{JPEG}80" in line]
    assert line.startswith("FAILS JPEG-LS Lossless")
    assert "8 bit by imagecodecs 1" in line
    assert "12 bit: DECODE_FAILED: no decoder" in line
    assert "pip install --force-reinstall imagecodecs" in line
