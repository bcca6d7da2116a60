"""The starter configuration loads as it is written, and the reference tells every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.config import Config, SecretKind, SecretRef, from_document
from canarysync.model import Document, Syntax
from canarysync.parse import parse
from canarysync.starter import reference, starter_config

VALUES: dict[str, Any] = {
    "api.region": "eus",
    "api.api_key": {"file": "/etc/canarysync/api-key"},
    "routes[].folder": "/srv/canary/clinic-a",
    "state": "/var/lib/canarysync",
}


def read(text: str) -> Config:
    document = parse(text.encode(), Syntax.YAML)
    assert isinstance(document, Document), document
    return from_document(document, Path("/etc/canarysync/canarysync.yaml"))


def test_the_starter_loads_with_the_values_given() -> None:
    config = read(starter_config(VALUES))
    assert config.api.url == "https://rest.eus.canaryspeech.com"
    assert config.api.api_key == SecretRef(SecretKind.FILE, "/etc/canarysync/api-key")
    assert config.routes[0].drop == Path("/srv/canary/clinic-a/drop")
    assert config.state == Path("/var/lib/canarysync")


def test_what_is_commented_out_are_the_defaults() -> None:
    api = "api: {region: eus, api_key: {file: /etc/canarysync/api-key}}\n"
    assert read(starter_config(VALUES)) == read(api + "routes: [{folder: /srv/canary/clinic-a}]")


@pytest.mark.parametrize(
    "key",
    [
        "concurrency",
        "timeout",
        "read_back",
        "ca_bundle",
        "proxy",
        "name",
        "match",
        "max_size",
        "retry",
        "group",
        "log",
    ],
)
def test_what_is_commented_out_loads_when_the_sign_is_taken_away(key: str) -> None:
    text = starter_config(VALUES)
    block = re.search(rf"^( *)# {key}:.*\n(?:\1#   .*\n)*", text, re.MULTILINE)
    assert block, key
    uncommented = re.sub(rf"^{block[1]}# ", block[1], block[0], flags=re.MULTILINE)
    assert read(text.replace(block[0], uncommented))


def test_every_key_and_no_other_is_in_the_starter() -> None:
    keys = set(re.findall(r"^[ #-]*(\w+):(?: |$)", starter_config(VALUES), re.MULTILINE))
    named = {
        step.removesuffix("[]")
        for name in re.findall(r"^\| `([^`]+)`", reference(), re.MULTILINE)
        for step in name.split(".")
    }
    assert named <= keys


def test_comments_are_wrapped_and_lines_end_clean() -> None:
    lines = starter_config(VALUES).split("\n")
    assert [line for line in lines if line.lstrip().startswith("#") and len(line) > 88] == []
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\n\n\n" not in "\n".join(lines)


def test_another_way_to_the_api() -> None:
    values = {
        "api.url": "http://127.0.0.1:8080",
        "api.token": {"env": "T"},
        "routes[].folder": "f",
        "log.level": "debug",
    }
    config = read(starter_config({**values, "routes[].retry.first": "2s", "routes[].match": ["a*.json"]}))
    assert config.api.url == "http://127.0.0.1:8080"
    assert config.api.token == SecretRef(SecretKind.ENV, "T")
    assert config.log.level == "debug"
    assert config.routes[0].retry.first_s == 2.0
    assert config.routes[0].match == ("a*.json",)


def test_a_name_that_the_schema_does_not_have_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError, match="regoin"):
        starter_config({"api.regoin": "eus"})


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20))
def test_any_folder_is_written_so_that_it_is_read_back(name: str) -> None:
    config = read(starter_config({**VALUES, "routes[].folder": "/" + name, "routes[].name": "x", "state": "/"}))
    assert config.routes[0].drop == Path("/" + name) / "drop"


def test_the_reference_names_every_leaf_once_with_its_default() -> None:
    rows = reference().splitlines()[2:]
    names = [row.split("`")[1] for row in rows]
    assert len(names) == len(set(names)) > 20
    assert "| `api.timeout.connect` | `5s` | How long a connection may take |" in rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)
