"""The systemd units for one configuration on this machine: those of the package, with its paths filled in."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from canarysync.config import SYSTEM_CONFIG, Config, Route, SecretKind
from canarysync.errors import SetupError
from canarysync.folder import by_hand
from canarysync.mounts import Mount, mount_at

USER = "canarysync"
FOLDERS = {"system": Path("etc/systemd/system"), "sysusers": Path("etc/sysusers.d"), "tmpfiles": Path("etc/tmpfiles.d")}
"""Where systemd looks for what is made on a machine itself, below its root."""

_SHIPPED = Path(__file__).parent / "systemd"
_STATE_PARENT = Path("/var/lib")
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))
_INSTANCE = re.compile(r"[\w.:-]+", re.ASCII)
_DIRECTIVE = re.compile(r"([A-Za-z]+)=")


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A file to install: ``path`` is relative to the root."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Units:
    """What one configuration needs. ``start`` is the unit to be started, after root did these ``steps`` once."""

    files: tuple[UnitFile, ...]
    start: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """How canarysync is called, and the files that it needs for that."""

    words: tuple[str, ...]
    files: tuple[Path, ...]


def running_program() -> Program:
    """This very canarysync: its script, or the interpreter's module where it has none."""
    script = Path(sys.executable).with_name("canarysync")
    words = (str(script),) if script.is_file() else (sys.executable, "-m", "canarysync")
    return Program(words, (Path(words[0]), Path(sys.prefix), Path(os.path.realpath(sys.executable))))


def for_config(config: Config, program: Program, user: str, *, timer: bool) -> Units:
    """The units of a configuration. Its file's name says which: NAME.yaml is canarysync@NAME, canarysync.yaml is
    canarysync alone. Raises SetupError for a name that systemd would not take."""
    instance = "" if config.path.stem == SYSTEM_CONFIG.stem else f"@{_instance(config.path)}"
    source = "canarysync-once" if timer else "canarysync"
    values = _values(config, program, user, "run-once" if timer else "run")
    files = [
        UnitFile(FOLDERS["system"] / f"{source}{instance}.service", _filled(_shipped(f"{source}.service"), values))
    ]
    if timer:
        files.append(UnitFile(FOLDERS["system"] / f"{source}{instance}.timer", _shipped(f"{source}.timer")))
    files.append(UnitFile(FOLDERS["sysusers"] / "canarysync.conf", _sysusers(user)))
    files.append(UnitFile(FOLDERS["tmpfiles"] / f"canarysync{instance}.conf", _tmpfiles(config, user)))
    steps = _steps(config, user, files[0].path.name)
    return Units(tuple(files), files[1 if timer else 0].path.name, tuple(steps))


def as_service(config: Config, program: Program, user: str, *arguments: str) -> str:
    """The command by which root calls canarysync as the service does: with its user, its groups and its credential."""
    found, groups = _credential(config), _groups(config)
    given = [f"User={user}"]
    given += [f"SupplementaryGroups={' '.join(groups)}"] if groups else []
    given += [f"LoadCredential={':'.join(map(str, found))}"] if found else []
    properties = [word for each in given for word in ("-p", each)]
    return shlex.join(["sudo", "systemd-run", "--pipe", "--wait", *properties, *program.words, *arguments])


def quoted(word: str | Path, *, argument: bool = False) -> str:
    """One word of a value (systemd.syntax(7)): not split, no specifier in it; nor a variable, which only the arguments
    of a command may have."""
    text = str(word).replace("%", "%%")
    if argument:
        text = text.replace("$", "$$")
    if re.fullmatch(r"[\w@%+=:,./$-]+", text, re.ASCII):
        return text
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def _instance(path: Path) -> str:
    if not _INSTANCE.fullmatch(path.stem):
        hint = "name the file with letters, digits, dots, hyphens and underscores"
        raise SetupError("name a unit after", str(path), "systemd would not take such a name", hint)
    return path.stem


def _shipped(name: str) -> str:
    return (_SHIPPED / name).read_text(encoding="utf-8")


def _values(config: Config, program: Program, user: str, command: str) -> Mapping[str, str | None]:
    """What takes the place of the package's own value, by directive; None where the directive is not to be."""
    state = config.state.relative_to(_STATE_PARENT) if config.state.is_relative_to(_STATE_PARENT) else None
    first, *others = program.words
    arguments = [*others, command, "--config", str(config.path)]
    used = [*program.files, *_read(config), *writable(config)]
    handed = _credential(config)
    return {
        "User": user,
        "SupplementaryGroups": " ".join(map(quoted, _groups(config))),
        "ExecStart": " ".join([quoted(first), *(quoted(word, argument=True) for word in arguments)]),
        "LoadCredential": None if handed is None else f"{handed[0]}:{handed[1]}".replace("%", "%%"),
        "StateDirectory": None if state is None else quoted(state),
        "StateDirectoryMode": None if state is None else "0700",
        "ReadWritePaths": " ".join(map(quoted, writable(config))),
        "ProtectHome": "read-only" if _any_in(used, _HOMES) else "yes",
        "PrivateTmp": "no" if _any_in(used, _TEMPORARY) else "yes",
    }


