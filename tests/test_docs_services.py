# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""docs/app.md, docs/serve.md and docs/command_line.md: their Python runs as printed, their commands and links exist;
and the Space is the page."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trimesh
import yaml

import lrm_hf
from lrm_hf import cli
from lrm_hf.app import Limits, Studio, create_page, create_server, page_application, serving


ROOT = Path(__file__).parents[1]
PAGES = ("app", "serve", "command_line")
TEXTS = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in PAGES}
BLOCKS = [
    (name, language, text)
    for name in PAGES
    for language, text in re.findall(r"```(\w+)\n(.*?)```", TEXTS[name], flags=re.DOTALL)
]
COMMANDS = [line for _, language, text in BLOCKS if language == "bash" for line in text.splitlines()]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    return tmp_path


def python(page: str, part: str) -> str:
    [text] = [text for name, language, text in BLOCKS if (name, language) == (page, "python") and part in text]
    return text


def run(text: str) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(compile(text, "docs", "exec"), scope)
    return scope


def test_a_script_calls_the_page(checkout: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra `app`")
    studio = Studio(limits=Limits(resolution=96))
    application = page_application(create_page(studio), studio)
    with serving.running(application, serving.open_port("127.0.0.1", 0)) as address:
        scope = run(python("app", "gradio_client").replace("http://127.0.0.1:7860", address))
    studio.close()
    assert len(trimesh.load(scope["glb"], force="mesh").faces) > 5000
    assert {Path(path).suffix for path in scope["paths"]} >= {".glb", ".gltf", ".obj", ".ply", ".stl"}


def test_a_program_uses_the_studio(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run(python("app", "Studio("))["mesh"].faces) <= 5000
    assert "barrel.glb" in capsys.readouterr().out


def test_a_script_posts_to_the_endpoint(checkout: Path) -> None:
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    with serving.running(create_server(Studio()), serving.open_port("127.0.0.1", 0)) as address:
        run(python("serve", "requests").replace("http://127.0.0.1:8000", address))
    assert 0 < len(trimesh.load(checkout / "barrel.glb", force="mesh").faces) <= 5000


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("lrm-hf")])
def test_commands_are_understood(command: str) -> None:
    assert callable(cli.build_parser().parse_args(shlex.split(command.split(" > ")[0])[1:]).run)


def test_options_and_commands_are_all_there(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("app", "serve"):
        assert cli.main([command, "--help"]) == 0
        help_text = capsys.readouterr().out
        for option in set(re.findall(r"`(--[a-z-]+)", TEXTS[command])):
            assert option in help_text
    assert cli.main(["--help"]) == 0
    help_text = capsys.readouterr().out
    listed = set(re.findall(r"\| `lrm-hf ([a-z-]+)`", TEXTS["command_line"]))
    assert listed == set(re.findall(r"^    ([a-z-]+)(?: |$)", help_text, flags=re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXTS[page]):
        assert target.startswith("http") or (ROOT / "docs" / target).exists(), target


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="needs the extra `completion`")
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("generate", "evaluate", "foreground-ratio", "max-queue"):
        assert word in script
    if shell == "bash":  # bash itself completes with it
        asked = '\nCOMP_WORDS=(lrm-hf ev); COMP_CWORD=1; _shtab_lrm_hf; echo "${COMPREPLY[@]}"\n'
        done = subprocess.run(["bash", "-c", script + asked], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.split() == ["evaluate"]


def test_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for module, command, advice in (
        ("gradio", ["app"], 'pip install "lrm_hf[app]"'),
        ("fastapi", ["serve"], 'pip install "lrm_hf[serve]"'),
        ("shtab", ["completion", "bash"], "pip install shtab"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        assert cli.main(command) == 2
        assert advice in capsys.readouterr().err


def test_other_mistakes_are_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--model", "a", "--model", "b"]) == 2
    assert "the endpoint has one model" in capsys.readouterr().err
    assert cli.main(["app", "--model", "./nowhere"]) == 2
    assert "There is no directory './nowhere'" in capsys.readouterr().err
    with serving.open_port("127.0.0.1", 0) as taken:
        assert cli.main(["app", "--port", str(taken.getsockname()[1])]) == 2
    assert "can't listen on 127.0.0.1" in capsys.readouterr().err


def test_only_this_machine_may_name_any_model() -> None:
    from lrm_hf.commands.app import _is_private

    assert all(map(_is_private, ("127.0.0.1", "localhost", "::1", "127.3.2.1")))
    assert not any(map(_is_private, ("0.0.0.0", "::", "192.168.0.2", "example.org", "")))


def test_the_space_is_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ROOT / "examples" / "space"
    header = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert header["sdk"] == "gradio" and header["app_file"] == "app.py" and header["license"] == "apache-2.0"
    # the version that the suite runs with
    assert f"gradio=={header['sdk_version']}\n" in (ROOT / "constraints-dev.txt").read_text(encoding="utf-8")
    assert len(header["short_description"]) <= 60
    assert (folder / "requirements.txt").read_text(encoding="utf-8").startswith("lrm_hf[app")
    served: dict[str, Any] = {}
    monkeypatch.setattr("lrm_hf.app.launch_page", lambda studio, **options: served.update(options, studio=studio))
    text = (folder / "app.py").read_text(encoding="utf-8")
    exec(compile(text, "app.py", "exec"), {"__name__": "__main__"})
    assert served["host"] == "0.0.0.0" and served["port"] == 7860
    assert served["studio"].any_model is False and served["studio"].models == ("bundled",)
    served["studio"].close()


def test_importing_the_package_imports_neither_gradio_nor_fastapi() -> None:
    code = "import sys, lrm_hf.app, lrm_hf.cli; print(sorted({'gradio', 'fastapi', 'uvicorn'} & set(sys.modules)))"
    source = {"PYTHONPATH": str(Path(lrm_hf.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=source, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
