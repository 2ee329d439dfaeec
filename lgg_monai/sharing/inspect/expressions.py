"""Grades Python code by the names in it, without running any of it: whole expressions and whole scripts alike."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lgg_monai.sharing.inspect import attributes, policy
from lgg_monai.sharing.inspect.findings import Grade
from lgg_monai.sharing.inspect.names import Remark, grade_target, keyword_grade, named_by_text
from lgg_monai.sharing.inspect.policy import D, E, N
from lgg_monai.sharing.inspect.references import REFERENCES, and_above
from lgg_monai.sharing.inspect.resolve import Resolver
from lgg_monai.sharing.inspect.sources import PARSE_ERRORS, parsed

LARGEST_NUMBER = 10**9
LARGEST_POWER = 64
# A dotted name that is no file's.
_FILES = "nii|gz|dcm|png|jpg|tif|tiff|npy|npz|mha|nrrd|json|csv|txt|pt"
_DOTTED_CALL = re.compile(rf"(?!.*\.(?:{_FILES})$)[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_DUNDER = re.compile(r"__[A-Za-z]\w*__")

_PLAIN_STRINGS = {"__main__", "__all__"}
_ALL_BUILTINS = set(dir(builtins))


@dataclass
class Names:
    """What the names in a piece of code can mean.

    Attributes:
        resolver: follows dotted names.
        aliases: names that stand for modules or things from modules: every dotted name that they can mean.
        local: names that the code itself binds to values.
        attributes: attributes that the code itself defines.
        modules: ids of a config at or below which imported modules lie.
        holders: ids above those.
        script: whether the code is a script and not an expression.
    """

    resolver: Resolver
    aliases: Mapping[str, Collection[str]] = field(default_factory=dict)
    local: Collection[str] = field(default_factory=set)
    attributes: Collection[str] = field(default_factory=set)
    modules: Collection[str] = field(default_factory=set)
    holders: Collection[str] = field(default_factory=set)
    script: bool = False

    def reaches_module(self, place: str) -> bool:
        """Whether a reference to an id of a config hands on an imported module, or what holds one."""
        return place in self.holders or any(one in self.modules for one in and_above(place))


class CodeGrader:
    """Walks a syntax tree and remarks on every name, attribute, call and text in it that is not expected.

    A function can do harm only if it is named somewhere, so every mention is graded, called or not.
    """

    def __init__(self, names: Names):
        self.names = names
        self.remarks: list[Remark] = []
        self._appended: set[int] = set()  # texts that are put behind others, so that a path in them begins there

    def grade(self, tree: ast.AST) -> list[Remark]:
        """Return the remarks on a tree."""
        scope = frozenset(self.names.local)
        for node in ast.walk(tree):
            if isinstance(node, ast.NamedExpr):
                name = node.target.id
                if not self.names.script and (
                    name in _ALL_BUILTINS or name in self.names.aliases or name == REFERENCES
                ):
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
                self._looks_up(node, origin, call)
        elif _is_special(name) and not (self.names.script and name in attributes.SCRIPT_NAMES):
            # Before the scope: `__builtins__` is no local name though something binds it somewhere.
            self._remark(node, name, D, f"{name} reaches beyond plain computing")
        elif name in scope:
            # A script may call an argument `input`, but `eval` may mean itself elsewhere in it.
            if name in _ALL_BUILTINS - attributes.ANY_BUILTINS and not isinstance(node.ctx, ast.Store):
                self._remark(node, name, D, "hides a built-in that reaches beyond plain computing, or is it")
        elif name in attributes.BUILTINS or (self.names.script and name in attributes.SCRIPT_BUILTINS):
            pass
        elif name in _ALL_BUILTINS or name.startswith("__"):
            self._remark(node, name, D, f"{name} reaches beyond plain computing")
        elif not self.names.script or not isinstance(node.ctx, ast.Store | ast.Del):
            self._remark(node, name, N, "a name that is defined nowhere in the bundle")

    def _bare(self, origin: str) -> tuple[Grade, str]:
        """Grade a mention of what was imported, without an attribute."""
        grade, reason = self.names.resolver.grade(origin)
        if self.names.resolver.is_module(origin):
            return max(grade, N if self.names.script else D), f"hands on the module {origin}: all of it is within reach"
        return grade, reason

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
            self._remark(node, name, N if self.names.script else D, f"hands on the module {name}")
        else:
            safe = policy.SAFE_WITH.get(self.names.resolver.definition(name)[0])
            if safe and call and any(_is_keyword(word, *safe) for word in call.keywords):
                grade = E
            self._remark(node, name, grade, reason)
            self._looks_up(node, name, call)
        if name.endswith("init_process_group") and call:
            unpacked = any(isinstance(argument, ast.Starred) for argument in call.args)
            named = any(word.arg in ("init_method", "store", None) for word in call.keywords)
            if len(call.args) > 1 or unpacked or named:
                self._remark(node, name, D, "connects to an address of the bundle's choice")
        if name.startswith(policy.MAY_DOWNLOAD) and call and any(map(_is_true, call.args)):
            self._remark(node, name, N, "True by its position, which tells some networks to download weights")

    def _looks_up(self, node: ast.AST, name: str, call: ast.Call | None) -> None:
        """Remark on what calls or copies what a text names, unless every argument is there to be read."""
        match call:
            case ast.Call(args=[only], keywords=[]):
                alone = not isinstance(only, ast.Starred)
            case _:
                alone = False
        if not alone and self.names.resolver.definition(name)[0] in policy.SAFE_ALONE:
            self._remark(node, name, D, f"{name}: with more than one argument, it reaches what a text names")
        if name.split(".")[-1] not in policy.LOOKS_UP:
            return
        for text in (text for argument in (call.args if call else []) for text in _texts(argument)):
            if text in _ALL_BUILTINS or _DOTTED_CALL.fullmatch(text):
                grade, reason = grade_target(text, self.names.resolver)
                self._remark(node, repr(text), grade, f"{name} looks it up and calls it: {reason}")
        if not (call and all(map(_is_plain, [*call.args, *call.keywords]))):
            self._remark(
                node, name, N if self.names.script else D, f"{name}: looks up and calls what a computed text names"
            )

    def _value_attribute(self, name: str, own: bool, call: ast.Call | None) -> Grade:
        special = _is_special(name)
        if name in attributes.FRAMES:
            return D
        if name in ("modules", "sys") and not (call is not None and not call.args and not call.keywords):
            return D  # sys.modules, by whatever name; network.modules() is a call
        if self.names.script and special:
            return E if name in attributes.SCRIPT_DUNDERS else D
        if own:
            defined = name in self.names.attributes or name.startswith("_")
            return E if defined or attributes.attribute(name) != D else D
        grade = attributes.attribute(name)
        if name in ("eval", "format") and call is not None:
            # network.eval() has no arguments; what evaluates text has. Formats reach attributes: '{0.x}'.format(y).
            literal = isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Constant)
            plain = literal and re.search(r"\{[^}]*[.\[]", str(call.func.value.value)) is None  # type: ignore[attr-defined]
            return E if (name == "eval" and not call.args and not call.keywords) or (name == "format" and plain) else D
        if name in ("eval", "format"):
            return D
        if grade == N and name in self.names.attributes:
            return E
        return N if self.names.script and grade == D and name.startswith("_") and not special else grade

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
        if name == "type" and self.names.script and len(node.args) == 1 and not node.keywords and name not in scope:
            pass
        elif name == "vars" or name == "dir":
            self._remark(node, name, D, "reaches every attribute")
        elif isinstance(function, ast.Attribute):
            self._attribute(function, scope, node)
        elif isinstance(function, ast.Name):
            self._name(function, scope, node)
        else:
            self._visit(function, scope)
        for word in _unpacked(node.keywords):
            if word.arg is None and not self.names.script:
                self._remark(word.value, "**", N, "arguments whose names are computed")
            grade, reason = keyword_grade(word.arg, word.value.value if isinstance(word.value, ast.Constant) else None)
            self._remark(word.value, f"{word.arg}=", grade, reason)
            if (
                word.arg in policy.LOOKED_UP
                and isinstance(word.value, ast.Constant)
                and isinstance(word.value.value, str)
            ):
                self._remark(word.value, f"{word.arg}=", *grade_target(word.value.value, self.names.resolver))
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


def _unpacked(keywords: list[ast.keyword]) -> list[ast.keyword]:
    """The keywords of a call, those among them that are unpacked from a dictionary that stands there by their names."""
    found = []
    for word in keywords:
        if word.arg is not None or not isinstance(word.value, ast.Dict):
            found.append(word)
            continue
        for key, value in zip(word.value.keys, word.value.values, strict=True):
            name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None
            found.append(ast.copy_location(ast.keyword(name, value), value))
    return found


def _is_plain(node: ast.AST) -> bool:
    """Whether an argument is there to be read: a literal, or the dotted name of something."""
    match node:
        case ast.Constant():
            return True
        case ast.Tuple(elts=inner) | ast.List(elts=inner):
            return all(map(_is_plain, inner))
        case ast.Attribute(value=inner) | ast.keyword(arg=str(), value=inner):
            return _is_plain(inner)
        case ast.Name(id=name):
            return name in ("monai", "torch", "np", "numpy")
    return False


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _texts(node: ast.AST) -> list[str]:
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def _is_true(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Constant) and argument.value is True


def _is_keyword(word: ast.keyword, name: str, value: object) -> bool:
    return word.arg == name and isinstance(word.value, ast.Constant) and word.value.value is value
