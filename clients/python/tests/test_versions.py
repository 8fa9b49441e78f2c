"""Every Python that pyproject.toml names can read the package."""

import ast
from pathlib import Path

import pytest

from conftest import HERE

OLDEST = (3, 9)
FILES = sorted(path for folder in ("talkwire", "tests") for path in (HERE.parent / folder).rglob("*.py"))


def test_the_oldest_python_is_the_one_that_is_promised():
    assert f'requires-python = ">={OLDEST[0]}.{OLDEST[1]}"' in (HERE.parent / "pyproject.toml").read_text()
    assert len(FILES) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(Path(path).relative_to(HERE.parent)))
def test_it_parses(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=OLDEST)
    # Without it `int | None` in a signature is evaluated, which 3.9 cannot.
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    defines = any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for node in tree.body)
    assert futures or not defines or path.is_relative_to(HERE)


def test_the_package_lists_all_its_folders():
    import talkwire

    package = Path(talkwire.__file__).parent
    found = {".".join(("talkwire", *path.parent.relative_to(package).parts)) for path in package.rglob("__init__.py")}
    text = (HERE.parent / "pyproject.toml").read_text()
    listed = text[text.index("packages = [") :].partition("\n")[0]
    assert found == set(ast.literal_eval(listed.partition("= ")[2]))
