"""`import wayra` is what every command pays first, so it may load nothing heavy."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "numpy", "tokenizers", "huggingface_hub", "starlette", "uvicorn", "rich", "wayra.llm")


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_wayra_loads_no_library_and_no_room() -> None:
    modules = loaded_after("import wayra")
    assert "wayra" in modules
    assert [name for name in HEAVY if name in modules] == []


def test_sampling_params_are_reached_without_the_facade_or_numpy() -> None:
    modules = loaded_after("from wayra import SamplingParams")
    assert "wayra.engine.request" in modules
    assert [name for name in HEAVY if name in modules] == []


def test_a_plan_is_made_without_numpy_or_the_engine() -> None:
    modules = loaded_after("import wayra.cli.plan")
    assert "wayra.plan.planner" in modules
    assert [name for name in HEAVY if name in modules] == []


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    code = "import wayra; wayra.nonesuch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AttributeError: module 'wayra' has no attribute 'nonesuch'" in done.stderr
