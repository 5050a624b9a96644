"""The sections of a comparison's page, one file each, in the order in which they stand there."""

from __future__ import annotations

from medres.report.comparison_context import ComparisonContext
from medres.report.comparison_sections.cost import cost_section
from medres.report.comparison_sections.differences import differences_section
from medres.report.comparison_sections.other_metrics import other_metrics_section
from medres.report.comparison_sections.provenance import provenance_section
from medres.report.comparison_sections.recipes import recipes_section
from medres.report.comparison_sections.seeds import seeds_section
from medres.report.page import Section

SECTIONS: tuple[Section[ComparisonContext], ...] = (
    Section("differences", "Differences", "comparison/differences.html", differences_section),
    Section("cost", "Cost", "comparison/cost.html", cost_section),
    Section("seeds", "Seeds", "comparison/seeds.html", seeds_section),
    Section("others", "Other metrics", "comparison/other_metrics.html", other_metrics_section),
    Section("runs", "Runs", "comparison/recipes.html", recipes_section),
    Section("provenance", "Provenance", "comparison/provenance.html", provenance_section),
)
