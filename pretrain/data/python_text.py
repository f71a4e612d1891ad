"""Python source to text: its docstrings, and its code without them."""

import ast
import inspect
import itertools
from collections.abc import Iterator, Sequence

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module and of its classes and functions, cleaned, in their order in the text."""
    for node, _ in _bodies(tree):
        if isinstance(node, _Documented) and (text := ast.get_docstring(node, clean=False)) is not None:
            yield inspect.cleandoc(text)


def without_docstrings(source: str, tree: ast.Module) -> str:
    r"""Return source with its docstrings cut out, all else as it stands: comments, blank lines, formatting.

    Every string that is a statement counts as one, since documentation of attributes looks so. Where nothing else is in
    a body, ``pass`` stands in its place. ``source`` has ``\n`` line ends and ``tree`` is its syntax tree; the result
    parses.
    """
    return "\n".join(line for line in _edited_lines(source, tree) if line is not None)


def code_documents(source: str, tree: ast.Module, characters: int) -> Iterator[str]:
    """Yield source without docstrings as documents of whole top-level statements, each at most ``characters`` long.

    A longer statement, such as a class, is a document of its own. Comments stand with the statement that follows. A
    module of 100 kB would otherwise be one document, of which a competition judges the imports only. Each document
    parses.
    """
    lines = _edited_lines(source, tree)
    cuts = [_end(before) for before, after in itertools.pairwise(tree.body) if after.lineno > _end(before)]
    held: list[str] = []
    size = 0
    for first, last in itertools.pairwise([0, *cuts, len(lines)]):
        part = "\n".join(line for line in lines[first:last] if line is not None)
        if size and size + len(part) > characters:
            yield "\n".join(held).strip("\n")
            held, size = [], 0
        if part.strip():
            held.append(part)
            size += len(part) + 1
    if size:
        yield "\n".join(held).strip("\n")


def _bodies(node: ast.AST) -> Iterator[tuple[ast.AST, Sequence[ast.stmt]]]:
    """Yield every list of statements behind its owner, outer before inner; expressions hold none and are not walked."""
    for field in ("body", "handlers", "cases", "orelse", "finalbody"):
        children = getattr(node, field, None)
        if not isinstance(children, list):
            continue
        if children and isinstance(children[0], ast.stmt):
            yield node, children
        for child in children:
            yield from _bodies(child)


def _edited_lines(source: str, tree: ast.Module) -> list[str | None]:
    """Return the lines of source without string statements, None for each line that one took up."""
    lines: list[str | None] = list(source.split("\n"))
    runs = [(run, alone) for owner, body in _bodies(tree) for run, alone in _string_runs(owner, body)]
    # from the last to the first, so that the columns of those still to come stay true
    for run, alone in sorted(runs, key=lambda item: (item[0][0].lineno, item[0][0].col_offset), reverse=True):
        first, last = run[0].lineno - 1, _end(run[-1]) - 1
        # the columns of a syntax tree count UTF-8 bytes
        before = (lines[first] or "").encode()[: run[0].col_offset].decode()
        after = (lines[last] or "").encode()[run[-1].end_col_offset :].decode()
        lines[first : last + 1] = [_remainder(before, after, alone=alone), *[None] * (last - first)]
    return lines


def _string_runs(owner: ast.AST, body: Sequence[ast.stmt]) -> Iterator[tuple[list[ast.stmt], bool]]:
    """Yield each run of string statements of a body, and whether the body is nothing else."""
    for is_string, statements in itertools.groupby(body, key=_is_string):
        run = list(statements)
        if is_string:
            yield run, len(run) == len(body) and not isinstance(owner, ast.Module)


def _remainder(before: str, after: str, *, alone: bool) -> str | None:
    """Return what is left of the line on which a string stood between ``before`` and ``after``, None for nothing."""
    if not alone and not before.strip():
        if not after.strip():
            return None
        if after.lstrip().startswith("#"):
            return before + after.lstrip()
    return f"{before}pass{after}"


def _end(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno


def _is_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
