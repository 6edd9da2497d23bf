"""The README's examples run, and its commands exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lrm_hf import cli


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.split("  #")[0].strip()
    for language, text in BLOCKS
    if language == "bash"
    for line in text.splitlines()
    if line.strip()
]
HUB = "zxhezexin/"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A directory like the checkout's, where results may lie about."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", [text for text in PYTHON if HUB not in text], ids=lambda text: text.split("\n")[0])
def test_python_runs_as_printed(text, checkout):
    scope: dict = {}
    # the same code at a coarser grid: only the waiting is cut short
    exec(
        compile(text.replace("pipe(", "pipe(mesh_resolution=64, height=64, width=64, image="), "README", "exec"), scope
    )
    if "pipe" in scope:
        assert (checkout / "barrel.glb").stat().st_size > 10_000
        assert (checkout / "barrel.png").stat().st_size > 1_000
        assert len(scope["out"].frames[0]) == 8
    else:
        assert scope["views"].images.shape == (1, 4, 3, 96, 96)
        assert len(scope["mesh"].faces) > 500


def test_the_hub_example_names_what_the_tests_of_the_checkpoints_load():
    [text] = [text for text in PYTHON if HUB in text]
    repositories = ("zxhezexin/openlrm-mix-base-1.1", "stabilityai/TripoSR")
    assert text == "".join(f'pipe = lrm_hf.LRMPipeline.from_pretrained("{name}")\n' for name in repositories)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("lrm-hf")])
def test_generate_as_printed(command, checkout, capsys):
    arguments = shlex.split(command)[1:] + shlex.split("--resolution 64 --view-size 64 --views 4")
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    for name in ("barrel.glb", "barrel.mp4", "teddy_bear.glb", "teddy_bear.mp4"):
        assert (checkout / "results" / name).stat().st_size > 1_000
        assert name in printed


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("lrm-hf")])
def test_other_commands_exist(command):
    words = shlex.split(command)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE)
    elif words[:2] == ["pip", "install"]:
        assert words[2] in (".", ".[train]")
        assert "\ntrain =" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
    else:
        program = words[1:3] if words[1] == "-m" else [str(ROOT / words[2])]
        options = [word for word in words if word.startswith("--")]
        help_text = subprocess.run(
            [sys.executable, *program, "--help"], capture_output=True, text=True, timeout=120, check=True
        ).stdout
        assert all(option in help_text for option in options), options


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if target.startswith("https://raw.githubusercontent.com/lrm-hf/lrm_hf/main/"):
            target = target.removeprefix("https://raw.githubusercontent.com/lrm-hf/lrm_hf/main/")
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
