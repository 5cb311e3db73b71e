"""What every part of a recipe is made of: immutable, no unknown keys, all faults at once."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

# Numbers must be numbers: the text "32" where a number belongs is a mistake worth reporting.
_CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

Share = Annotated[float, Field(ge=0, le=1)]
Gain = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


def pair(value: Any) -> Any:
    """Return a list as a tuple, anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


def _kind_of_mtf(value: Any) -> str:
    return "per band" if isinstance(value, dict) else "one number"


def bare_path(value: Any) -> Any:
    """Return a bare path as a mapping."""
    return {"path": value} if isinstance(value, str) else value


def _kind_of_band(value: Any) -> str:
    return "name" if isinstance(value, str) else "number"


PerBand = Annotated[dict[str, Gain], Tag("per band")]
Mtf = Annotated[Annotated[Gain, Tag("one number")] | PerBand, Discriminator(_kind_of_mtf)]
BandNumber = Annotated[int, Field(ge=1), Tag("number")]
BandKey = Annotated[Annotated[Name, Tag("name")] | BandNumber, Discriminator(_kind_of_band)]
Window = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=4, max_length=4), BeforeValidator(pair)]

Faults = Iterator[tuple[str, str]]
"""Keys (dotted, relative to the model) and what is wrong with each."""


class Section(BaseModel):
    """A part of a recipe: immutable, without unknown keys, its cross-field faults all reported at once."""

    model_config = _CONFIG

    @model_validator(mode="after")
    def _check(self) -> Self:
        faults = list(self._faults())
        if faults:
            raise PydanticCustomError("cross_field", "fields disagree: {faults}", {"faults": faults})
        return self

    def _faults(self) -> Faults:
        yield from ()


def ordered(key: str, numbers: tuple[float, float] | None) -> Faults:
    """Yield a fault unless the smaller number comes first."""
    if numbers is not None and numbers[0] > numbers[1]:
        yield key, f"got {list(numbers)}, expected the smaller number first"


def repeated(key: str, items: list[Any]) -> Faults:
    """Yield a fault where an item stands twice."""
    twice = sorted({str(item) for item in items if item is not None and items.count(item) > 1})
    if twice:
        yield key, f"got {', '.join(twice)} more than once, expected each once"
