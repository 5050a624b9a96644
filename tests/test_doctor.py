from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

import pytest
import torch
from click.testing import CliRunner

from medres import doctor
from medres.cli import medres as group
from medres.errors import UsageError
from medres.imaging import samples
from medres.imaging.samples import EncodedSample, Trial
from medres.model import device
from medres.runs import device_checks
from medres.runs.device_checks import Check, core_checks, tried
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


def test_the_checks_of_a_gpu_are_those_of_the_acceptance_script_and_a_failure_ends_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def checks(device: torch.device) -> Iterator[Check]:
        yield from core_checks(device, side=32)
        yield tried("nothing works", lambda: (_ for _ in ()).throw(RuntimeError("no kernel")))

    monkeypatch.setattr(samples, "try_samples", lambda: iter(()))
    monkeypatch.setattr(device_checks, "core_checks", checks)
    monkeypatch.setattr(device, "choose_device", lambda _: torch.device("cpu"))
    done = CliRunner().invoke(group, ["doctor", "--gpu"])
    assert done.exit_code == 1
    assert "passes on cpu: a saved model scores alike (logits 0" in done.output
    assert "FAILS on cpu: nothing works (RuntimeError: no kernel" in done.output


def test_a_gpu_that_is_not_there_cannot_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no GPU was found"):
        next(doctor.on_the_gpu())
