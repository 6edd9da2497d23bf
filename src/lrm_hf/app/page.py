# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The Gradio page: what is where, and what calls what. It loads nothing from anywhere but its own server."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import serving
from .actions import Actions, mesh_settings
from .studio import BACKGROUNDS, CUT_OUTS, Studio


if TYPE_CHECKING:
    import gradio as gr


TITLE = "Picture to object"
EXAMPLES = Path(__file__).parent / "pictures"
# objects of a session whose page is closed go after this time at the latest; so do files that were handed out
KEPT_SECONDS = 3600
TEXTURES = (512, 1024, 2048, 4096)
CSS = """
.gradio-container { width: 100%; max-width: min(1280px, 100vw) !important; margin: 0 auto !important; }
.gradio-container main { min-width: 0; max-width: 100vw; }
#title h1 { margin-bottom: 0; }
#report { font-size: var(--text-sm); overflow-wrap: anywhere; }
#examples { flex-wrap: nowrap; gap: 8px; }
#examples button { flex-direction: column; gap: 4px; padding: 6px 2px; font-weight: 400; min-width: 0 !important; }
#remesh, #generate { min-height: 44px; }
#examples img { width: 64px; height: 64px; max-width: 100%; object-fit: contain; margin: 0; }
#files:has(.empty), #turntable:has(.empty) { display: none; }
button:focus-visible, input:focus-visible, [tabindex]:focus-visible {
  outline: 3px solid var(--color-accent) !important; outline-offset: 2px;
}
"""
# pictures that are pasted anywhere on the page go where dropped ones go
HEAD = """<script>
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  const input = document.querySelector("#pictures input[type=file]");
  if (!files.length || !input) return;
  const pasted = new DataTransfer();
  files.forEach((file) => pasted.items.add(file));
  input.files = pasted.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  event.preventDefault();
});
</script>"""


