"""What turns data into code, or starts programs, is not in the product. Rows and requests are untrusted input."""

from __future__ import annotations

import ast

from tests.support.sources import Source, imports_of, python_files, within

MODULE_LOADER = "modules/core/module.py"  # imports the packages that the operator named in APP_MODULES
NEVER_IMPORTED = {
    "pickle": "unpickling runs code",
    "marshal": "unmarshalling trusts its input",
    "shelve": "it unpickles",
    "dill": "it unpickles",
    "subprocess": "tasks are functions that a module registered, not programs",
    "pty": "tasks are functions that a module registered, not programs",
}
NEVER_CALLED = {
    "eval": "it runs text as code",
    "exec": "it runs text as code",
    "compile": "it makes code of text",
    "__import__": "functions are looked up in the registry, never imported by name",
    "os.system": "it starts a shell",
    "os.popen": "it starts a shell",
    "yaml.load": "it builds any object; use yaml.safe_load",
    "asyncio.create_subprocess_shell": "it starts a shell",
    "asyncio.create_subprocess_exec": "tasks are functions that a module registered, not programs",
}


def forbidden_uses(source: Source) -> list[str]:
    """A sentence for each forbidden import and call of the file."""
    found: list[tuple[int, str, str]] = []
    for item in imports_of(source):
        for name, reason in NEVER_IMPORTED.items():
            if within(item.target, name):
                found.append((item.line, f"import of {item.target}", reason))
        if source.path != MODULE_LOADER and (
            item.target == "importlib" or item.target.startswith(("importlib.import_module", "importlib.util"))
        ):
            found.append((item.line, f"import of {item.target}", "only core/module.py imports by name"))
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in NEVER_CALLED:
                found.append((node.lineno, f"{called}()", NEVER_CALLED[called]))
            if any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords):
                found.append((node.lineno, "shell=True", "it starts a shell"))
    return [f"{source.path}:{line}: {what} is forbidden: {reason}." for line, what, reason in sorted(found)]


def test_the_product_uses_nothing_forbidden() -> None:
    """modules/ and migrations/; tests may start programs."""
    assert [line for source in python_files("modules", "migrations") for line in forbidden_uses(source)] == []


def test_each_forbidden_use_is_reported() -> None:
    """The checker bites."""
    text = """
import pickle
from subprocess import run
import importlib
from importlib import import_module
eval("1")
exec("1")
yaml.load(text)
os.system("true")
run("true", shell=True)
"""
    assert len(forbidden_uses(Source("modules/core/x.py", text))) == 9
    assert len(forbidden_uses(Source(MODULE_LOADER, text))) == 7


def test_harmless_look_alikes_are_left_alone() -> None:
    """Reading the package's own version, a method called exec, re.compile."""
    text = 'from importlib.metadata import version\nsession.exec(query)\nre.compile("a")\nyaml.safe_load(text)\n'
    assert forbidden_uses(Source("modules/core/x.py", text)) == []
