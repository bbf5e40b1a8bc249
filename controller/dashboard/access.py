"""Who may look and who may act: secrets, the cookies that stand for them, and the tokens of forms."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from enum import Enum

TOKEN_BYTES = 24
"""Of a token that nobody named: 192 bits."""


class Role(str, Enum):
    FULL = "full"
    """Sees everything, and acts where the server allows it."""
    READ = "read"
    """Only looks: for those whom the page is shared with."""

    @property
    def said(self) -> str:
        """The token that gives it, in words."""
        return "full token" if self is Role.FULL else "read-only token"


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a request may do."""

    role: Role
    csrf: str
    """What a request that changes something repeats in its header ``X-CSRF-Token``."""
    by: str
    """Who acts, by which token and from where, for the study's log."""
    user: str = ""
    """The user's name, where a proxy that is believed tells it."""

    @property
    def reads_only(self) -> bool:
        return self.role is Role.READ


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The secrets that open the page. A cookie is made from one, and can't be turned back into it."""

    full: str = field(repr=False)
    read: str = field(default="", repr=False)
    """Opens it to look only; empty for none."""

    @classmethod
    def random(cls) -> Tokens:
        """Tokens that nobody has named."""
        return cls(full=secrets.token_urlsafe(TOKEN_BYTES), read=secrets.token_urlsafe(TOKEN_BYTES))

    def role_of(self, token: str) -> Role | None:
        """The role that a token gives; None for a wrong one."""
        for role in Role:
            own = self._of(role)
            if own and hmac.compare_digest(own.encode(), token.encode()):
                return role
        return None

    def cookie(self, role: Role) -> str:
        """The value of the cookie that stands for a role."""
        return f"{role.value}.{self._made(role, 'cookie')}"

    def role_of_cookie(self, value: str) -> Role | None:
        """The role that a cookie stands for; None for one that these secrets didn't make."""
        for role in Role:
            if self._of(role) and hmac.compare_digest(self.cookie(role).encode(), value.encode()):
                return role
        return None

    def csrf(self, role: Role) -> str:
        """What only a page of ours can know of a role's session."""
        return self._made(role, "csrf")

    def _of(self, role: Role) -> str:
        return self.full if role is Role.FULL else self.read

    def _made(self, role: Role, use: str) -> str:
        return hmac.new(self._of(role).encode(), f"optuna-rq {use}".encode(), hashlib.sha256).hexdigest()
