"""YAML text to a value, from libyaml's events, with a stack of our own.

libyaml's ``compose`` recurses: deep nesting crashes the interpreter. Events do not recurse, and reading stops
with the first that is too deep.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import yaml

from canarysync.model import JsonValue
from canarysync.parse import yaml_faults as faults
from canarysync.parse.core_schema import MAP, NON_SPECIFIC, SEQ, UNKNOWN_TAG, resolve
from canarysync.parse.outline import Node
from canarysync.parse.source import MAX_DEPTH, Fault, Faults, Findings, GaveUp, Lines, duplicate_key, too_deep
from canarysync.parse.yaml_source import grammar_fault, prepare, unreadable
from canarysync.parse.yaml_tree import Anchored, Built, Frame

# libyaml ends the name of an anchor or alias at any of ? : , ] } % @ ` and reads on behind it, where YAML 1.2.2 §6.9.2
# ends it at a blank or a bracket only. A tag may stand before an anchor.
_NAMED = re.compile(r"(?:!\S*+\s++)?[&*][0-9A-Za-z_-]++(?=[\s,\[\]{}]|\Z)")

MAX_ALIASED = 1_000_000
"""How much aliases may add to a document: the values they stand for, and the characters in those."""


def read(text: str) -> JsonValue | Faults:
    """The value of ``text``, or every problem that can be known."""
    reader = _YamlReader(text)
    reader.run()
    value = reader.root.value
    return reader.findings.faults() if reader.findings or isinstance(value, Fault) else value


def outline(text: str) -> Node:
    """Where each value in ``text`` begins. ``text`` has been read without a problem."""
    reader = _YamlReader(text)
    reader.run()
    return reader.root.node


class _YamlReader:
    """Reads one text once."""

    def __init__(self, text: str) -> None:
        self.findings = Findings(Lines(text))
        self.root = Built(None, Node(0))
        self._text = text
        self._prepared = prepare(text)
        self._documents = 0
        self._aliased = 0
        self._stack: list[Frame] = []
        self._anchors: dict[str, Anchored] = {}

    def run(self) -> None:
        """Fill ``findings`` and ``root``."""
        for offset, fault in unreadable(self._text):
            self.findings.add(offset, fault)
        if self.findings:
            return
        try:
            for event in yaml.parse(self._prepared.text, Loader=yaml.CSafeLoader):
                if handler := self._HANDLERS.get(type(event)):
                    handler(self, event)
        except yaml.MarkedYAMLError as error:
            self._grammar(error)
        except yaml.YAMLError:  # libyaml's reader: only for a text that left too few stand-ins (yaml_source)
            self.findings.add(0, grammar_fault(None, None, ""))
        except UnicodeDecodeError:  # a tag whose %-escapes are no UTF-8: libyaml lets them through
            self.findings.add(0, UNKNOWN_TAG)
        except GaveUp:
            pass

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            self._give_up(event, faults.SECOND_DOCUMENT)
        if event.version == (1, 1):
            self._report(event, faults.YAML_1_1)

    def _end(self, event: yaml.StreamEndEvent) -> None:
        if not self._documents:
            self.findings.add(0, faults.NO_DOCUMENT)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        plain = event.style in (None, "")
        if event.style not in ("'", '"') and (odd := self._prepared.odd_character(event.value)):
            self._report(event, odd)
        text = self._prepared.restore(event.value)
        value = resolve(text, event.tag, plain)
        if isinstance(value, Fault):
            self._report(event, value)
        elif plain and text == "<<" and event.tag is None and self._stack and self._stack[-1].awaits_key:
            self._report(event, faults.MERGE_KEY)
        built = Built(value, Node(_start(event)), weight=1 + len(text))
        if event.anchor:
            self._check_name(event)
            self._anchors[event.anchor] = built
        self._add(built)

    def _alias(self, event: yaml.AliasEvent) -> None:
        self._check_name(event)
        start = _start(event)
        target = self._anchors.get(event.anchor or "")
        if not isinstance(target, Built):
            self._report(event, faults.RECURSIVE_ALIAS if target else faults.UNDEFINED_ALIAS)
            self._add(Built(faults.UNDEFINED_ALIAS, Node(start)))
            return
        self._aliased += target.weight
        if self._aliased > MAX_ALIASED:
            self._give_up(event, faults.TOO_MUCH_ALIASED)
        if len(self._stack) + target.height > MAX_DEPTH:
            self._give_up(event, too_deep())
        self._add(Built(target.value, Node(start, target.node.members), target.weight, target.height))

    def _check_name(self, event: yaml.NodeEvent) -> None:
        if not _NAMED.match(self._text, _start(event)):
            self._report(event, faults.ODD_NAME)

    def _open_mapping(self, event: yaml.MappingStartEvent) -> None:
        self._open(event, {}, MAP)

    def _open_sequence(self, event: yaml.SequenceStartEvent) -> None:
        self._open(event, [], SEQ)

    def _open(self, event: yaml.CollectionStartEvent, value: JsonValue, own_tag: str) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._give_up(event, too_deep())
        if event.tag not in (None, NON_SPECIFIC, own_tag):
            self._report(event, UNKNOWN_TAG)
        frame = Frame(Built(value, Node(_start(event))), event.anchor)
        if event.anchor:
            self._check_name(event)
            self._anchors[event.anchor] = frame
        self._stack.append(frame)

    def _close(self, _event: yaml.CollectionEndEvent) -> None:
        frame = self._stack.pop()
        frame.built.height += 1
        # Unless an anchor of the same name was set within: then that one is the latest (YAML 1.2.2 §7.1).
        if frame.anchor and self._anchors[frame.anchor] is frame:
            self._anchors[frame.anchor] = frame.built
        self._add(frame.built)

    # By exact class: a chain of isinstance would be most of the time spent.
    _HANDLERS: ClassVar[dict[type, Callable[[_YamlReader, Any], None]]] = {
        yaml.ScalarEvent: _scalar,
        yaml.AliasEvent: _alias,
        yaml.MappingStartEvent: _open_mapping,
        yaml.SequenceStartEvent: _open_sequence,
        yaml.MappingEndEvent: _close,
        yaml.SequenceEndEvent: _close,
        yaml.DocumentStartEvent: _document,
        yaml.StreamEndEvent: _end,
    }

    def _add(self, built: Built) -> None:
        """Give a complete value to what it stands in."""
        if not self._stack:
            self.root = built
            return
        frame = self._stack[-1]
        if not frame.awaits_key:
            frame.add(built)
            return
        start = built.node.start
        if start and self._text[start - 1] == "?":  # begins a text (YAML 1.2.2 §7.3.3), to libyaml a key
            self.findings.add(start - 1, faults.QUESTION_MARK, self._path())
        if isinstance(built.value, str):
            if earlier := frame.built.node.members.get(built.value):
                first = self.findings.lines.position(earlier.key_start or 0)
                self.findings.add(start, duplicate_key(first), (*self._path(), built.value))
        elif not isinstance(built.value, Fault):
            self.findings.add(start, faults.key_is_no_string(built.value), self._path())
        frame.set_key(built)

    def _path(self) -> tuple[str | int, ...]:
        """Where the next value stands; for a key, the object that it is in."""
        return tuple(step for frame in self._stack if (step := frame.step) is not None)

    def _grammar(self, error: yaml.MarkedYAMLError) -> None:
        fault_at_start = error.problem in faults.TOLD_WHERE_IT_BEGAN and error.context_mark is not None
        mark = error.context_mark if fault_at_start else error.problem_mark or error.context_mark
        offset = min(mark.index, len(self._text)) if mark else 0
        here = self._text[offset : offset + 1]
        self.findings.add(offset, grammar_fault(error.problem, error.context, here), self._path())

    def _report(self, event: yaml.Event, fault: Fault) -> None:
        self.findings.add(_start(event), fault, self._path())

    def _give_up(self, event: yaml.Event, fault: Fault) -> NoReturn:
        self._report(event, fault)
        raise GaveUp


def _start(event: yaml.Event) -> int:
    """The offset where an event begins (libyaml marks them all)."""
    return event.start_mark.index if event.start_mark else 0
