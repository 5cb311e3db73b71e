"""YAML text to plain data in which every value remembers where it was written, with all faults of the text at once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]
MAX_DEPTH = 20
MAX_NODES = 20_000


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that is wrong.

    Attributes
    ----------
    where : str
        `file:line:column`, or the option of the command line.
    key : str
        Dotted.
    message : str
        What was got and what was expected.
    meant : str
        The dotted key that was probably meant by an unknown one.
    """

    where: str
    key: str
    message: str
    meant: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)


@dataclass(slots=True)
class Document:
    """
    The plain data of a YAML text.

    Attributes
    ----------
    name : str
        What to call the text in messages: the file's name.
    data : Any
        Mappings, lists and scalars.
    keys, values : dict
        Where the key and the value of each path were written.
    faults : list of Fault
        What is wrong with the text itself.
    """

    name: str
    data: Any = None
    keys: dict[Path, str] = field(default_factory=dict)
    values: dict[Path, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def where(self, path: Path, *, of_key: bool = False) -> str:
        """Return `file:line:column` of a value (or of its key), or of the nearest thing around it that was written."""
        if of_key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, self.name)


def read_document(text: str, *, name: str) -> Document:
    """
    Parse YAML 1.2 without running anything from it.

    Parameters
    ----------
    text : str
        The YAML text, one document.
    name : str
        What to call it in messages.

    Returns
    -------
    Document
        Its data and positions; a text that is no YAML has faults and no data.
    """
    document = Document(name=name, values={(): f"{name}:1:1"})
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        document.faults.append(Fault(_mark(name, error.problem_mark), "", f"not YAML: {_reason(error)}"))
        return document
    except YAMLError as error:
        document.faults.append(Fault(f"{name}:1:1", "", f"not YAML: {str(error).splitlines()[0]}"))
        return document
    if node is not None:
        document.data = _Builder(document).build(node, ())
    return document


def apply_override(document: Document, assignment: str) -> None:
    """
    Set one value of a document from the command line.

    Parameters
    ----------
    document : Document
        Changed in place; what cannot be set becomes a fault of it.
    assignment : str
        `training.steps=100`: dotted keys (list items by number), `=`, the value as YAML.
    """
    where = f"--set {assignment}"
    key, equals, text = assignment.partition("=")
    parts = [int(part) if re.fullmatch(r"\d+", part) else part for part in key.strip().split(".")]
    if not equals or "" in parts:
        hint = "expected KEY=VALUE such as training.steps=100"
        document.faults.append(Fault(where, "", f"got {assignment!r}, {hint}"))
        return
    value = read_document(text, name=where)
    if value.faults:
        document.faults.append(Fault(where, key, value.faults[0].message))
        return
    try:
        document.data = _with(document.data, tuple(parts), value.data)
    except LookupError as error:
        document.faults.append(Fault(where, key, str(error.args[0])))
        return
    _forget(document, tuple(parts))
    for end in range(1, len(parts) + 1):
        document.keys.setdefault(tuple(parts[:end]), where)
        document.values.setdefault(tuple(parts[:end]), where)


def _with(data: Any, path: Path, value: Any) -> Any:
    """Return a copy of the data with one value replaced."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(data, list):
        if not isinstance(step, int) or step >= len(data):
            raise LookupError(f"got the item {step!r} of a list, expected a number from 0 to {len(data) - 1}")
        return [_with(item, rest, value) if index == step else item for index, item in enumerate(data)]
    if data is None or isinstance(data, dict):
        old = data or {}
        return {**old, str(step): _with(old.get(str(step)), rest, value)}
    raise LookupError(f"got the key {step!r} below {data!r}, expected a mapping or a list there")


def _forget(document: Document, path: Path) -> None:
    for marks in (document.keys, document.values):
        for known in [known for known in marks if known[: len(path)] == path]:
            del marks[known]


def _mark(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else f"{name}:1:1"


def _reason(error: MarkedYAMLError) -> str:
    return " ".join(part for part in (error.context, error.problem) if part)


class _Builder:
    """Turns a node of ruamel.yaml into data, noting positions, repeated keys and what a recipe never needs."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.seen = 0
        self.constructor = YAML(typ="safe", pure=True).constructor

    def build(self, node: Node, path: Path) -> Any:
        where = _mark(self.document.name, node.start_mark)
        self.document.values[path] = where
        self.seen += 1
        if len(path) > MAX_DEPTH or self.seen > MAX_NODES:
            return self.fault(where, path, f"got more than {MAX_DEPTH} levels or {MAX_NODES} values")
        if isinstance(node, MappingNode):
            return dict(self.items(node, path))
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, path, where)

    def items(self, node: MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        first: dict[str, str] = {}
        for key_node, value_node in node.value:
            where = _mark(self.document.name, key_node.start_mark)
            if not isinstance(key_node, ScalarNode):
                self.fault(where, path, "got a list or mapping as a key, expected a word")
                continue
            key = str(key_node.value)
            if key in first:
                line = first[key].removeprefix(f"{self.document.name}:").partition(":")[0]
                self.fault(where, (*path, key), f"got the key again, expected it once (first on line {line})")
                continue
            first[key] = where
            self.document.keys[(*path, key)] = where
            yield key, self.build(value_node, (*path, key))
            if value_node.start_mark.index == value_node.end_mark.index:
                self.document.values[(*path, key)] = where  # nothing was written: it begins at the next line's key

    def scalar(self, node: Node, path: Path, where: str) -> Any:
        tag = str(node.tag)
        if tag.endswith(":timestamp"):
            return node.value  # a date stays the text that was written
        if tag not in SafeConstructor.yaml_constructors:
            return self.fault(where, path, f"got the tag {tag}, expected plain YAML")
        try:
            return self.constructor.construct_object(node, deep=True)
        except (ValueError, YAMLError) as error:
            return self.fault(where, path, f"got {node.value!r}: {error}")

    def fault(self, where: str, path: Path, message: str) -> None:
        self.document.faults.append(Fault(where, ".".join(map(str, path)), message))
