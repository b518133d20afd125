"""Prepare for Sphinx docstrings and pages that people also read as plain text.

In ``help()`` a formula is an indented line with bars in it, a block "Paper: ... Differs: ..." needs
no markup, and on a code host ``docs/oracle.rst`` is a link. This module turns them into a literal
block, a list of fields and a link.
"""

import re

from galleries import FIRST, SCRIPTS

import nfref

DIRECTIVE = re.compile(r"\s*\.\. [\w-]+::")
FIELD = re.compile(r"^(\s*)(Paper|Differs):(?=\s)")
NAMED = re.compile(r"^(\s*)(``[\w.]+``)\s\s+")
HEADING = re.compile(r"^(-{3,}|={3,})\s*$")
TABLE = re.compile(r"^\s*=+( +=+)+\s*$")
ITEM = re.compile(r"^\s*([-*]|\d+\.|:\w+:|>>>) ?")
LITERAL = re.compile(r"(``.*?``|:\w+:`[^`]*`)")
OTHER_PAGE = re.compile(r"``(?:docs/([\w/]+)\.rst)``")
TUTORIAL = re.compile(r"``tutorials/(?:(methods|truths|applications)/)?(\w+)\.py``")
RST_LINK = re.compile(r"`([^`<]+) <([\w./]+)\.rst>`__")


def indent(line):
    return len(line) - len(line.lstrip())


def escaped(line):
    """Escape bars that mean an absolute value, not a substitution."""
    parts = LITERAL.split(line)
    parts[::2] = [re.sub(r"(?<!\\)\|", r"\\|", part) for part in parts[::2]]
    return "".join(parts)


def ready(lines, docstring=True):
    """Return lines with formulas as literal blocks and "Paper:" as a field.

    Below the first heading of a docstring, an indented block describes a parameter.
    """
    result, above, within, sections, rules = [], "", None, False, 0
    for number, line in enumerate(lines):
        blank = not line.strip()
        rules = 0 if blank else rules + bool(TABLE.match(line))
        if rules:  # a table keeps its columns
            result.append(line)
            continue
        if within is not None and not blank and indent(line) <= within:
            within = None
        if not blank and within is None:
            starts = (
                number
                and not lines[number - 1].strip()
                and above
                and not sections
                and indent(line) >= indent(above) + 4
                and not ITEM.match(above)
                and not FIELD.match(above)
                and not NAMED.match(above)
            )
            if DIRECTIVE.match(line) or above.endswith("::") and indent(line) > indent(above):
                within = indent(line) if DIRECTIVE.match(line) else indent(above)
            elif starts:
                result += [" " * indent(above) + "::", ""]
                within = indent(above)
            else:
                line = NAMED.sub(r"\1:\2: ", FIELD.sub(r"\1:\2:", escaped(line)))
            sections = sections or docstring and bool(HEADING.match(line))
            above = line
        result.append(line)
    return result


def in_docstring(app, what, name, thing, options, lines):
    lines[:] = ready(lines)


def in_page(app, docname, content):
    """Link names of this repository's files to their pages."""
    if docname.partition("/")[0] in SCRIPTS:
        content[0] = "\n".join(ready(content[0].splitlines(), docstring=False)) + "\n"
    text = RST_LINK.sub(r":doc:`\1 <\2>`", content[0])
    text = OTHER_PAGE.sub(r":doc:`/\1`", text)
    content[0] = TUTORIAL.sub(
        lambda found: (
            f":doc:`/{found[1] or 'lessons'}/{found[2]}`"
            if (found[1] or found[2][0].isdigit() or f"{found[2]}.py" in FIRST)
            else found[0]
        ),
        text,
    )


def leave_out(app, what, name, thing, skip, options):
    """Leave out methods that a class inherits from another package."""
    module = getattr(thing, "__module__", None) or "nfref"
    return True if not module.startswith("nfref") else None


def public_name(app, env, node, contnode):
    """Resolve ``nfref.RealNVP`` to its description in the module that defines it."""
    thing = nfref
    for name in node.get("reftarget", "").split(".")[1:]:
        thing = getattr(thing, name, None)
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if node.get("refdomain") != "py" or not module or not module.startswith("nfref") or not name:
        return None
    return env.get_domain("py").resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"{module}.{name}", node, contnode
    )


def setup(app):
    app.connect("missing-reference", public_name)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("autodoc-process-docstring", in_docstring, priority=100)
    app.connect("source-read", in_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