def create_page(studio: Studio, max_queue: int = 20) -> gr.Blocks:
    """The page, not yet served: see `launch_page`, and `page_application` for its looks and its limit on uploads.

    Args:
        studio: what does the work.
        max_queue: calls that may wait at a time; whoever comes then is told so.

    Raises:
        ImportError: without gradio.
        ValueError: if `max_queue` is not positive.
    """
    gr = _gradio()
    if isinstance(max_queue, bool) or not isinstance(max_queue, int) or max_queue < 1:
        raise ValueError(f"`max_queue` must be a positive whole number, got {max_queue!r}.")
    from ..meshing import EXPORT_FORMATS

    # all that can be written here: usdz needs usd-core
    has_usd = importlib.util.find_spec("pxr") is not None
    actions = Actions(studio, [suffix for suffix in EXPORT_FORMATS if suffix != "usdz" or has_usd])
    limits = studio.limits
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEPT_SECONDS // 4, KEPT_SECONDS)) as page:
        kept = gr.State((), time_to_live=KEPT_SECONDS, delete_callback=studio.results.drop)
        gr.Markdown(
            f"# {TITLE}\nDrop or paste a picture of an object, or take one of the four below, and press **Generate**.",
            elem_id="title",
        )
        with gr.Row():
            with gr.Column(min_width=320):
                pictures = gr.Gallery(
                    label=f"Pictures (up to {limits.pictures})",
                    type="filepath",
                    file_types=["image"],
                    interactive=True,
                    columns=3,
                    fit_columns=False,
                    height=220,
                    object_fit="contain",
                    buttons=[],
                    elem_id="pictures",
                )
                with gr.Row(elem_id="examples"):
                    examples = [
                        (path, gr.Button(path.stem.replace("_", " "), icon=path, size="sm", min_width=64))
                        for path in example_pictures()
                    ]
                generate = gr.Button("Generate", variant="primary", size="lg", elem_id="generate")
                with gr.Accordion("What the model sees", open=True):
                    seen = gr.Gallery(
                        show_label=False,
                        interactive=False,
                        columns=3,
                        fit_columns=False,
                        height=200,
                        object_fit="contain",
                        format="png",
                        buttons=[],
                        elem_id="seen",
                    )
                    ratio = gr.Slider(
                        0,
                        1,
                        value=0,
                        step=0.05,
                        label="Object's share of the frame",
                        info="0: as the model was trained",
                        elem_id="ratio",
                    )
                    with gr.Row():
                        cut_out = gr.Dropdown(
                            list(CUT_OUTS),
                            value="auto",
                            label="Cut out",
                            info="pictures without transparency",
                            min_width=140,
                        )
                        background = gr.Dropdown(
                            list(BACKGROUNDS), value="model", label="Background", info="behind it", min_width=140
                        )
                with gr.Accordion("Model and adapters", open=False):
                    model = gr.Dropdown(
                        list(studio.models),
                        value=studio.models[0],
                        allow_custom_value=studio.any_model,
                        label="Model",
                        info="a directory or a Hub repository" if studio.any_model else None,
                        elem_id="model",
                    )
                    adapters = gr.Textbox(
                        "",
                        lines=2,
                        label="LoRA adapters, one a line",
                        info="directory or Hub repository, then its strength, such as: me/my-style 0.8",
                        placeholder="none",
                        elem_id="adapters",
                    )
            with gr.Column(min_width=320):
                viewer = gr.Model3D(
                    label="Object",
                    interactive=False,
                    height=420,
                    clear_color=(0.96, 0.96, 0.97, 1.0),
                    camera_position=(90, 75, None),  # before the side that the picture shows, a little from above
                    elem_id="viewer",
                )
                which = gr.Radio([], label="Which object", visible=False, elem_id="which")
                number = gr.Number(0, precision=0, visible=False)
                report = gr.Markdown("Drag to turn, scroll or pinch to zoom.", label="Report", elem_id="report")
                files = gr.File(label="Files", file_count="multiple", interactive=False, elem_id="files")
                with gr.Accordion("Mesh", open=True):
                    resolution = gr.Slider(
                        16, limits.resolution, value=min(160, limits.resolution), step=8, label="Grid points per axis"
                    )
                    faces = gr.Slider(
                        0, 200_000, value=40_000, step=1000, label="Faces at most", info="0: all there are"
                    )
                    texture = gr.Dropdown(
                        # strings: the API tells its clients that choices are, whatever they are
                        [("colours of the vertices", "0")]
                        + [(f"{side} x {side} pixels", str(side)) for side in TEXTURES if side <= limits.texture],
                        value="0",
                        label="Texture",
                    )
                    extras = gr.CheckboxGroup(
                        [
                            ("largest piece only", "largest_component"),
                            ("smooth", "smooth"),
                            ("closed, for printing", "watertight"),
                            ("on the floor", "ground"),
                        ],
                        value=[],
                        label="And",
                    )
                    remesh = gr.Button("Make the mesh again", elem_id="remesh")
                video = gr.Video(
                    label="Turntable", autoplay=True, loop=True, interactive=False, height=320, elem_id="turntable"
                )

        picture_inputs = [pictures, model, cut_out, ratio, background]
        mesh_inputs = [resolution, faces, texture, extras]

        def on_see(pictures: Any, model: str, cut_out: str, foreground_ratio: float, background: str) -> list[Any]:
            """The pictures as the model would see them: cut out, framed, on its background."""
            return actions.see(pictures, model, cut_out, foreground_ratio, background)

        def on_generate(
            pictures: Any,
            model: str,
            adapters: str,
            cut_out: str,
            foreground_ratio: float,
            background: str,
            resolution: float,
            target_faces: float,
            texture: str,
            extras: list[str],
            kept: tuple[str, ...],
            progress: Any = gr.Progress(),  # noqa: B008
        ) -> Any:
            """Reconstructs the object of each picture; returns the first one's mesh, and what it took.
            `foreground_ratio` 0 is the model's own; `adapters` are lines such as `me/my-style 0.8`; 0 `target_faces`
            are all, 0 `texture` is none."""
            keys, path, text = actions.generate(
                pictures,
                model,
                adapters,
                cut_out,
                foreground_ratio,
                background,
                mesh_settings(resolution, target_faces, int(texture), extras),
                kept,
                progress,
            )
            return keys, str(path), text

        def on_mesh(
            kept: tuple[str, ...],
            number: int,
            resolution: float,
            target_faces: float,
            texture: str,
            extras: list[str],
            progress: Any = gr.Progress(),  # noqa: B008
        ) -> tuple[str, str]:
            """The mesh of an object that this session has generated, without running the model again."""
            settings = mesh_settings(resolution, target_faces, int(texture), extras)
            path, text = actions.mesh(kept, number, settings, progress)
            return str(path), text

        def on_turntable(kept: tuple[str, ...], number: int, progress: Any = gr.Progress()) -> str:  # noqa: B008
            """A video of an object that this session has generated, all around."""
            return str(actions.turntable(kept, number, progress))

        def on_files(kept: tuple[str, ...], number: int, progress: Any = gr.Progress()) -> list[str]:  # noqa: B008
            """Files of an object that this session has generated, one of each format."""
            return [str(path) for path in actions.files(kept, number, progress)]

        def on_names(kept: tuple[str, ...]) -> Any:
            names = actions.names(kept)
            choices = [(name, index) for index, name in enumerate(names)]
            return gr.Radio(choices, value=0, visible=len(names) > 1), 0

        # whatever computes waits in one line, so that ten people take no more memory than one
        work: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "work"}
        look: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "see"}
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        turned = {"fn": on_turntable, "inputs": [kept, number], "outputs": video, **work}
        written = {"fn": on_files, "inputs": [kept, number], "outputs": files, **work}

        for path, button in examples:
            button.click(functools.partial(list, [str(path)]), None, pictures, queue=False, **private).then(
                on_see, picture_inputs, seen, **look, **private
            )
        gr.on(
            [pictures.upload, pictures.delete, cut_out.input, ratio.input, background.input, model.input],
            on_see,
            picture_inputs,
            seen,
            api_name="see",
            show_progress="minimal",
            trigger_mode="always_last",
            **look,
        )
        generate.click(lambda: (None, None), None, [files, video], queue=False, **private)
        made = generate.click(
            on_generate,
            [pictures, model, adapters, cut_out, ratio, background, *mesh_inputs, kept],
            [kept, viewer, report],
            api_name="generate",
            show_progress_on=viewer,
            scroll_to_output=True,
            **work,
        )
        named = made.success(on_names, kept, [which, number], queue=False, **private)
        named.success(**written, api_name="files").success(**turned, api_name="turntable")
        meshed = remesh.click(
            on_mesh,
            [kept, number, *mesh_inputs],
            [viewer, report],
            api_name="mesh",
            show_progress_on=viewer,
            **work,
        )
        meshed.success(**written, api_visibility="private")
        chosen = which.input(lambda value: value, which, number, queue=False, **private).then(
            on_mesh,
            [kept, number, *mesh_inputs],
            [viewer, report],
            api_visibility="private",
            show_progress_on=viewer,
            **work,
        )
        chosen.success(**written, api_visibility="private").success(**turned, api_visibility="private")
    page.queue(max_size=max_queue, api_open=False, default_concurrency_limit=1)
    return page


