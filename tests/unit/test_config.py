"""The configuration: what loads, and everything that is said of one that does not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.config import (
    SYSTEM_CONFIG,
    Api,
    Config,
    DoubtPolicy,
    Log,
    Metrics,
    Route,
    SecretKind,
    SecretRef,
    find,
    from_document,
    load,
)
from canarysync.errors import ConfigError
from canarysync.model import Document, Problem, Syntax
from canarysync.parse import parse
from canarysync.retry import RetryPolicy
from canarysync.schema import SchemaName
from canarysync.schema import load as load_schema

AT = Path("/etc/canarysync/canarysync.yaml")
API = "api: {region: eus, api_key: {file: api-key}}\n"
ROUTES = "routes: [{folder: /srv/a}]\n"
MINIMAL = API + ROUTES


def read(text: str) -> Config:
    document = parse(text.encode(), Syntax.YAML)
    assert isinstance(document, Document), document
    return from_document(document, AT)


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.path == str(AT)
    return caught.value.problems


def told(text: str) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.message) for problem in problems_of(text)]


def routes(*listed: str) -> str:
    return API + "routes:\n" + "".join(f"  - {{{route}}}\n" for route in listed)


def test_the_shortest_configuration_has_the_defaults_of_the_schema() -> None:
    assert read(MINIMAL) == Config(
        path=AT,
        api=Api(
            url="https://rest.eus.canaryspeech.com",
            api_key=SecretRef(SecretKind.FILE, "/etc/canarysync/api-key"),
            token=None,
            ca_bundle=None,
            connect_timeout_s=5.0,
            read_timeout_s=30.0,
            read_back_wait_s=60.0,
            concurrency=None,
            rate_per_s=None,
            proxy=None,
        ),
        routes=(
            Route(
                name="a",
                drop=Path("/srv/a/drop"),
                done=Path("/srv/a/done"),
                failed=Path("/srv/a/failed"),
                match=("*.json", "*.yaml", "*.yml"),
                settle_s=2.0,
                rescan_s=60.0,
                max_size_bytes=1024**2,
                retry=RetryPolicy(1.0, 300.0, None),
                in_doubt=DoubtPolicy.HOLD,
                group=None,
            ),
        ),
        state=Path("/var/lib/canarysync"),
        log=Log("info", "text"),
        metrics=Metrics(None),
    )


ANOTHER: dict[str, object] = {
    # a value for every key of the schema that is not its default
    "api.region": "ne",
    "api.url": "https://api.example/base/",
    "api.api_key": {"env": "KEY"},
    "api.token": {"credential": "token"},
    "api.ca_bundle": "ca.pem",
    "api.proxy": "http://proxy.example:3128",
    "api.concurrency": 128,
    "api.rate_limit": "600/min",
    "api.timeout.connect": "100ms",
    "api.timeout.read": "10m",
    "api.read_back.wait": "1d",
    "routes[].folder": "elsewhere",
    "routes[].name": "other",
    "routes[].drop": "/in",
    "routes[].done": "/out/%Y-%m-%d",
    "routes[].failed": "/bad",
    "routes[].match": ["x.JSON"],
    "routes[].settle": "1h",
    "routes[].rescan": "1s",
    "routes[].max_size": 2048,
    "routes[].retry.first": "3s",
    "routes[].retry.most": "1d",
    "routes[].retry.give_up_after": "30d",
    "routes[].in_doubt": "resend",
    "routes[].keep.done": "30d",
    "routes[].keep.failed": "90d",
    "routes[].group": "lab",
    "state": "state",
    "log.level": "debug",
    "log.format": "json",
    "metrics.listen": "[::1]:0",
}


def leaves(part: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, child in part["properties"].items():
        below = child if "properties" in child else child.get("items", {})
        name = prefix + key + ("[]" if below is not child else "")
        yield from leaves(below, f"{name}.") if "properties" in below else [prefix + key]


def with_key(name: str, value: object) -> dict[str, Any]:
    """The shortest configuration, with one key more (or another)."""
    config: dict[str, Any] = {
        "api": {"region": "eus", "api_key": {"file": "api-key"}},
        "routes": [{"folder": "/srv/a"}],
    }
    if name == "api.url":
        del config["api"]["region"]
    if name == "api.token":
        del config["api"]["api_key"]
    *parents, last = name.replace("[]", "").split(".")
    at: Any = config
    for step in parents:
        at = at.setdefault(step, {})
        at = at[0] if isinstance(at, list) else at
    at[last] = value
    return config


def changed_fields(name: str) -> set[str]:
    """The fields of the configuration that the key called ``name`` has a say in."""
    plain, other = read(MINIMAL), read(json.dumps(with_key(name, ANOTHER[name])))
    changed = {field for field in ("path", "state") if getattr(other, field) != getattr(plain, field)}
    for part in ("api", "log", "metrics", "routes"):
        now, was = getattr(other, part), getattr(plain, part)
        now, was = (now[0], was[0]) if part == "routes" else (now, was)
        changed |= {f"{part}.{f.name}" for f in fields(now) if getattr(now, f.name) != getattr(was, f.name)}
    return changed


@pytest.mark.parametrize("name", list(leaves(load_schema(SchemaName.CONFIG))))
def test_every_key_of_the_schema_is_read(name: str) -> None:
    assert changed_fields(name)


def test_every_field_of_the_configuration_comes_from_a_key() -> None:
    parts = {"api": Api, "log": Log, "metrics": Metrics, "routes": Route}
    known = {f"{part}.{field.name}" for part, kind in parts.items() for field in fields(kind)}
    assert set().union(*map(changed_fields, ANOTHER)) == known | {"state"}
    assert {field.name for field in fields(Config)} == {*parts, "state", "path"}


def test_relative_paths_are_relative_to_the_file() -> None:
    config = read("api: {region: jpe, token: {file: t}, ca_bundle: ../ca}\nroutes: [{folder: x, done: /d}]\nstate: s\n")
    assert config.api.token == SecretRef(SecretKind.FILE, "/etc/canarysync/t")
    assert config.api.ca_bundle == Path("/etc/canarysync/../ca")
    assert config.routes[0].drop == Path("/etc/canarysync/x/drop")
    assert config.routes[0].done == Path("/d")
    assert config.state == Path("/etc/canarysync/s")


@pytest.mark.parametrize(
    ("keys", "done", "dated"),
    [
        ("folder: x, done: done/%Y-%m-%d", "/etc/canarysync/done", "%Y-%m-%d"),
        ("folder: /x, done: /x/done/%Y/%m", "/x/done", "%Y/%m"),
        ("folder: /x, done: /x/100%%", "/x/100%", ""),
        ("folder: /x/%Y%, name: x", "/x/%Y%/done", ""),
    ],
)
def test_done_may_have_dates(keys: str, done: str, dated: str) -> None:
    [route] = read(routes(keys)).routes
    assert (route.done, route.dated) == (Path(done), dated)


@pytest.mark.parametrize(
    ("keys", "clash"),
    [
        (["folder: /a, done: /a/%Y"], "`routes[0].drop` lies inside `routes[0].done`."),
        (["folder: /a, done: /a/drop/%Y"], "`routes[0].done` is the same folder as `routes[0].drop`."),
        (
            ["folder: /a, done: /d/a-%Y", "folder: /b, done: /d/b-%Y"],
            "`routes[1].done` is the same folder as `routes[0].done`.",
        ),
    ],
)
def test_folders_lie_apart_whatever_the_date(keys: list[str], clash: str) -> None:
    assert clash in [problem.message for problem in problems_of(routes(*keys))]


@pytest.mark.parametrize("region", ["eus", "ne", "jpe"])
def test_a_region_is_a_host(region: str) -> None:
    config = read(f"api: {{region: {region}, token: {{env: T}}}}\n{ROUTES}")
    assert config.api.url == f"https://rest.{region}.canaryspeech.com"


def test_all_problems_are_told_at_once_with_their_lines() -> None:
    text = """\
