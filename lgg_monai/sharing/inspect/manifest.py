"""Compares a bundle's files with the hashes of its manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lgg_monai.sharing.inspect.archive import Member
from lgg_monai.sharing.inspect.findings import Finding, RefusedError, shown
from lgg_monai.sharing.inspect.policy import N

NAME = "manifest.json"
LARGEST = 8 * 2**20


@dataclass(frozen=True)
class Checked:
    """The outcome: in words, and a finding for each difference."""

    status: str
    findings: list[Finding]


def check(members: list[Member]) -> Checked:
    """Compare; a bundle without a manifest is not worse for it, one that differs from its manifest is.

    The manifest is not signed: it tells of damage and of careless changes, not of whom the bundle is from.
    """
    by_path = {member.path: member for member in members}
    if NAME not in by_path:
        return Checked("absent", [])
    try:
        content = json.loads(by_path[NAME].read(LARGEST).decode("utf-8"))
        files = content["files"]
        if content["format"] != 1 or not all(set(entry) == {"sha256", "bytes"} for entry in files.values()):
            raise ValueError("not of format 1")
    except RefusedError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # A file of this name that is something else, such as a Kaggle or web manifest, says nothing about hashes.
        return Checked(
            "unreadable", [Finding(NAME, 0, "manifest", "", N, "not a manifest of format 1: nothing compared")]
        )
    findings = [_finding(path, "listed, but missing") for path in sorted(set(files) - set(by_path))]
    for path in sorted(set(by_path) - {NAME}):
        if path not in files:
            findings.append(_finding(path, "not listed"))
        elif files[path]["bytes"] != by_path[path].size or files[path]["sha256"] != by_path[path].sha256():
            findings.append(_finding(path, "changed since the manifest was written"))
    return Checked("differs" if findings else "matches", findings)


def _finding(path: str, reason: str) -> Finding:
    return Finding(path if path.isprintable() else shown(path), 0, "manifest", shown(path), N, reason)
