"""The manifest of a synthesis: one line an image, added when it is done."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from sciddiff.errors import OutputError


@dataclass(frozen=True)
class Line:
    """An image: where it is, what was asked of it, and what was found of it, empty where nobody looked."""

    name: str
    image: str
    labels: str
    source_mask: str
    layout: str
    image_class: str
    numbers: str
    style: str
    seed: str
    steps: str
    guidance: str
    guidance_interval: str
    negative: str
    weaker: str
    changed_image: str
    changed_region: str
    strength: str
    filter_score: str = ""
    kept: str = ""
    nearest_training: str = ""
    nearest_distance: str = ""

    @classmethod
    def of(cls, name: str, *, image: Path, labels: Path | None, source: str, wish: Mapping[str, Any]) -> Self:
        """Of what was asked for, as `Wish` says it."""
        guidance = wish["guidance"]
        return cls(
            name=name,
            image=str(image),
            labels="" if labels is None else str(labels),
            source_mask=source,
            layout=wish["layout"],
            image_class=wish["image_class"] or "",
            numbers=_said(wish["numbers"]),
            style=wish["style"] or "",
            seed=str(wish["seed"]),
            steps=str(wish["steps"]),
            guidance=f"{guidance['scale']:g}",
            guidance_interval=" ".join(f"{sigma:g}" for sigma in guidance["interval"]),
            negative=_said({key: value[0] for key, value in guidance["negative"].items()}),
            weaker=guidance["weaker"] or "",
            changed_image=wish["image"] or "",
            changed_region=wish["region"] or "",
            strength=f"{wish['strength']:g}",
        )


def _said(numbers: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:g}" for name, value in numbers.items())


COLUMNS = tuple(each.name for each in fields(Line))


class Manifest:
    """The lines on disk; a last line that was cut off by a kill is not one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, Line] = {}
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.reader(file) if len(row) == len(COLUMNS)][1:]
            found = [Line(*row) for row in rows]
            self.lines = {line.name: line for line in found if (path.parent / line.image).exists()}
        self.write(self.lines.values())

    def __len__(self) -> int:
        return len(self.lines)

    def has(self, name: str) -> bool:
        """Whether an image is done."""
        return name in self.lines

    def add(self, line: Line) -> None:
        """Append a line.

        Raises
        ------
        OutputError
            The disk is full, or the file is closed to us.
        """
        self.lines[line.name] = line
        try:
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow(asdict(line).values())
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}") from error

    def sort(self, names: Sequence[str]) -> None:
        """Bring the lines of these names into their order; others come last."""
        place = {name: number for number, name in enumerate(names)}
        self.write(sorted(self.lines.values(), key=lambda line: place.get(line.name, len(place))))

    def write(self, lines: Iterable[Line]) -> None:
        """Write all lines anew, whole or not at all; see `add` for what it raises."""
        self.lines = {line.name: line for line in lines}
        beside = self.path.with_name(f".{self.path.name}.tmp")
        try:
            with beside.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows(asdict(line).values() for line in self.lines.values())
            os.replace(beside, self.path)
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}") from error
