"""The sections of a run's page, one file each, in the order in which they stand there.

To add one, see CONTRIBUTING, "Add a report section".
"""

from __future__ import annotations

from medres.report.page import Section, SectionPerName
from medres.report.run_context import RunContext
from medres.report.sections.checklist import checklist_section
from medres.report.sections.checks import checks_section
from medres.report.sections.configuration import configuration_section
from medres.report.sections.flow import flow_section
from medres.report.sections.heatmaps import heatmaps_section
from medres.report.sections.labels import label_sections
from medres.report.sections.provenance import provenance_section
from medres.report.sections.recalibration import recalibration_section
from medres.report.sections.shift import shift_section
from medres.report.sections.shortcuts import shortcuts_section
from medres.report.sections.tasks import task_sections
from medres.report.sections.training import training_section

SECTIONS: tuple[Section[RunContext] | SectionPerName[RunContext], ...] = (
    SectionPerName("sections/task.html", task_sections),
    SectionPerName("sections/label.html", label_sections),
    Section("shortcuts", "Shortcuts", "sections/shortcuts.html", shortcuts_section),
    Section("heatmaps", "Heatmaps", "sections/heatmaps.html", heatmaps_section),
    Section("shift", "Shift", "sections/shift.html", shift_section),
    Section("recalibration", "If recalibrated", "sections/recalibration.html", recalibration_section),
    Section("training", "Training", "sections/training.html", training_section),
    Section("flow", "Images", "sections/flow.html", flow_section),
    Section("checks", "Checks", "sections/checks.html", checks_section),
    Section("checklist", "Checklist", "sections/checklist.html", checklist_section),
    Section("provenance", "Provenance", "sections/provenance.html", provenance_section),
    Section("configuration", "Configuration", "sections/configuration.html", configuration_section),
)
