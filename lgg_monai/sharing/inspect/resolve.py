"""Where a dotted name leads, found by reading source files and importing nothing."""

from __future__ import annotations

from collections.abc import Mapping

from lgg_monai.sharing.inspect.attributes import attribute
from lgg_monai.sharing.inspect.findings import Grade
from lgg_monai.sharing.inspect.policy import MOVES_DATA, RULES, graded
from lgg_monai.sharing.inspect.sources import Binding, bindings, installed_bindings, installed_source, is_compiled

DEEPEST = 12  # imports that lead to imports


class Resolver:
    """Follows dotted names through imports to where they are defined.

    Args:
        modules: the bundle's own modules by dotted name: their text, and whether they are packages.
        known: those of them that are copies of this package's, with the name they have there.
    """

    def __init__(self, modules: Mapping[str, tuple[str, bool]] | None = None, known: Mapping[str, str] | None = None):
        self.known = dict(known or {})
        self.own = dict(modules or {})
        self.own_roots = {name.split(".")[0] for name in self.own}
        self._bindings: dict[str, dict[str, Binding]] = {}

    def grade(self, name: str) -> tuple[Grade, str]:
        """Grade what a dotted name leads to, and say what that is.

        A rule for exactly this name decides; else the worse of the rules for the name as written and as defined.
        """
        if name in RULES:
            return _reasoned(RULES[name], name)
        origin, after, found = self.definition(name)
        own = self.is_own(name) and self.is_own(origin)
        # A private function of the bundle's own is graded where it is defined; what any object has is not.
        private = [part for part in name.removeprefix("__future__.").split(".") if part.startswith("_")]
        if private and not (own and not any(part.startswith("_") for part in after) and "__" not in name):
            return Grade.DANGEROUS, f"{name}: a private or special name"
        if own:
            return self._grade_own(origin, after, found)
        if self.is_own(name):
            return self.grade(origin)
        same = origin.split(".")[0].lstrip("_").startswith(name.split(".")[0])
        if graded(name) is None or (graded(origin) is None and not same):
            return Grade.DANGEROUS, f"{origin}: of a module that is not known to be harmless"
        worst = _worse(graded(name), graded(origin), origin)
        if Grade.DANGEROUS in map(attribute, after):
            return _reasoned(Grade.DANGEROUS, origin)
        # Of what a class or function has; `value` and `name` are an enumeration's.
        of_object = not self.is_module(".".join(origin.split(".")[: -len(after) or None]))
        strange = [part for part in after if attribute(part) == Grade.NOTE and part not in ("value", "name")]
        if of_object and worst == Grade.EXPECTED and not all(part.isupper() for part in strange):
            return Grade.NOTE, f"{origin}: an attribute that is not known"
        if not found and worst == Grade.EXPECTED:
            return Grade.NOTE, f"{name}: not found in the installed package"
        if worst == Grade.EXPECTED and origin not in RULES and self._moves_data(origin):
            return Grade.NOTE, f"{origin}: by its name it reads or writes files"
        return _reasoned(worst, origin)

    def _moves_data(self, origin: str) -> bool:
        last = origin.split(".")[-1]
        # This package reads weights with weights_only=True alone.
        own = origin.startswith("lgg_monai.engines.") and last.startswith("load_")
        return MOVES_DATA.match(last) is not None and not own

    def is_own(self, name: str) -> bool:
        """Whether a dotted name begins in the bundle itself."""
        return name.split(".")[0] in self.own_roots

    def _grade_own(self, origin: str, after: list[str], found: bool) -> tuple[Grade, str]:
        parts = origin.split(".")
        for count in range(len(parts), 0, -1):
            known = self.known.get(".".join(parts[:count]))
            if known is not None:
                return self.grade(".".join([known, *parts[count:]]))
        if not found:
            return Grade.DANGEROUS, f"{origin}: not in this bundle, so it would come from elsewhere"
        if Grade.DANGEROUS in map(attribute, after):  # a generator's frame, or a module that a class holds
            return _reasoned(Grade.DANGEROUS, origin)
        return Grade.EXPECTED, f"{origin}: the bundle's own script, graded by itself"

    def definition(self, name: str, depth: int = 0) -> tuple[str, list[str], bool]:
        """Follow ``name`` to where it is defined: ``torch.nn.functional.os.system`` is ``os.system``.

        Returns:
            the dotted name under which it is defined; what of it comes after the class or function, or after the
            module where that has no such name; and whether it was found. Of packages that no rule speaks of and of
            compiled ones, the name itself is returned.
        """
        parts = name.split(".")
        if not self._followed(parts[0]) or self._source(parts[0]) is None:
            return name, parts[1:], graded(name) is not None or parts[0].startswith("_")
        module = parts[0]
        for index, part in enumerate(parts[1:], start=1):
            kind, target = self._bound(module, part, depth) or ("", "")
            if kind == "import" and target != f"{module}.{part}":
                if depth >= DEEPEST:
                    return name, parts[1:], False
                return self.definition(".".join([target, *parts[index + 1 :]]), depth + 1)
            if kind in ("def", "value"):
                return ".".join([module, *parts[index:]]), parts[index + 1 :], True
            if self._source(f"{module}.{part}") is None:
                return ".".join([module, *parts[index:]]), parts[index:], kind == "compiled"
            module = f"{module}.{part}"
        return module, [], True

    def is_module(self, name: str) -> bool:
        """Whether a name as `definition` returns it is a module and not something in one."""
        return "." not in name or self._source(name) is not None or is_compiled(name)

    def exported(self, module: str, seen: set[str] | None = None) -> set[str]:
        """The names that a star import of a module of the bundle's own may bind, imported modules among them."""
        seen = set() if seen is None else seen
        seen.add(module)
        source = self._source(module) if self.is_own(module) else None
        table = bindings(*source, module) if source else {}
        names = {name for name in table if not name.startswith(("*", "__"))}
        for star in (target for name, (_, target) in table.items() if name.startswith("*") and target not in seen):
            names |= self.exported(star, seen)
        return names

    def _followed(self, root: str) -> bool:
        return root in self.own_roots or graded(root) is not None

    def _source(self, module: str) -> tuple[str, bool] | None:
        if module in self.own:
            return self.own[module]
        if module.split(".")[0] in self.own_roots:
            return ("", True) if any(own.startswith(module + ".") for own in self.own) else None
        return installed_source(module)

    def _bound(self, module: str, name: str, depth: int) -> Binding | None:
        if self.is_own(module):
            if module not in self._bindings:
                source = self._source(module)
                self._bindings[module] = bindings(*source, module) if source else {}
            table = self._bindings[module]
        else:
            table = installed_bindings(module)
        if name in table:
            return table[name]
        if f"{module}.{name}" in self.own or self._source(f"{module}.{name}") is not None:
            return None  # a submodule
        for star in (target for key, (_, target) in table.items() if key.startswith("*")):
            if self._source(star) is None:
                return ("compiled", "")
            if depth < DEEPEST:
                found = self._bound(star, name, depth + 1)
                if found is not None and found[0] != "compiled":
                    return found if found[0] == "import" else ("import", f"{star}.{name}")
        return None


def _worse(written: Grade | None, defined: Grade | None, origin: str) -> Grade:
    """The worse of two grades, where a mere rule for a whole package counts less than one for a part of it."""
    if origin in RULES:
        return RULES[origin]
    special = written != Grade.DANGEROUS and defined != RULES.get(origin.split(".")[0])
    return max(grade for grade in ((defined,) if special else (written, defined)) if grade is not None)


def _reasoned(grade: Grade, name: str) -> tuple[Grade, str]:
    if grade == Grade.DANGEROUS:
        return grade, f"{name}: reaches files, processes, network, environment or code"
    return grade, f"{name}: not among what is known to be harmless" if grade == Grade.NOTE else name
