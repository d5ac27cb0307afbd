"""The layout page must follow the tree, and the check must notice when it does not."""

import subprocess
import sys
from pathlib import Path

MAKE = Path(__file__).parents[3] / "tools" / "make_layout.py"


def make(root: Path, *arguments: str) -> tuple[int, str]:
    subprocess.run(["git", "-C", str(root), "add", "-A"], check=True)
    done = subprocess.run(
        [sys.executable, str(MAKE), *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def a_tree(root: Path) -> None:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    files = {
        "src/wayra/llm/facade.py": '"""Text in, text out."""\n',
        "src/wayra/engine/step.py": '"""Runs one step."""\n',
        "src/wayra/model/program.py": '"""The recorded Program."""\n',
        "src/wayra/backends/api.py": '"""What a backend is."""\n',
        "csrc/core/pool.h": "// Worker threads.\n#pragma once\n",
        "tools/make_layout.py": '"""Writes the page."""\n',
        "docs/layout.md": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_each_file_is_listed_with_its_purpose_and_folders_come_in_the_order_of_the_floors(tmp_path: Path) -> None:
    a_tree(tmp_path)
    assert make(tmp_path) == (0, "")
    page = (tmp_path / "docs" / "layout.md").read_text()
    assert "- `step.py` - Runs one step.\n" in page
    assert "- `pool.h` - Worker threads.\n" in page
    headings = [line[3:] for line in page.splitlines() if line.startswith("## ") and line.endswith("/")]
    floors = ["/", "src/wayra/model/", "src/wayra/backends/", "src/wayra/engine/", "src/wayra/llm/"]
    assert headings == [*floors, "csrc/core/", "tools/", "docs/"]


def test_a_sentence_over_several_comment_lines_is_listed_whole(tmp_path: Path) -> None:
    a_tree(tmp_path)
    comment = "// One. Two goes\n// on, and\n// ends here. Three is left out.\n// Four too.\n#pragma once\n"
    (tmp_path / "csrc/core/pool.h").write_text(comment)
    make(tmp_path)
    assert "- `pool.h` - One. Two goes on, and ends here.\n" in (tmp_path / "docs" / "layout.md").read_text()


def test_check_passes_on_a_fresh_page_and_fails_once_a_file_is_added(tmp_path: Path) -> None:
    a_tree(tmp_path)
    make(tmp_path)
    assert make(tmp_path, "--check") == (0, "")
    (tmp_path / "src/wayra/engine/more.py").write_text('"""More."""\n')
    code, output = make(tmp_path, "--check")
    assert code == 1
    assert "docs/layout.md is out of date" in output


def test_a_head_that_names_a_missing_file_is_refused(tmp_path: Path) -> None:
    a_tree(tmp_path)
    (tmp_path / "src/wayra/model/program.py").unlink()
    code, output = make(tmp_path)
    assert code == 1
    assert "names model/program.py, which does not exist" in output


def test_files_that_are_not_text_are_counted_not_read(tmp_path: Path) -> None:
    a_tree(tmp_path)
    (tmp_path / "tests/golden").mkdir(parents=True)
    (tmp_path / "tests/golden/logits.npz").write_bytes(b"PK\xed\xff")
    assert make(tmp_path) == (0, "")
    assert "## tests/golden/\n\n- and 1 data file\n" in (tmp_path / "docs" / "layout.md").read_text()
