"""The sections of a depth study's page, in the order in which they stand there."""

from __future__ import annotations

from medres.report.depth_sections.context import DepthContext
from medres.report.depth_sections.gain import gain_section
from medres.report.depth_sections.networks import networks_section
from medres.report.depth_sections.runs import runs_section
from medres.report.page import Section

SECTIONS: tuple[Section[DepthContext], ...] = (
    Section("networks", "Networks", "depth/networks.html", networks_section),
    Section("gain", "What depth buys", "depth/gain.html", gain_section),
    Section("runs", "Runs", "depth/runs.html", runs_section),
)
