"""A diff as it may be kept: bounded, and without what looks like a secret.

Rather too much is hidden than too little: what is recorded of a study is read by all who see it, and goes
into its file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from worker.protocol.secrets import SECRETS
from worker.protocol.urls import HIDDEN, redact

MAX_DIFF = 64 << 10
"""Characters of a diff that are kept."""
_SHORTEST = 6
"""Characters of a value of the environment that is looked for: a shorter one is everywhere."""
_WORDS = (
    r"pass(?:word|wd|phrase|code)?|pwd|secret|token|credentials?|api[_-]?key|access[_-]?key"
    r"|account[_-]?key|private[_-]?key|auth(?:orization)?|bearer|dsn|sas|signature|cookie|webhook"
)
_NAME = re.compile(_WORDS, re.IGNORECASE)
_SECRET_FILES = re.compile(
    r"\.env(\..*)?|.*\.env|\.?(netrc|npmrc|pypirc|pgpass|htpasswd|dockercfg|git-credentials)|.*\.(pem|key|p12|"
    r"pfx|jks|kdbx|ppk|asc|gpg|crt)|id_(rsa|dsa|ecdsa|ed25519)(\..*)?|.*(secret|credential|password)s?\b.*",
    re.IGNORECASE,
)
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".docker", "secrets"})
_FORMATS = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bgh[pousr]_[0-9A-Za-z]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bhf_[0-9A-Za-z]{16,}|\bsk-[\w-]{16,}|\bxox[a-z]-[\w-]{10,}|\bAIza[\w-]{30,}|\bpypi-[\w-]{30,}"
    r"|\bey[JK][\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON web tokens
)
_ASSIGNED = re.compile(
    rf"""(?P<name>[\w.-]*(?:{_WORDS})[\w.-]*["']?\]?\s*(?::\s*[\w.\[\]]+\s*)?(?:=>|:=|==|[:=,])\s*)"""
    r"""(?P<value>[rbf]{0,2}"(?:[^"\\]|\\.)*"|[rbf]{0,2}'(?:[^'\\]|\\.)*'|[^\s"'#,;)\]}]+)""",
    re.IGNORECASE,
)
_OPTION = re.compile(rf"(--?[\w-]*(?:{_WORDS})[\w-]*\s+)(?!-)(\S+)", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_CODE = re.compile(
    r"(?:None|True|False|null|true|false|[\d._]+|[A-Za-z_][\w.]*[(\[].*|str|bytes|int|self\..*)\Z"
)
"""Unquoted values that are code or numbers, not secrets."""
_KEY_BEGINS, _KEY_ENDS = "-----BEGIN", "-----END"
_FILE = re.compile(r'diff --git "?a/(?P<path>.*?)"? "?b/')


@dataclass(frozen=True, kw_only=True)
class KeptDiff:
    """What is kept of a diff."""

    text: str
    hidden: int = 0
    """Lines and files of which something is hidden."""
    left_out: int = 0
    """Characters behind the end of what is kept."""

    def as_dict(self) -> dict[str, object]:
        """As JSON types."""
        return {"text": self.text, "hidden": self.hidden, "left_out": self.left_out}

    @classmethod
    def of(cls, data: Mapping[str, object]) -> KeptDiff:
        """Inverse of `as_dict`, bounded. Raises `TypeError` or `ValueError`."""
        hidden, left_out = (int(str(data.get(name, 0))) for name in ("hidden", "left_out"))
        return cls(text=str(data.get("text", ""))[:MAX_DIFF], hidden=hidden, left_out=left_out)


def kept_diff(diff: str, environment: Mapping[str, str] = os.environ) -> KeptDiff:
    """A diff of git's as it may be kept.

    Args:
        environment: what its variables with telling names hold is hidden wherever it stands.
    """
    known = known_secrets(environment)
    shown: list[str] = []
    hidden = 0
    for path, lines in _files(diff):
        if is_secret_file(path):
            shown += [lines[0], f"({HIDDEN}: such a file may hold secrets)"]
            hidden += 1
            continue
        in_key = False
        for line in lines:
            begins = _KEY_BEGINS in line and "KEY" in line
            masked = f"{line[:1]}{HIDDEN}" if in_key or begins else without_secrets(line, known)
            in_key = (in_key or begins) and _KEY_ENDS not in line
            hidden += masked != line
            shown.append(masked)
    text = "\n".join(shown)
    if len(text) > MAX_DIFF:
        end = text.rfind("\n", 0, MAX_DIFF)
        kept = text[: end if end > 0 else MAX_DIFF]
        return KeptDiff(text=kept, hidden=hidden, left_out=len(text) - len(kept))
    return KeptDiff(text=text, hidden=hidden)


def without_secrets(line: str, known: Iterable[str] = ()) -> str:
    """One line with ``***`` for what looks like a secret.

    Args:
        known: texts that are secrets for certain.
    """
    for value in known:
        line = line.replace(value, HIDDEN)
    line = _URL.sub(lambda found: redact(found[0]), line)
    line = _FORMATS.sub(HIDDEN, line)
    line = _BEARER.sub(rf"\1\2{HIDDEN}", line)
    line = _ASSIGNED.sub(_assigned, line)
    return _OPTION.sub(rf"\1{HIDDEN}", line)


def _assigned(found: re.Match[str]) -> str:
    value = found["value"]
    quoted = re.match(r"[rbf]{0,2}[\"']", value, re.IGNORECASE)
    is_number_of_tokens = _CODE.match(value) and not (
        value.replace(".", "").isdigit() and _is_password(found["name"])
    )
    if (quoted and len(value) <= quoted.end() + 1) or (not quoted and is_number_of_tokens):
        return found[0]
    return f"{found['name']}{value[0] if quoted else ''}{HIDDEN}{value[-1] if quoted else ''}"


def _is_password(name: str) -> bool:
    # Numbers of tokens are everywhere.
    return "token" not in name.lower()


def known_secrets(environment: Mapping[str, str]) -> list[str]:
    """Values of the environment's variables that hold secrets, by their names, the longest first."""
    found = set()
    for name, value in environment.items():
        if name.endswith("_FILE") and name.removesuffix("_FILE") in SECRETS:
            try:
                value = Path(value).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue
        elif name not in SECRETS and not _NAME.search(name):
            continue
        found.add(value)
        password = re.search(r"://[^/\s]*?:([^@\s]+)@", value)
        if password:
            found.add(password[1])
    return sorted(
        (value for value in found if len(value) >= _SHORTEST and "\n" not in value), key=len, reverse=True
    )


def is_secret_file(path: str) -> bool:
    """Whether a file often holds secrets, by its name."""
    parts = PurePosixPath(path).parts
    return bool(parts) and (
        bool(_SECRET_FILES.fullmatch(parts[-1]) and not parts[-1].endswith(".py"))
        or not _SECRET_FOLDERS.isdisjoint(parts[:-1])
    )


def _files(diff: str) -> Iterable[tuple[str, list[str]]]:
    """The parts of a diff: path of a file, its lines."""
    path = ""
    lines: list[str] = []
    for line in diff.splitlines():
        found = _FILE.match(line)
        if found:
            if lines:
                yield path, lines
            path, lines = found["path"], []
        lines.append(line)
    if lines:
        yield path, lines
