"""python -m tests: list the programs beside pytest, with their own descriptions."""

import ast
import re
from itertools import groupby
from pathlib import Path

HERE = Path(__file__).parent


def programs():
    """(folder, name, first sentence of the docstring) of every module that is also a program."""
    for path in sorted(HERE.rglob("*.py")):
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8")
        if path.name == "__main__.py" or re.search(r'^if __name__ == "__main__":', text, re.M):
            parts = path.relative_to(HERE).with_suffix("").parts
            sentence = ast.get_docstring(ast.parse(text)).split("\n\n")[0]
            name = ".".join(("tests", *parts)).removesuffix(".__main__")
            yield parts[0], name, re.sub(r"^python -m [^:]*: |``", "", " ".join(sentence.split()))


def main():
    for folder, members in groupby(programs(), key=lambda program: program[0]):
        print(f"{folder}:")
        for _, name, sentence in members:
            print(f"  python -m {name:<35} {sentence[0].upper()}{sentence[1:]}")


if __name__ == "__main__":
    main()
