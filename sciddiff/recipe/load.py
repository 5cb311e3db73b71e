"""A YAML file to a recipe and back. What is wrong with a recipe is said all at once, each fault with its position."""

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from sciddiff.errors import RecipeError
from sciddiff.recipe.document import Document, Fault, apply_override, read_document
from sciddiff.recipe.document import Path as KeyPath
from sciddiff.recipe.hints import did_you_mean, nearest
from sciddiff.recipe.schema import Recipe

MAX_BYTES = 1_000_000


def load_recipe(path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """
    Read a recipe from a YAML file.

    Parameters
    ----------
    path : str or pathlib.Path
        The file. Paths of data in it are relative to its folder.
    overrides : sequence of str
        Values set on top of the file, such as `"training.steps=100"`; the value is YAML.

    Returns
    -------
    Recipe
        The checked recipe.

    Raises
    ------
    RecipeError
        With every fault of the file and the overrides, a line each: `file:line:column: key: got X, expected Y`.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(f"{path}: got {path.stat().st_size} bytes, expected a recipe of at most {MAX_BYTES}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise RecipeError(f"{path}: cannot be read as a recipe: {reason}") from error
    return parse_recipe(text, name=str(path), folder=path.parent, overrides=overrides)


def parse_recipe(text: str, *, name: str = "recipe", folder: str | Path = ".", overrides: Sequence[str] = ()) -> Recipe:
    """
    Read a recipe from YAML text, such as the one that a model file holds.

    Parameters
    ----------
    text : str
        The YAML.
    name : str
        What to call it in messages.
    folder : str or pathlib.Path
        What the paths of data are relative to.
    overrides : sequence of str
        Values set on top of the text, such as `"training.steps=100"`.

    Returns
    -------
    Recipe
        The checked recipe.

    Raises
    ------
    RecipeError
        With every fault, a line each.
    """
    document = read_document(text, name=name)
    for assignment in overrides:
        apply_override(document, assignment)
    if document.faults and document.data is None:
        raise _refusal(document)
    try:
        recipe = Recipe.model_validate(document.data if document.data is not None else {})
    except ValidationError as error:
        found = [fault for detail in error.errors() for fault in _faults(document, detail)]
        # A misspelled key is not missing too, and what could not be read has been said.
        known = {fault.meant for fault in found if fault.meant} | {fault.key for fault in document.faults}
        document.faults += [fault for fault in found if fault.key not in known]
        raise _refusal(document) from None
    if document.faults:
        raise _refusal(document)
    return _located(recipe, document, Path(folder))


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a recipe, for editors and documentation."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_unwrapped(schema)}


def to_yaml(recipe: Recipe) -> str:
    """
    Write a recipe as YAML that `parse_recipe` reads back as the same recipe.

    Parameters
    ----------
    recipe : Recipe
        The recipe; its data paths are written as they were read, variables unexpanded.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 120
    stream = io.StringIO()
    yaml.dump(recipe.model_dump(mode="json"), stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    """Quotes every text that is not a plain word, so that no colon or brace in a name can be misread."""

    def represent_str(self, data: str) -> ScalarNode:
        style = None if re.fullmatch(r"\w[\w ./-]*", data, re.ASCII) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def _located(recipe: Recipe, document: Document, folder: Path) -> Recipe:
    """Tell each source the folder its path is relative to and where it was written."""
    for role in ("train", "valid"):
        for index, source in enumerate(getattr(recipe.data, role)):
            source.place(folder.absolute(), document.where(("data", role, index)))
    return recipe


def _refusal(document: Document) -> RecipeError:
    faults = list(dict.fromkeys(map(str, sorted(document.faults, key=_order))))
    number = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return RecipeError("\n".join([f"{document.name} has {number}:", *faults]))


def _order(fault: Fault) -> tuple[bool, list[int]]:
    """Faults of the file by line and column, then those of the command line as they came."""
    position = re.search(r":(\d+):(\d+)$", fault.where)
    return position is None, [int(number) for number in position.groups()] if position else []


def _faults(document: Document, detail: ErrorDetails) -> Iterator[Fault]:
    path, _ = _follow(document.data, detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "cross_field":
        for key, message in context["faults"]:
            inner, _ = _follow(document.data, (*path, *_steps(key)))
            yield Fault(document.where(inner), _dotted((*path, *_steps(key))), message)
    elif kind == "extra_forbidden":
        yield _unknown_key(document, (*path[:-1], str(detail["loc"][-1])))
    elif kind == "missing":
        key = (*path, str(detail["loc"][-1]))
        yield Fault(document.where(path, of_key=True), _dotted(key), f"got nothing, expected {_described(key)}")
    else:
        yield Fault(document.where(path), _dotted(path), f"got {_shown(detail['input'])}, expected {_expected(detail)}")


def _follow(data: Any, location: Sequence[str | int]) -> tuple[KeyPath, Any]:
    """Return the part of pydantic's location that is in the document (it names union branches too) and its value."""
    path: list[str | int] = []
    for step in location:
        in_list = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if in_list or (isinstance(data, dict) and step in data):
            data = data[step]
            path.append(step)
    return tuple(path), data


def _steps(key: str) -> KeyPath:
    return tuple(int(step) if step.isdigit() else step for step in key.split("."))


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown_key(document: Document, path: KeyPath) -> Fault:
    word = str(path[-1])
    known = list(_properties(path[:-1]))
    near = nearest(word, known)
    message = f"got an unknown key, expected {_one_of(known)}{did_you_mean(word, known)}"
    meant = _dotted((*path[:-1], near)) if near else ""
    return Fault(document.where(path, of_key=True), _dotted(path), message, meant)


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "string_pattern_mismatch": "lower-case letters, digits, single dashes and underscores",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
    "string_too_short": "text that is not empty",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "{le:g} or less",
    "multiple_of": "a multiple of {multiple_of:g}",
    "too_short": "{min_length} or more items",
    "too_long": "{max_length} items at most",
    "literal_error": "{expected}",
}


def _expected(detail: ErrorDetails) -> str:
    template = _EXPECTED.get(detail["type"])
    if template is None:
        return detail["msg"]
    text = template.format(**detail.get("ctx", {}))
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        text += did_you_mean(detail["input"], re.findall(r"'([^']*)'", text))
    return text


def _one_of(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}" if len(names) > 1 else ", ".join(names)


def _described(path: KeyPath) -> str:
    """Return what the schema says about a key, as part of a sentence."""
    description = str(_properties(path[:-1]).get(str(path[-1]), {}).get("description", "a value")).rstrip(".")
    return f"{path[-1]}: {description[0].lower()}{description[1:]}"


def _properties(path: KeyPath) -> dict[str, Any]:
    """Return the keys that the schema allows in the mapping at a path."""
    schema = recipe_schema()
    here: dict[str, Any] = schema
    for step in path:
        here = here.get("items", {}) if isinstance(step, int) else here.get("properties", {}).get(step, {})
        branches = [here, *here.get("anyOf", []), *here.get("oneOf", [])]
        references = [branch["$ref"].rpartition("/")[2] for branch in branches if "$ref" in branch]
        here = schema["$defs"][references[0]] if references else here
    return dict(here.get("properties", {}))


def _unwrapped(schema: Any) -> Any:
    """Join the lines of descriptions."""
    if isinstance(schema, dict):
        joined = {key: _unwrapped(value) for key, value in schema.items()}
        if isinstance(joined.get("description"), str):
            joined["description"] = " ".join(joined["description"].split())
        return joined
    return [_unwrapped(item) for item in schema] if isinstance(schema, list) else schema