def _filled(text: str, values: Mapping[str, str | None]) -> str:
    """``text`` with these values; a directive without one goes, and the comment above it."""
    kept: list[str] = []
    for line in text.splitlines():
        found = _DIRECTIVE.match(line)
        name = found[1] if found else ""
        if values.get(name, "") is None:
            while kept and kept[-1].startswith("#"):
                kept.pop()
        else:
            kept.append(f"{name}={values[name]}" if name in values else line)
    return "\n".join(kept) + "\n"


def _read(config: Config) -> Iterator[Path]:
    """The files that the service reads, besides its program and the system."""
    yield config.path
    secret = config.api.token or config.api.api_key
    if secret is not None and secret.kind is SecretKind.FILE:
        yield Path(secret.name)
    if config.api.ca_bundle is not None:
        yield config.api.ca_bundle


def _groups(config: Config) -> list[str]:
    return sorted({route.group for route in config.routes if route.group is not None})


def _credential(config: Config) -> tuple[str, Path] | None:
    """Its name and its file, if the configuration asks for one: beside it, and of its name if it has one."""
    secret = config.api.token or config.api.api_key
    if secret is None or secret.kind is not SecretKind.CREDENTIAL:
        return None
    prefix = "" if config.path.stem == SYSTEM_CONFIG.stem else f"{config.path.stem}."
    return secret.name, config.path.parent / (prefix + secret.name)


def writable(config: Config, mounted: Callable[[Path], Mount] = mount_at) -> list[Path]:
    """The folders that hold all that is written, none of them inside another."""
    found = {outer for route in config.routes for outer in _around(route, mounted)}
    if not config.state.is_relative_to(_STATE_PARENT):
        found.add(config.state)
    return sorted(path for path in found if not any(path != other and path.is_relative_to(other) for other in found))


def _around(route: Route, mounted: Callable[[Path], Mount]) -> Iterator[Path]:
    """The parent of a route's folder. Each path that a unit names becomes a mount of its own, and files cannot be
    renamed from one to another, so that it is one path where it can be."""
    folders = [Path(os.path.realpath(folder)) for folder in (route.drop, route.done, route.failed)]
    common = Path(os.path.commonpath(folders))
    for folder in [common] if common != Path("/") else folders:
        outer = _outside_share(folder, mounted(folder))
        yield folder if outer == Path("/") else outer


def _outside_share(folder: Path, mount: Mount) -> Path:
    """The parent; or the mount point of the share that this is inside: what is not there stops the start."""
    return min(folder.parent, Path(mount.point)) if mount.network else folder.parent


def _any_in(paths: Iterable[Path], places: Iterable[Path]) -> bool:
    return any(path.is_relative_to(place) for path in paths for place in places)


def _sysusers(user: str) -> str:
    return _shipped("sysusers.d/canarysync.conf").replace(f"u {USER} ", f"u {user} ")


def _tmpfiles(config: Config, user: str) -> str:
    text = _shipped("tmpfiles.d/canarysync.conf")
    text = text.replace(f"d {SYSTEM_CONFIG.parent} ", f"d {quoted(config.path.parent)} ")
    text = text.replace(f":{USER}\n", f":{group_of(user)}\n")
    before, *_ = text.partition("d /srv/canary ")
    lines = [f"d {quoted(path)} :0755 :root :root" for path in writable(config) if path != config.state]
    if not config.state.is_relative_to(_STATE_PARENT):
        lines += ["# The ledger.", f"d {quoted(config.state)} :0700 :{user} :{group_of(user)}"]
    return before + "\n".join(lines) + "\n"


def group_of(user: str) -> str:
    """The user's own group: one of the same name, if the user is still to be made."""
    try:
        return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:
        return user


def _steps(config: Config, user: str, unit: str) -> Iterator[str]:
    """The commands that make what is missing: folders, and the key."""
    for route in config.routes:
        if not all(folder.is_dir() for folder in (route.drop, route.done, route.failed)):
            yield by_hand(route, user, route.group or group_of(user))
    yield from _key_steps(config, user, unit)


def _key_steps(config: Config, user: str, unit: str) -> Iterator[str]:
    secret, handed = config.api.token or config.api.api_key, _credential(config)
    if handed is not None and not handed[1].exists():
        yield f"(umask 077; cat > {shlex.quote(str(handed[1]))})   # type the key, then ^D"
    elif secret is not None and secret.kind is SecretKind.FILE and not Path(secret.name).exists():
        file = shlex.quote(secret.name)
        yield f"(umask 027; cat > {file}) && chgrp {group_of(user)} {file}   # type the key, then ^D"
    elif secret is not None and secret.kind is SecretKind.ENV:
        yield f"systemctl edit {unit}   # [Service], EnvironmentFile=, in that file: {secret.name}=KEY"
