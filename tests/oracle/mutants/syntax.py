"""One change to one node of a syntax tree, all such changes, mechanically."""

import ast
from functools import partial

SWAPPED_OPERATORS = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult],
}
SWAPPED_COMPARISONS = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt}
SWAPPED_FUNCTIONS = {
    "exp": "expm1",
    "log": "log1p",
    "tanh": "sin",
    "sum": "mean",
    "abs": "sqrt",
    "maximum": "minimum",
    "minimum": "maximum",
    "argsort": "asarray",
    "copysign": "minimum",
}


def variants(source, function):
    """All mutants of one function of a module.

    Parameters
    ----------
    source : str
        The module.
    function : str
        Its name; ``Class.method`` for a method.

    Yields
    ------
    label : str
        What was changed: "planar_slope: a + b -> a - b"; the second such change of a
        function has " #2" at its end.
    source : callable
        () -> the module with that change.
    """
    tree = ast.parse(source)
    seen = {}
    for parent, field, place, node in list(_nodes(_find(tree, function))):
        for after in _changes(node):
            label = " ".join(f"{function}: {ast.unparse(node)} -> {ast.unparse(after)}".split())
            seen[label] = seen.get(label, 0) + 1
            yield (
                label + (f" #{seen[label]}" if seen[label] > 1 else ""),
                partial(_changed, tree, parent, field, place, node, after),
            )


def _changed(tree, parent, field, place, before, after):
    """The source of a tree with one node in the place of another; the tree stays as it is."""
    _put(parent, field, place, after)
    try:
        return ast.unparse(tree)
    finally:
        _put(parent, field, place, before)


def _find(tree, function):
    node = tree
    for name in function.split("."):
        node = next(
            child
            for child in node.body
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)) and child.name == name
        )
    return node


def _nodes(function):
    """(parent, field, place, node) of every expression that may be changed."""
    for statement in function.body:
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            yield from _walk(statement)


def _walk(parent):
    for field, value in ast.iter_fields(parent):
        if isinstance(parent, ast.Subscript) and field == "slice":
            continue  # which rows and columns: mutated by hand
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for place, node in children:
            if not isinstance(node, ast.AST):
                continue
            if isinstance(node, ast.keyword):
                continue  # axis=1 and its like
            if isinstance(node, ast.expr):
                yield parent, field, place, node
            yield from _walk(node)


def _put(parent, field, place, node):
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def _changes(node):
    """What a node may be replaced by."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPPED_OPERATORS:
        for operator in SWAPPED_OPERATORS[type(node.op)]:
            yield ast.BinOp(node.left, operator(), node.right)
        yield node.left
        if isinstance(node.op, (ast.Add, ast.Sub)):
            yield node.right
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value:
        yield ast.Constant(node.value * 2)
        yield ast.Constant(node.value + 1e-6)
    elif isinstance(node, ast.Compare):
        swapped = SWAPPED_COMPARISONS.get(type(node.ops[0]))
        if swapped:
            yield ast.Compare(node.left, [swapped()], node.comparators)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if name in SWAPPED_FUNCTIONS:
            function = ast.Attribute(node.func.value, SWAPPED_FUNCTIONS[name], ast.Load())
            yield ast.Call(function, node.args[: 2 if name == "copysign" else None], node.keywords)
        if name == "where":
            yield ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], [])
            yield node.args[1]
            yield node.args[2]
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.ctx, ast.Load):
        # The pair (values, log_det) that a formula returns.
        values, log_det = node.elts
        yield ast.Tuple([values, ast.UnaryOp(ast.USub(), log_det)], ast.Load())
        for factor in (0.5, 1.0001):
            scaled = ast.BinOp(log_det, ast.Mult(), ast.Constant(factor))
            yield ast.Tuple([values, scaled], ast.Load())
        yield ast.Tuple([values, ast.BinOp(log_det, ast.Add(), ast.Constant(1e-6))], ast.Load())
