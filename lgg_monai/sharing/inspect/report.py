"""Inspects a bundle and reports what is in it; nothing of it is imported, evaluated or unpickled."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lgg_monai import __version__
from lgg_monai.sharing.inspect import manifest
from lgg_monai.sharing.inspect.archive import Bundle, opened
from lgg_monai.sharing.inspect.configs import LARGEST_CONFIG, Item, read_config
from lgg_monai.sharing.inspect.context import understand
from lgg_monai.sharing.inspect.files import (
    CONFIGS,
    LOGGING,
    SCRIPTS,
    grade_file,
    grade_large_files,
    grade_place,
    holds_weights,
    is_large_files,
)
from lgg_monai.sharing.inspect.findings import Finding, Grade, RefusedError, shown
from lgg_monai.sharing.inspect.logging_conf import grade_logging
from lgg_monai.sharing.inspect.policy import D, E, N
from lgg_monai.sharing.inspect.resolve import Resolver
from lgg_monai.sharing.inspect.rules import grade_config
from lgg_monai.sharing.inspect.scripts import (
    LARGEST_SCRIPT,
    defined_attributes,
    grade_script,
    module_name,
    read_script,
    recognised,
    shadowing,
)
from lgg_monai.sharing.inspect.weights import grade_weights, kept_configs

FORMAT = 1
VERDICTS = {
    E: "clean: everything found is expected of a bundle",
    N: "look: the inspector cannot judge all of it; read the notes",
    D: "DANGEROUS: do not load, run or unpack this unless you trust who sent it and know why it needs this",
}
LARGEST_LOGGING = 2**16


@dataclass
class Report:
    """What was found in a bundle.

    Attributes:
        bundle: its file or folder name.
        manifest: matches, differs, unreadable or absent.
        findings: by file and line.
        refused: why nothing of it was looked into, where it was refused as a whole.
        copies: scripts that equal this package's own modules.
    """

    bundle: str
    manifest: str = "absent"
    findings: list[Finding] = field(default_factory=list)
    refused: str = ""
    copies: int = 0

    @classmethod
    def of_refused(cls, path: Path, error: RefusedError) -> Report:
        """The report of a bundle that is not looked into."""
        finding = Finding("", 0, "archive", shown(Path(path).name), D, f"refused: {error}")
        return cls(Path(path).name, findings=[finding], refused=str(error))

    @property
    def grade(self) -> Grade:
        """The worst grade of any finding: the command's exit code."""
        return max((finding.grade for finding in self.findings), default=E)

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "format": FORMAT,
            "inspector": f"lgg_monai {__version__}",
            "bundle": shown(self.bundle),
            "grade": self.grade.label if self.grade else "clean",
            "exit_code": int(self.grade),
            "refused": self.refused or None,
            "manifest": self.manifest,
            "counts": {grade.label: self._count(grade) for grade in Grade},
            "findings": [finding.as_dict() | {"file": shown(finding.file, 400)} for finding in self.findings],
        }

    def text(self) -> str:
        """The report for people: every finding on a line, the worst last, then the verdict."""
        lines = []
        for finding in sorted(self.findings, key=lambda one: (one.grade, one.file, one.line)):
            where = shown(finding.file, 400) + (f":{finding.line}" if finding.line else "")
            what = f"{finding.kind}  {finding.text}".rstrip()
            lines.append(f"{finding.grade.label:9}  {where}  {what}  ({finding.reason})")
        kinds = Counter(finding.kind for finding in self.findings)
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "nothing"
        if self.copies:
            listed += f"; {self.copies} scripts equal lgg_monai {__version__}"
        grades = ", ".join(f"{self._count(grade)} {grade.label}" for grade in Grade)
        lines += [
            "",
            f"bundle    {shown(self.bundle)}",
            f"manifest  {self.manifest}",
            f"found     {listed}",
            f"graded    {grades}",
        ]
        return "\n".join([*lines, f"verdict   {VERDICTS[self.grade]}"])

    def _count(self, grade: Grade) -> int:
        return sum(finding.grade == grade for finding in self.findings)


def inspect_bundle(path: Path) -> Report:
    """Inspect a bundle's folder or zip.

    Raises:
        LggError: there is no such file or folder, or it cannot be read.
    """
    try:
        with opened(path) as bundle:
            return _inspect(bundle)
    except RefusedError as error:
        return Report.of_refused(path, error)


def _inspect(bundle: Bundle) -> Report:
    findings = [Finding(path, 0, "archive", shown(path), D, reason) for path, reason in bundle.problems]
    if not bundle.members:
        findings.append(Finding("", 0, "archive", shown(bundle.name), N, "no files in it"))
    paths = {member.path for member in bundle.members}
    configs: dict[str, Item] = {}
    texts: dict[str, str] = {}
    for member in bundle.members:
        findings += grade_place(member.path)
        try:
            if member.suffix in CONFIGS:
                configs[member.path] = read_config(member.read(LARGEST_CONFIG), member.suffix != ".json")
            elif member.suffix in SCRIPTS:
                texts[member.path] = read_script(member.read(LARGEST_SCRIPT))
            elif member.suffix in LOGGING:
                findings += grade_logging(member.path, member.read(LARGEST_LOGGING))
            elif holds_weights(member):
                findings += grade_weights(member, paths)
                for kept in kept_configs(member):
                    configs[kept.path] = read_config(kept.read(LARGEST_CONFIG), kept.suffix != ".json")
            else:
                findings.append(grade_file(member))
        except RefusedError as error:
            reason = f"cannot be inspected: {error}"
            findings.append(Finding(member.path, 0, "refused", shown(member.path), D, reason))
    known = recognised(texts)
    modules = {name: (text, package) for path, text in texts.items() for name, package in [module_name(path)]}
    resolver = Resolver(modules, known)
    attributes = defined_attributes(texts.values())
    context = understand(configs, resolver, paths, attributes)
    for file, root in configs.items():
        if is_large_files(file):
            findings += grade_large_files(file, root, paths)
        findings += grade_config(file, root, context)
    for file, text in texts.items():
        findings += grade_script(file, text, resolver, attributes)
    findings += shadowing(paths)
    try:
        checked = manifest.check(bundle.members)
    except RefusedError as error:
        checked = manifest.Checked("unreadable", [Finding(manifest.NAME, 0, "manifest", "", D, str(error))])
    return Report(bundle.name, checked.status, sorted({*findings, *checked.findings}), copies=len(known))
