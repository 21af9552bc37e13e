"""How a build reaches the world: as the options say, else as the environment does."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from conformance.exits import UserError
from conformance.images import cli
from conformance.images.model import Settings


def settings(around: dict[str, str], *arguments: str) -> Settings:
    """The settings of a command line in an environment."""
    command = argparse.ArgumentParser()
    cli.add("images", command)
    return cli.settings(command.parse_args(["--plan", "x", *arguments]), around)


def test_without_anything_a_build_is_the_engines_own() -> None:
    """Nothing is added."""
    assert settings({}) == Settings()


def test_what_the_environment_says_to_other_tools_holds_for_builds(tmp_path: Path) -> None:
    """Who is behind a company's proxy has set it already."""
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    around = {
        "SSL_CERT_FILE": str(authority), "PIP_INDEX_URL": "https://pip.example", "https_proxy": "http://proxy.example",
        "CONFORMANCE_BUILD_NETWORK": "host", "CONFORMANCE_BUILD_OPTIONS": "--isolation=chroot --ulimit 'nofile=1'",
    }  # fmt: skip
    assert settings(around) == Settings(
        authority=authority, index="https://pip.example", network="host",
        options=("--isolation=chroot", "--ulimit", "nofile=1"), proxies=("https_proxy",),
    )  # fmt: skip


def test_an_option_beats_the_environment() -> None:
    """And uv's variable pip's."""
    around = {"UV_DEFAULT_INDEX": "https://uv.example", "PIP_INDEX_URL": "https://pip.example"}
    assert settings(around).index == "https://uv.example"
    assert settings(around, "--index", "https://other.example").index == "https://other.example"


def test_certificates_that_are_not_there_are_a_sentence() -> None:
    """If they were asked for; an environment that names a file that has gone is not the user's mistake here."""
    with pytest.raises(UserError, match="--ca: /no/such is not a file"):
        settings({}, "--ca", "/no/such")
    assert settings({"SSL_CERT_FILE": "/no/such"}).authority is None
