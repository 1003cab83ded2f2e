"""What a figure of the report is: drawings in groups, with labels, a caption and a text alternative each."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation import svg
from evaluation.svg import Drawing

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
CHART = (330.0, 250.0)  # size of a chart in CSS pixels: one fills a phone, two stand side by side
FURTHER = ("#8C8C8C", "#7A4FA3", "#8B5A2B")  # for K above seven


@dataclass(frozen=True)
class Panel:
    """A drawing under its label; narrow is what a narrow page shows instead."""

    drawing: Drawing
    label: str = ""
    narrow: Drawing | None = None


@dataclass(frozen=True)
class Group:
    """Panels that are read together, with a heading and a colour bar where they share one."""

    panels: tuple[Panel, ...]
    heading: str = ""
    bar: Drawing | None = None


@dataclass(frozen=True)
class Picture:
    """A figure of the page, and a file in figures/.

    Attributes:
        key: name of the file, and of the element on the page.
        title: in the file, where no page stands around it.
        caption: what to see, with units.
        groups: from top to bottom.
        columns: panels side by side where there is room.
    """

    key: str
    title: str
    caption: str
    groups: tuple[Group, ...]
    columns: int

    def file(self) -> str:
        """The SVG document of the whole figure."""
        groups = []
        for group in self.groups:
            labelled = [(panel.drawing, panel.label) for panel in group.panels]
            groups.append((group.heading, labelled))
            if group.bar is not None:
                groups.append(("", [(group.bar, "")]))
        return svg.alone(groups, columns=self.columns, title=self.title)


def cluster_colours(k: int) -> list[str]:
    """A colour for each cluster, told apart by the colour-blind up to seven; beyond ten they come round again."""
    colours = [*OKABE_ITO, *FURTHER]
    return [colours[i % len(colours)] for i in range(k)]
