"""Grades Python code by the names in it, without running any of it: whole expressions and whole scripts alike."""

from __future__ import annotations

import ast
import re

from lgg_monai.sharing.inspect import attributes, policy
from lgg_monai.sharing.inspect.calls import (
    ALL_BUILTINS,
    call_remarks,
    grade_eval_or_format,
    grade_replace,
    harmless_types,
    is_made_safe,
    keyword_remarks,
)
from lgg_monai.sharing.inspect.findings import Grade
from lgg_monai.sharing.inspect.names import Names, Remark, named_by_text
from lgg_monai.sharing.inspect.policy import D, E, N
from lgg_monai.sharing.inspect.references import REFERENCES
from lgg_monai.sharing.inspect.sources import PARSE_ERRORS, parsed

LARGEST_NUMBER = 10**9
LARGEST_POWER = 64
_DUNDER = re.compile(r"__[A-Za-z]\w*__")
_PLAIN_STRINGS = {"__main__", "__all__"}


class CodeGrader:
    """Walks a syntax tree and remarks on every name, attribute, call and text in it that is not expected.

    A function can do harm only if it is named somewhere, so every mention is graded, called or not.
    """

    def __init__(self, names: Names):
        self.names = names
        self.remarks: list[Remark] = []
        self._harmless: set[int] = set()  # where a script asks for a class
        self._appended: set[int] = set()  # texts that are put behind others, so that a path in them begins there

    def grade(self, tree: ast.AST) -> list[Remark]:
        """Return the remarks on a tree."""
        scope = frozenset(self.names.local)
        self._harmless = harmless_types(tree, self.names) if self.names.script else set()
        for node in ast.walk(tree):
            if isinstance(node, ast.NamedExpr):
                name = node.target.id
                if not self.names.script and (name in ALL_BUILTINS or name in self.names.aliases or name == REFERENCES):
                    self._remark(node, name, D, "gives a known name another meaning")
                scope |= {name}
        self._visit(tree, scope)
        return self.remarks

    def _remark(self, node: ast.AST, text: str, grade: Grade, reason: str) -> None:
        if grade != E:
            self.remarks.append(Remark(getattr(node, "lineno", 1), text, grade, reason))

    def _visit(self, node: ast.AST, scope: frozenset[str]) -> None:
        match node:
            case ast.Constant():
                self._constant(node)
            case ast.Name():
                self._name(node, scope)
            case ast.Attribute():
                self._attribute(node, scope)
            case ast.Subscript(value=ast.Name(id=name)) if name == REFERENCES:
                self._reference(node)
            case ast.Call():
                self._call(node, scope)
            case ast.Lambda():
                self._lambda(node, scope)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node, scope)
            case ast.BinOp():
                self._arithmetic(node)
                self._children(node, scope)
            case ast.JoinedStr():
                self._appended.update(map(id, node.values[1:]))
                self._children(node, scope)
            case ast.MatchClass():
                for name in node.kwd_attrs:
                    reason = f"attribute {name} of a value of unknown type"
                    self._remark(node, f".{name}", self._value_attribute(name, False, None), reason)
                self._children(node, scope)
            case ast.Expr(value=ast.Constant(value=str())):
                pass  # a docstring
            case ast.AnnAssign() | ast.arg() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if getattr(node, "name", "") in attributes.CHANGE_MEANING:
                    self._remark(node, node.name, D, "changes what patterns or attributes mean")  # type: ignore[union-attr]
                self._annotations(node, scope)
                self._children(node, scope)
            case _:
                self._children(node, scope)

    def _children(self, node: ast.AST, scope: frozenset[str]) -> None:
        for child in ast.iter_child_nodes(node):
            self._visit(child, scope)

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        if isinstance(value, str):
            if "__" in value and value not in _PLAIN_STRINGS:
                grade = D if _DUNDER.search(value) and not self.names.script else N
                self._remark(node, repr(value), grade, "text with a special name, or part of one, in it")
            grade, reason = named_by_text(value, self.names.resolver)
            self._remark(node, repr(value), grade, reason)
            if policy.OUTSIDE.fullmatch(value) and not (value.startswith("/") and id(node) in self._appended):
                self._remark(node, repr(value), N, "a path outside the bundle")
            if policy.ADDRESS.fullmatch(value):
                self._remark(node, repr(value), N, "an address: something may be fetched from it or sent to it")
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST_NUMBER:
            self._remark(node, "a number", N, "so large that computing with it may not end")

    def _arithmetic(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Add):
            self._appended.add(id(node.right))
        if isinstance(node.op, ast.Pow | ast.LShift):
            exponent = node.right
            plain = isinstance(exponent, ast.Constant) and isinstance(exponent.value, int | float)
            if isinstance(exponent, ast.BinOp) or (plain and exponent.value > LARGEST_POWER):  # type: ignore[attr-defined]
                self._remark(node, ast.unparse(node), N, "a power so large that computing it may not end")

    def _name(self, node: ast.Name, scope: frozenset[str], call: ast.Call | None = None) -> None:
        name = node.id
        if name in self.names.aliases and (name not in scope or self.names.script):
            for origin in sorted(self.names.aliases[name]):
                self._remark(node, name, *self._bare(origin))
                self._called(node, origin, call)
        elif _is_special(name) and not (self.names.script and name in attributes.SCRIPT_NAMES):
            # Before the scope: `__builtins__` is no local name though something binds it somewhere.
            self._remark(node, name, D, f"{name} reaches beyond plain computing")
        elif name == "type" and self.names.script and isinstance(node.ctx, ast.Load):
            if id(node) not in self._harmless:
                self._remark(node, name, N if name in scope else D, "hands on what finds the class of any value")
        elif name in scope:
            # A script may call an argument `input`, but `eval` may mean itself elsewhere in it.
            if name in ALL_BUILTINS - attributes.ANY_BUILTINS and not isinstance(node.ctx, ast.Store):
                self._remark(node, name, D, "hides a built-in that reaches beyond plain computing, or is it")
        elif name in attributes.BUILTINS or (self.names.script and name in attributes.SCRIPT_BUILTINS):
            pass
        elif name in ALL_BUILTINS or name.startswith("__"):
            self._remark(node, name, D, f"{name} reaches beyond plain computing")
        elif not self.names.script or not isinstance(node.ctx, ast.Store | ast.Del):
            self._remark(node, name, N, "a name that is defined nowhere in the bundle")

    def _bare(self, origin: str) -> tuple[Grade, str]:
        """Grade a mention of what was imported, without an attribute."""
        grade, reason = self.names.resolver.grade(origin)
        if self.names.resolver.is_module(origin):
            return max(grade, self._handed_on(origin)), f"hands on the module {origin}: all of it is within reach"
        return grade, reason

    def _handed_on(self, module: str) -> Grade:
        """Grade a module as a value: a script of the bundle's own may hold any other by any name."""
        return N if self.names.script and not self.names.resolver.is_own(module) else D

    def _attribute(self, node: ast.Attribute, scope: frozenset[str], call: ast.Call | None = None) -> None:
        chain: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            chain.insert(0, root.attr)
            root = root.value
        if isinstance(root, ast.Name) and root.id in self.names.aliases and (root.id not in scope or self.names.script):
            if self.names.script and chain[-1] == "__init__" and call is not None:  # Base.__init__(self)
                chain = chain[:-1]
            for origin in sorted(self.names.aliases[root.id]):
                self._imported(node, ".".join([origin, *chain]), call)
            return
        own = isinstance(root, ast.Name) and root.id in ("self", "cls") and self.names.script
        own = own or (isinstance(root, ast.Call) and isinstance(root.func, ast.Name) and root.func.id == "super")
        if self.names.script and chain[-2:] in (["__class__", "__name__"], ["__class__", "__qualname__"]):
            chain = chain[:-2]
        for index, name in enumerate(chain):
            grade = self._value_attribute(name, own and index == 0, call if index == len(chain) - 1 else None)
            why = "a special or private name" if name.startswith("_") else "of a value of unknown type"
            self._remark(node, f".{name}", grade, f"attribute {name} {why}")
        self._visit(root, scope)

    def _imported(self, node: ast.Attribute, name: str, call: ast.Call | None) -> None:
        grade, reason = self.names.resolver.grade(name)
        changed = isinstance(node.ctx, ast.Store | ast.Del) and not name.startswith("torch.backends.")
        if changed:
            self._remark(node, name, D, f"changes {name} for everyone")
        elif grade == E and self.names.resolver.is_module(name):
            self._remark(node, name, self._handed_on(name), f"hands on the module {name}")
        else:
            safe = is_made_safe(self.names.resolver.definition(name)[0], call)
            self._remark(node, name, E if safe else grade, reason)
        self._called(node, name, call)

    def _called(self, node: ast.expr, name: str, call: ast.Call | None) -> None:
        found = call_remarks(name, call, node.lineno, self.names.resolver, self.names.script)
        self.remarks += [remark for remark in found if remark.grade != E]

    def _value_attribute(self, name: str, own: bool, call: ast.Call | None) -> Grade:
        special = _is_special(name)
        private = name.startswith("_") and name.lstrip("_") not in attributes.DANGEROUS_ATTRIBUTES  # not self._os
        if name in attributes.FRAMES:
            return D
        if name in ("modules", "sys") and not (call is not None and not call.args and not call.keywords):
            return D  # sys.modules, by whatever name; network.modules() is a call
        if self.names.script and special:
            return E if name in attributes.SCRIPT_DUNDERS else D
        if own:
            defined = name in self.names.attributes or private
            return E if defined or attributes.attribute(name) != D else D
        grade = attributes.attribute(name)
        if name in ("eval", "format"):
            return grade_eval_or_format(call)
        if name == "replace":
            return grade_replace(call)
        if grade == N and name in self.names.attributes:
            return E
        return N if self.names.script and grade == D and private and not special else grade

    def _reference(self, node: ast.Subscript) -> None:
        index = node.slice
        if not isinstance(index, ast.Constant) or not isinstance(index.value, str):
            self._remark(node, REFERENCES, D, "reaches all that the config holds")
        elif self.names.reaches_module(index.value):
            self._remark(node, f"@{index.value}", D, "reaches an imported module by reference, which hides its name")

    def _call(self, node: ast.Call, scope: frozenset[str]) -> None:
        function = node.func
        name = function.id if isinstance(function, ast.Name) else ""
        if name in ("getattr", "hasattr", "setattr", "delattr") and name not in scope and self._by_literal(node, scope):
            return
        if isinstance(function, ast.Call) and isinstance(function.func, ast.Name) and function.func.id == "type":
            own = isinstance(function.args[0], ast.Name) and function.args[0].id == "self" if function.args else False
            self._remark(node, "type(...)(...)", N if own else D, "calls the class of a value of unknown type")
        elif name == "type" and self.names.script and len(node.args) == 3 and ast.Starred not in map(type, node.args):
            pass  # makes a class
        elif name == "type" and self.names.script and len(node.args) == 1 and not node.keywords:
            own = isinstance(node.args[0], ast.Name) and node.args[0].id in ("self", "cls")
            if id(node) not in self._harmless:
                self._remark(node, "type(...)", N if own else D, "hands on the class of a value of unknown type")
        elif name == "vars" or name == "dir":
            self._remark(node, name, D, "reaches every attribute")
        elif isinstance(function, ast.Attribute):
            self._attribute(function, scope, node)
        elif isinstance(function, ast.Name):
            self._name(function, scope, node)
        else:
            self._visit(function, scope)
        found = keyword_remarks(node, self.names.resolver, self.names.script)
        self.remarks += [remark for remark in found if remark.grade != E]
        for child in [*node.args, *node.keywords]:
            self._visit(child, scope)

    def _by_literal(self, node: ast.Call, scope: frozenset[str]) -> bool:
        """Treat getattr(x, 'name') as x.name; False where the name is computed."""
        match node.args:
            case [owner, ast.Constant(value=str(name)), *rest] if name.isascii() and name.isidentifier():
                writes = isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr")
                same = ast.Attribute(value=owner, attr=name, ctx=ast.Store() if writes else ast.Load())
                ast.copy_location(same, node)
                self._attribute(same, scope)
                for other in rest:
                    self._visit(other, scope)
                return not node.keywords
        return False

    def _lambda(self, node: ast.Lambda, scope: frozenset[str]) -> None:
        arguments = node.args
        for default in [*arguments.defaults, *arguments.kw_defaults]:
            if default is not None:
                self._visit(default, scope)
        names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        self._visit(node.body, scope | {argument.arg for argument in names if argument})

    def _comprehension(self, node: ast.AST, scope: frozenset[str]) -> None:
        for part in node.generators:  # type: ignore[attr-defined]
            self._visit(part.iter, scope)
            bound = {name.id for name in ast.walk(part.target) if isinstance(name, ast.Name)}
            for name in ast.walk(part.target):
                if isinstance(name, ast.Attribute | ast.Subscript):
                    self._remark(name, "for", D, "a loop that writes into something")
            scope |= bound
            for condition in part.ifs:
                self._visit(condition, scope)
        if isinstance(node, ast.DictComp):
            self._visit(node.key, scope)
            self._visit(node.value, scope)
        else:
            self._visit(node.elt, scope)  # type: ignore[attr-defined]

    def _annotations(self, node: ast.AST, scope: frozenset[str]) -> None:
        """Annotations that are text are evaluated by dataclasses, PyTorch and others."""
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                try:
                    tree = parsed(annotation.value.strip(), "eval")
                except PARSE_ERRORS as error:
                    grade = N if isinstance(error, SyntaxError) else D  # what is too deep here may not be elsewhere
                    self._remark(annotation, annotation.value, grade, "an annotation that is no expression to inspect")
                else:
                    self._visit(tree, scope)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
