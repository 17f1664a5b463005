"""Who is looking at the page: the owner under whom everything is stored and listed.

Streamlit's own login counts first, then a header that a trusted reverse proxy sets; without either,
this machine has one user. Where identities are set up and none comes, nobody is let in: falling
back would show one user's patients to another.
"""

from __future__ import annotations

import os

import streamlit as st

from xpert_core.errors import XPertError
from xpert_core.store.models import LOCAL_OWNER

#: Environment variable with the name of the header that a trusted reverse proxy sets.
HEADER_VARIABLE = "XPERT_USER_HEADER"
#: Environment variable with the claim of the login that names the user.
CLAIM_VARIABLE = "XPERT_USER_CLAIM"
DEFAULT_CLAIM = "email"
MAX_LENGTH = 200


class SignInError(XPertError):
    """Identities are set up, and none that can be used came with this visit."""


def login_configured() -> bool:
    """Whether Streamlit's login is set up."""
    if "is_logged_in" in st.user:
        return True
    # Outside a page st.user knows nothing; the settings still say that a login is needed.
    return bool(st.secrets.load_if_toml_exists()) and "auth" in st.secrets


def identities_configured() -> bool:
    """Whether this server tells its users apart."""
    return bool(os.environ.get(HEADER_VARIABLE)) or login_configured()


def current_owner() -> str:
    """Owner of what this session stores.

    Raises
    ------
    SignInError
        Identities are set up, and none came.
    """
    if login_configured():
        return _from_login()
    header = os.environ.get(HEADER_VARIABLE, "")
    return _from_header(header) if header else LOCAL_OWNER


def _from_login() -> str:
    if not st.user.get("is_logged_in"):
        raise SignInError("You are not signed in.", fix="Sign in with the button below.")
    claim = os.environ.get(CLAIM_VARIABLE) or DEFAULT_CLAIM
    value = st.user.get(claim)
    if claim == "email" and st.user.get("email_verified") is False:
        raise SignInError(
            "Your sign-in service has not verified your email address.",
            fix="Verify it there, then sign in again.",
        )
    return _checked(value.casefold() if claim == "email" and isinstance(value, str) else value)


def _from_header(header: str) -> str:
    values = set(st.context.headers.get_all(header))
    if len(values) > 1:
        # A second value may be a visitor's own, sent past the proxy's.
        raise SignInError(
            "Your visit names several users.",
            where=f"header {header}",
            fix="The reverse proxy must replace this header. Tell the person who runs this server.",
        )
    return _checked(values.pop() if values else "")


def _checked(value: object) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not name:
        raise SignInError(
            "This server tells its users apart, and your visit names none.",
            fix="Open this page through the address you were given, where you sign in.",
        )
    if name == LOCAL_OWNER or len(name) > MAX_LENGTH or not name.isprintable():
        raise SignInError(
            "Your user name cannot be used here.",
            where=f"{name[:40]!r}",
            fix="Ask the person who runs this server for another one.",
        )
    return name
