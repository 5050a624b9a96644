"""The head of a depth study's page: who was compared on what, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.evaluation.depth import DepthStudy
from medres.formatting import network_name
from medres.report.depth_sections.context import DepthContext
from medres.report.depth_sentences import answers
from medres.report.page import Content


@dataclass(frozen=True, slots=True)
class AnswerSection(Content):
    """All that the page says before its sections."""

    study: DepthStudy
    networks: Sequence[str]  # as people write them
    answers: Sequence[str]


def answer(context: DepthContext) -> AnswerSection:
    """The answer of a study."""
    names = [network_name(one.architecture) for one in context.study.networks]
    return AnswerSection(context.study, names, [f"{one[0].upper()}{one[1:]}" for one in answers(context.study)])