api:
  regoin: eus
  api_key: {file: key}
  concurrency: 500
  timeout: {connect: 5, read: 0s}
routes:
  - folder: ~/x
    settle: 2 s
    rescan: never
  - folder: /b c
    retry: {first: 10m}
  - folder: /d
  - {folder: /d/drop, name: d}
log: {level: warn, colour: true}
stat: /x
"""
    assert told(text) == [
        (2, "`regoin` is not a known key."),
        (4, "`api.concurrency` must be at most 128."),
        (5, "`api.timeout.connect` must be a string, but is a number."),
        (5, "`api.timeout.read` must be at least 100ms."),
        (7, "`routes[0].folder` is not a path."),
        (8, "`routes[0].settle` is not a duration."),
        (9, "`routes[0].rescan` is not a duration."),
        (10, "The name of `routes[1].folder` cannot be the name of the route."),
        (11, "In `routes[1].retry`, `first` is longer than `most`."),
        (13, "`routes[3].drop` lies inside `routes[2].drop`."),
        (13, "`routes[3]` has the same name as `routes[2]`."),
        (14, "`log.level` must be one of `debug`, `info`, `warning` or `error`."),
        (14, "`colour` is not a known key."),
        (15, "`stat` is not a known key."),
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (MINIMAL.replace("region", "regoin"), "Did you mean `region`?"),
        (MINIMAL.replace("region: eus", "region: EUS"), "Did you mean `eus`?"),
        (MINIMAL.replace("api_key", "apiKey"), "Did you mean `api_key`?"),
        (MINIMAL + "log: {level: warn}", "Did you mean `warning`?"),
        (MINIMAL + "Log: {}", "Did you mean `log`?"),
        (MINIMAL + "state: ~/state", "~ is not expanded here: write the absolute path."),
        (routes("folder: /a, settle: 5"), "Add the unit, as in 30s."),
        (routes("folder: /a, name: 7"), "Put it in quotes."),
        (routes("folder: /a, match: ['*.csv']"), "end the pattern with .json, .yaml or .yml."),
        (routes("folder: /a, match: ['x/*.json']"), "subfolders are not watched."),
        (f"api: {{url: 'http://h', token: {{env: T}}}}\n{ROUTES}", "plain http is for loopback only."),
        (routes("folder: /a, done: /a/done/%F"), "Only %Y, %m, %d, %H are known, and %% for a percent sign."),
        (routes("folder: /a, done: /a/100%/done"), "Only %Y, %m, %d, %H are known, and %% for a percent sign."),
        (routes("folder: /a, done: /a/done/%Y/../%m"), "From the first date on, no part of it starts with a point."),
        (routes("folder: /a, done: /a/done/%Y/.%m"), "From the first date on, no part of it starts with a point."),
        (routes("folder: /a, failed: /a/failed/%Y"), "Name one folder."),
        (routes("folder: /a, drop: /b/%d"), "Name one folder."),
    ],
)
def test_hints(text: str, hint: str) -> None:
    (problem,) = problems_of(text)
    assert problem.hint.endswith(hint)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rescan", "never"),
        ("rescan", "0s"),
        ("rescan", "999ms"),
        ("rescan", "61m"),
        ("settle", "0s"),
        ("settle", "99ms"),
        ("settle", "never"),
        ("max_size", "17MiB"),
        ("max_size", "0"),
        ("max_size", "16777217"),
        ("max_size", "1023"),
        ("max_size", "1.5"),
        ("max_size", "1GiB"),
        ("match", "[]"),
        ("match", "'*.json'"),
        ("name", "''"),
        ("name", "a/b"),
        ("in_doubt", "true"),
        ("retry", "{first: 0s}"),
        ("retry", "{give_up_after: 0s}"),
        ("retry", "{first: 301s}"),
        ("retry", "{most: 500ms}"),
        ("retry", "never"),
        ("keep", "{done: 30}"),
        ("keep", "{done: 1s}"),
        ("settle", "null"),
    ],
)
def test_a_route_refuses(key: str, value: str) -> None:
    (problem,) = problems_of(routes(f"folder: /srv/a, {key}: {value}"))
    assert problem.path.startswith(f"/routes/0/{key}")
    assert problem.line == 3


@pytest.mark.parametrize(
    ("api", "message"),
    [
        ("{}", "`api` needs `region` or `url`."),
        ("{region: eus}", "`api` needs `api_key` or `token`."),
        ("{token: {env: T}}", "`api` needs `region` or `url`."),
        ("{region: eus, url: 'https://h', token: {env: T}}", "`api` has both `region` and `url`."),
        ("{region: eus, token: {env: T}, api_key: {env: K}}", "`api` has both `api_key` and `token`."),
        ("{region: eus, token: {}}", "`api.token` must have exactly one of `file`, `env` or `credential`."),
        (
            "{region: eus, token: {env: A, file: b}}",
            "`api.token` must have exactly one of `file`, `env` or `credential`.",
        ),
        ("{region: eus, token: {env: T}, concurrency: 0}", "`api.concurrency` must be at least 1."),
        ("{region: eus, token: {env: T}, concurrency: 129}", "`api.concurrency` must be at most 128."),
        (
            "{region: eus, token: {env: T}, concurrency: 1.5}",
            "`api.concurrency` must be a whole number or a string, but is a number.",
        ),
        ("{region: eus, token: {env: T}, concurrency: many}", "`api.concurrency` is not auto or a whole number."),
        ("{region: eus, token: {env: T}, rate_limit: 0/s}", "`api.rate_limit` is not a rate."),
        (
            "{region: eus, token: {env: T}, rate_limit: 50}",
            "`api.rate_limit` must be a string, but is a number.",
        ),
        ("null", "`api` must be an object, but is null."),
    ],
)
def test_the_api_refuses(api: str, message: str) -> None:
    assert (1, message) in told(f"api: {api}\n{ROUTES}")


def test_what_must_be_there() -> None:
    assert told("log: {}") == [(1, "The document needs `api`."), (1, "The document needs `routes`.")]
    assert told(API + "routes: []") == [(2, "`routes` is an empty list.")]
    assert told("[]") == [(1, "The document must be an object, but is an array.")]


SECRET = "1A2B3C:c2VjcmV0LXNlY3JldA=="
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2VjcmV0"


@pytest.mark.parametrize("secret", [SECRET, JWT])
@pytest.mark.parametrize(
    "shape", ["{}", "{{file: '{}'}}", "{{env: '{}'}}", "{{credential: '{}'}}", "['{}']", "{{'{}': null}}"]
)
@pytest.mark.parametrize("key", ["api_key", "token"])
def test_a_secret_in_its_place_is_refused_and_never_shown(key: str, shape: str, secret: str) -> None:
    problems = problems_of(f"api:\n  region: eus\n  {key}: {shape.format(secret)}\n{ROUTES}")
    assert problems[0].line == 3
    assert secret not in repr(problems)
    assert "secret" in problems[0].hint


@pytest.mark.parametrize("key", ["url", "proxy"])
def test_a_password_in_an_address_is_refused_and_never_shown(key: str) -> None:
    problems = problems_of(f"api: {{token: {{env: T}}, {key}: 'https://user:hunter2@host'}}\n{ROUTES}")
    assert "hunter2" not in repr(problems)
    assert any("password" in problem.hint for problem in problems)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("folder: /a", "folder: /a, name: b", "`routes[1].drop` is the same folder as `routes[0].drop`."),
        (
            "folder: /a",
            "folder: //a/./x/.., name: b",
            "`routes[1].drop` is the same folder as `routes[0].drop`.",
        ),
        (
            "folder: a",
            "folder: /etc/canarysync/a, name: b",
            "`routes[1].drop` is the same folder as `routes[0].drop`.",
        ),
        (
            "folder: /a",
            "folder: /b, done: /a/done",
            "`routes[1].done` is the same folder as `routes[0].done`.",
        ),
        ("folder: /a", "folder: /b, failed: /a/drop/x", "`routes[1].failed` lies inside `routes[0].drop`."),
        ("folder: /a", "folder: /b, drop: /a/done/x", "`routes[1].drop` lies inside `routes[0].done`."),
        ("folder: /a", "folder: /a/failed/b", "`routes[1].drop` lies inside `routes[0].failed`."),
        ("folder: /a", "folder: /b, drop: /a", "`routes[0].drop` lies inside `routes[1].drop`."),
        ("folder: /a", "folder: /b, done: /", "`routes[0].drop` lies inside `routes[1].done`."),
        (
            "folder: /x",
            "folder: /b, done: /b/drop",
            "`routes[1].done` is the same folder as `routes[1].drop`.",
        ),
        ("folder: /x", "folder: /b, done: /b/drop/d", "`routes[1].done` lies inside `routes[1].drop`."),
        ("folder: /x", "folder: /b, drop: /b/failed/d", "`routes[1].drop` lies inside `routes[1].failed`."),
        (
            "folder: /x",
            "folder: /b, done: /o, failed: /o",
            "`routes[1].failed` is the same folder as `routes[1].done`.",
        ),
    ],
)
def test_folders_that_overlap(first: str, second: str, message: str) -> None:
    assert message in [problem.message for problem in problems_of(routes(first, second))]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("folder: /a", "folder: /b"),
        ("folder: /a", "folder: /a/b"),
        ("folder: /a", "folder: /aa"),
        ("folder: /a", "folder: /a/drop2"),
        ("folder: /a", "name: b, drop: /b, done: /c, failed: /d"),
    ],
)
def test_folders_that_lie_apart(first: str, second: str) -> None:
    assert len(read(routes(first, second)).routes) == 2


def test_a_folder_that_is_told_twice_is_one_problem() -> None:
    assert told(routes("folder: /a", "folder: /a, name: b")) == [
        (4, "`routes[1].drop` is the same folder as `routes[0].drop`.")
    ]


@pytest.mark.parametrize("state", ["/srv/a/drop", "/srv/a/drop/state", "/srv/a/done/x", "/srv/x/../a/failed"])
def test_the_state_lies_in_no_route(state: str) -> None:
    (problem,) = problems_of(f"{MINIMAL}state: {state}")
    assert (problem.path, problem.line) == ("/state", 3)


@pytest.mark.parametrize("state", ["/srv/a/state", "/srv", "/srv/a/drop-state"])
def test_the_state_may_lie_beside_them(state: str) -> None:
    assert read(f"{MINIMAL}state: {state}").state == Path(state)


def test_a_route_without_a_folder_names_all_three_and_itself() -> None:
    assert told(routes("drop: /a, done: /b, name: x")) == [
        (3, "`routes[0]` needs `folder`, or `drop`, `done` and `failed`.")
    ]
    assert told(routes("drop: /a, done: /b, failed: /c")) == [
        (3, "`routes[0]` needs `name`, having no `folder` to take it from.")
    ]


def test_the_configuration_is_read_as_strictly_as_a_score(tmp_path: Path) -> None:
    path = tmp_path / "canarysync.yaml"
    path.write_text(MINIMAL + "state: /a\nstate: /b\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [problem.line for problem in caught.value.problems] == [4]


def test_load_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "canarysync.yaml"
    path.write_text(API + "routes: [{folder: clinic}]", encoding="utf-8")
    config = load(path)
    assert config.path == path
    assert config.routes[0].drop == tmp_path / "clinic" / "drop"


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"#" * 300_000])
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "canarysync.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.path == str(path)
    assert caught.value.problems


def test_find_takes_the_first_of_four_places(tmp_path: Path) -> None:
    here = tmp_path / "canarysync.yaml"
    here.write_text("", encoding="utf-8")
    env = {"CANARYSYNC_CONFIG": "/elsewhere.yaml"}
    assert find(Path("given.yaml"), env, tmp_path) == Path("given.yaml")
    assert find(None, env, tmp_path) == Path("/elsewhere.yaml")
    assert find(None, {"CANARYSYNC_CONFIG": ""}, tmp_path) == here


def test_find_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find(None, {}, tmp_path)
    (problem,) = caught.value.problems
    assert str(tmp_path / "canarysync.yaml") in problem.message
    assert str(SYSTEM_CONFIG) in problem.message
    assert "canarysync init" in caught.value.hint


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 10**20),
    st.sampled_from(
        ["eus", "/a", "a", "..", "", "2s", "9999d", "never", "*.json", "https://h", "https://[", "~", "1MiB"]
    ),
    st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=8),
)
KEYS = sorted({name.rpartition(".")[2] for name in ANOTHER} | {"file", "env", "timeout", "retry", "read_back", "x"})
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS), below, max_size=6),
)
ROUTE = st.dictionaries(st.sampled_from(["folder", "name", "drop", "done", "failed", "retry"]), VALUES, max_size=5)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={"api": VALUES, "routes": VALUES | st.lists(ROUTE), "state": VALUES, "log": VALUES, "x": VALUES},
)


def outcome(value: object) -> Config | ConfigError:
    try:
        return read(json.dumps(value, ensure_ascii=False))
    except ConfigError as error:
        return error


@given(CONFIGS)
def test_every_document_loads_or_raises_a_config_error(value: dict[str, Any]) -> None:
    result = outcome(value)
    if isinstance(result, ConfigError):
        assert result.problems
        assert all(problem.line and problem.message.endswith(".") for problem in result.problems)


@given(st.sampled_from(list(ANOTHER)), VALUES)
def test_any_value_of_any_key_loads_or_raises_a_config_error(name: str, value: object) -> None:
    result = outcome(with_key(name, value))
    assert isinstance(result, Config) or result.problems