def page_application(page: gr.Blocks, studio: Studio, root_path: str | None = None) -> Any:
    """The page as an ASGI application, with its looks and its limit on uploads. It closes `studio` when it is shut
    down.

    Args:
        page: of `create_page`.
        studio: the page's.
        root_path: where the page lies behind a proxy, such as "/objects".
    """
    gr = _gradio()
    from fastapi import FastAPI

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    # fonts of the reader's own machine: nothing is fetched
    theme = gr.themes.Soft(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"], primary_hue="blue"
    )
    return gr.mount_gradio_app(
        FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        root_path=root_path,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        show_error=True,
        max_file_size=studio.limits.upload_bytes,
        theme=theme,
        css=CSS,
        head=HEAD,
    )


def launch_page(
    studio: Studio,
    host: str = "127.0.0.1",
    port: int = 7860,
    max_queue: int = 20,
    root_path: str | None = None,
    started: Callable[[str], None] = print,
) -> None:
    """Serves the page until interrupted.

    Args:
        studio: what does the work; it is closed at the end.
        host: address to listen on; "0.0.0.0" for all of them.
        port: 0 for a free one.
        max_queue: calls that may wait at a time.
        root_path: where the page lies behind a proxy, such as "/objects".
        started: told the page's address once it can be opened.

    Raises:
        ImportError: without gradio.
        OSError: if the port is taken.
    """
    page = create_page(studio, max_queue)
    application = page_application(page, studio, root_path)
    try:
        # pages that are open keep a connection each, which does not end by itself
        serving.run(application, serving.open_port(host, port), started, graceful_seconds=2)
    finally:
        studio.close()


def example_pictures() -> list[Path]:
    """The pictures that ship with the package."""
    return sorted(EXAMPLES.glob("*.webp"))


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise ImportError('the page needs gradio: pip install "lrm_hf[app]"') from error
    return gradio
