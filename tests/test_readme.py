"""The README's examples run, and its commands exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import running_hub
from hub_session import Session
from peft import get_peft_model

import lrm_hf
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
LOOPBACK = '"me/'  # repositories that a test's own Hub can stand in for


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A directory like the checkout's, where results may lie about."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [text for text in PYTHON if HUB not in text and LOOPBACK not in text],
    ids=lambda text: text.splitlines()[-1],
)
def test_python_runs_as_printed(text, checkout):
    scope: dict = {}
    # the same code at a coarser grid: only the waiting is cut short
    exec(
        compile(text.replace("pipe(", "pipe(mesh_resolution=64, height=64, width=64, image="), "README", "exec"), scope
    )
    if "my-adapter" in text:
        assert {"adapter_config.json", "adapter_model.safetensors"} <= set(os.listdir(checkout / "my-adapter"))
        assert scope["pipe"].get_list_adapters() == {}
    elif "pipe" in scope:
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


def test_sharing_as_printed(checkout):
    [text] = [text for text in PYTHON if LOOPBACK in text]
    model = lrm_hf.LRMModel.from_pretrained(lrm_hf.bundled_model())
    get_peft_model(model, lrm_hf.lora_config()).save_pretrained(checkout / "my-adapter")
    with running_hub() as hub:
        Session(hub, checkout).run_code(text)
    assert hub.repositories["me/my-lrm"].private
    assert "model/model.safetensors" in hub.repositories["me/my-lrm"].files
    adapter = hub.repositories["me/my-adapter"].files
    assert adapter["adapter_model.safetensors"] == (checkout / "my-adapter/adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("lrm-hf push")])
def test_push_knows_its_options(command, checkout, capsys):
    assert cli.main(["push", "--help"]) == 0
    help_text = capsys.readouterr().out
    words = shlex.split(command)[2:]
    options = [word for word in words if word.startswith("--")]
    assert options and all(option in help_text for option in options)
    assert cli.main(["push", *words]) == 2
    assert "there is no directory 'my-lrm/pipeline'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("lrm-hf generate")])
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
