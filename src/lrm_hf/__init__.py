# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""One picture in, a coloured mesh and novel views out.

The names below are imported when they are first touched: `lrm_hf.LRMPipeline` brings diffusers in,
`lrm_hf.extract_mesh` trimesh. Importing the package itself registers the model types `"lrm"` and `"triposr"` with
transformers' `AutoConfig`, `AutoModel` and `AutoImageProcessor`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from transformers import ImageProcessingMixin as ImageProcessingMixin
    from transformers import PreTrainedModel as PreTrainedModel

    from .cameras import Cameras, camera_rays, look_at_cameras, orbit_cameras
    from .image_processing import LRMImageProcessor
    from .meshing import extract_mesh
    from .modeling.adapters import lora_config
    from .modeling.configuration_lrm import LRMConfig, TriplaneFieldConfig
    from .modeling.configuration_triposr import TripoSRConfig
    from .modeling.field import TriplaneField
    from .modeling.modeling_base import LRMModelOutput, LRMPreTrainedModel
    from .modeling.modeling_lrm import LRMModel
    from .modeling.modeling_triposr import TripoSRModel
    from .pipelines import LRMPipeline, LRMPipelineOutput
    from .rendering import RenderOutput, render


__version__ = "0.1.0"

__all__ = [
    "Cameras",
    "LRMConfig",
    "LRMImageProcessor",
    "LRMModel",
    "LRMModelOutput",
    "LRMPipeline",
    "LRMPipelineOutput",
    "LRMPreTrainedModel",
    "RenderOutput",
    "TriplaneField",
    "TriplaneFieldConfig",
    "TripoSRConfig",
    "TripoSRModel",
    "__version__",
    "bundled_model",
    "camera_rays",
    "extract_mesh",
    "look_at_cameras",
    "lora_config",
    "orbit_cameras",
    "render",
]

_HOMES = {
    "Cameras": "lrm_hf.cameras",
    "camera_rays": "lrm_hf.cameras",
    "look_at_cameras": "lrm_hf.cameras",
    "orbit_cameras": "lrm_hf.cameras",
    "LRMImageProcessor": "lrm_hf.image_processing",
    "extract_mesh": "lrm_hf.meshing",
    "lora_config": "lrm_hf.modeling.adapters",
    "LRMConfig": "lrm_hf.modeling.configuration_lrm",
    "TriplaneFieldConfig": "lrm_hf.modeling.configuration_lrm",
    "TriplaneField": "lrm_hf.modeling.field",
    "LRMModel": "lrm_hf.modeling.modeling_lrm",
    "LRMModelOutput": "lrm_hf.modeling.modeling_base",
    "LRMPreTrainedModel": "lrm_hf.modeling.modeling_base",
    "TripoSRConfig": "lrm_hf.modeling.configuration_triposr",
    "TripoSRModel": "lrm_hf.modeling.modeling_triposr",
    "LRMPipeline": "lrm_hf.pipelines",
    "LRMPipelineOutput": "lrm_hf.pipelines",
    "RenderOutput": "lrm_hf.rendering",
    "render": "lrm_hf.rendering",
    # diffusers looks up the base classes of a pipeline's components on the library that the components come from.
    "ImageProcessingMixin": "transformers.image_processing_base",
    "PreTrainedModel": "transformers.modeling_utils",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def bundled_model() -> str:
    """Directory of the small model that ships in the wheel, for `LRMPipeline.from_pretrained(lrm_hf.bundled_model())`.

    Raises:
        OSError: the installation lacks the model's files.
    """
    directory = Path(__file__).parent / "bundled"
    weights = sorted(directory.rglob("*.safetensors"))
    if not weights:
        raise OSError(
            f"The bundled model is missing: no .safetensors file below {directory}. The wheel carries it; install the "
            "package again, or check that the checkout or the packaging left no large files out."
        )
    return str(directory)


def _register_auto_classes() -> None:
    from transformers import AutoConfig, AutoModel

    # `from transformers import AutoImageProcessor` is a dummy in transformers 5.17 where torchvision is absent.
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    from .image_processing import LRMImageProcessor
    from .modeling.configuration_lrm import LRMConfig
    from .modeling.configuration_triposr import TripoSRConfig
    from .modeling.modeling_lrm import LRMModel
    from .modeling.modeling_triposr import TripoSRModel

    for config, model in ((LRMConfig, LRMModel), (TripoSRConfig, TripoSRModel)):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, model, exist_ok=True)
        AutoImageProcessor.register(config, image_processor_classes={"pil": LRMImageProcessor}, exist_ok=True)


_register_auto_classes()
