"""The nodes of one YAML document, by PyYAML, and what is wrong with it in words of ours.

PyYAML reads up to its nodes; what a scalar means is decided by `scalars` and not by PyYAML's own resolver, so a node
only remembers whether it stood in quotes or had a tag.
"""

import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.nodes import Node, ScalarNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

MAX_DEPTH = 64
PLAIN, QUOTED = "plain", "quoted"
"""The tags of scalars that were written without one."""
MERGE = "tag:yaml.org,2002:merge"

_SENTENCES: tuple[tuple[str, str], ...] = (
    (r"found character '\\t'.*", "a tab stands where YAML wants spaces"),
    (r"found character '(.)' that cannot start any token", r"a value that starts with \1 must stand in quotes"),
    (r"mapping values are not allowed here", "a second ':' on one line, or an indentation that does not fit"),
    (r"sequence entries are not allowed here", "a list item '-' cannot stand here: give it a line of its own"),
    (r"expected <block end>.*", "the indentation does not fit the lines above"),
    (r"expected '<document start>'.*", "something follows the end of the document: begin a new one with ---"),
    (r"could not find expected ':'", "a name without ':' after it"),
    (r"found unexpected end of stream", "a quote or bracket is not closed"),
    (r"expected the node content, but found '<stream end>'", "a quote or bracket is not closed"),
    (r"found undefined alias '(.*)'", r"the alias *\1 has no anchor &\1 above it"),
    (r"expected ',' or '(.)', but got.*", r"a ',' or the closing \1 is missing"),
)
_SIGNS = {"while scanning an alias": "*", "while scanning an anchor": "&"}
"""What PyYAML takes for the sign of a name, where nothing that can be a name follows."""
_UNFINISHED = ("found unexpected end of stream", "could not find expected ':'")


class MalformedError(Exception):
    """This is not YAML, or not what we take of it. `line` counts from 1 inside the document."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def compose(text: str) -> Node | None:
    """The root node of one document, None if there is nothing in it. Raises MalformedError."""
    composer: _Composer | None = None
    try:
        composer = _Composer(text)
        return composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        # What began and did not end is worth more than where the file ended.
        mark = error.context_mark if error.problem in _UNFINISHED else error.problem_mark
        last = text.rstrip().count("\n") + 1
        raise MalformedError(min(mark.line + 1, last) if mark else 1, _sentence(error)) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise MalformedError(line, f"the character U+{error.character:04X} is not allowed in YAML") from error
    except (ValueError, OverflowError) as error:  # PyYAML lets int() and chr() of its scanner through
        line = composer.line + 1 if composer is not None else 1
        raise MalformedError(line, "a number in an escape or behind %YAML is too large") from error


class _Composer(Reader, Scanner, Parser, Composer):
    """PyYAML up to its nodes. What a scalar means is decided here and not by PyYAML's own resolver."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML has no types for it
        if self._depth == MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels deep", problem_mark=event.start_mark)
        if not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(event.anchor, None)  # an anchor may be set anew, its last place counts
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: dict[Any, Node]) -> ScalarNode:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML has no types for it
        node = super().compose_scalar_node(anchor)
        if event.tag == "!":
            node.tag = QUOTED
        return node

    def resolve(self, kind: type[Node], value: str | None, implicit: Any) -> str:
        """The tag of a node that has none: for a scalar whether it stood in quotes."""
        if kind is not ScalarNode:
            return ""
        return PLAIN if implicit[0] else QUOTED

    def descend_resolver(self, current_node: Node | None, current_index: int) -> None:
        """Nothing is resolved by place."""

    def ascend_resolver(self) -> None:
        """Nothing is resolved by place."""


def _sentence(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    sign = _SIGNS.get(error.context or "")
    if sign is not None and problem.startswith("expected alphabetic"):
        return f'{sign} must stand in quotes: "{sign}"'
    for pattern, sentence in _SENTENCES:
        match = re.fullmatch(pattern, problem)
        if match is not None:
            return match.expand(sentence)
    return problem or "this is not YAML"
