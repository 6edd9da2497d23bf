# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""OpenLRM's numbers. `tests/goldens/openlrm_v11` and `openlrm_v10` hold tiny checkpoints with random weights in the
layouts of the two versions, and what the original systems made of them: every stage from encoder to pictures, with the
sampling noise that they drew. The tolerances are those within which a correct float32 implementation lies; where one is
not plain rounding, the reason stands beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Dinov2WithRegistersConfig, ViTConfig

from lrm_hf import Cameras, LRMModel, RenderOutput, TriplaneField, camera_rays, orbit_cameras, render
from lrm_hf.modeling.encoder import encode_tokens
from lrm_hf.rendering import renderer
from lrm_hf.rendering.compositing import compositing_weights, neighbor_mean
from lrm_hf.rendering.sampling import importance_depths, ray_box_intersection, stratified_depths


GOLDENS = Path(__file__).parent.parent / "goldens"
ENCODER_SIZE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
ENCODERS = {
    "openlrm_v11": Dinov2WithRegistersConfig(**ENCODER_SIZE, image_size=518, patch_size=14),
    "openlrm_v10": ViTConfig(**ENCODER_SIZE, intermediate_size=192, image_size=224, patch_size=16),
}
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

ENCODED = {"atol": 2e-5, "rtol": 0}  # tokens and planes
POINTS = 1e-6  # of the largest value: densities reach 14, where one float32 step is as much
# rays may differ in the last bit; importance sampling makes this much of it
RENDERED = {"atol": 3e-4, "rtol": 0}
DEPTH = {"atol": 5e-4, "rtol": 0}
# Below this weight, a sum of a few float32 steps of 1 - exp(-x), depth is a quotient of rounding errors: there the
# original's own depth changes by 1e-3 with the instruction set that exp runs on.
VISIBLE = 1e-6
SAMPLES = 16
SIDE = 24


@dataclass
class Golden:
    origin: str
    model: LRMModel
    values: dict[str, Tensor]

    @cached_property
    def field(self) -> TriplaneField:
        return self.model.encode(self.preprocess(self["image"]), self["source_camera"])

    def __getitem__(self, name: str) -> Tensor:
        return self.values[name]

    def preprocess(self, images: Tensor) -> Tensor:
        return images if self.origin == "openlrm_v11" else (images - IMAGENET_MEAN) / IMAGENET_STD

    def noise(self, tag: str, mode: str, batch: int, views: int) -> tuple[Tensor, Tensor]:
        """Jitter and u as the original drew them ("seed"), or in the middle ("mid")."""
        shape = (batch, views, SIDE * SIDE, SAMPLES // 2)
        if mode == "mid":
            u = (torch.arange(SAMPLES // 2) + 0.5) / (SAMPLES // 2)
            return torch.full(shape, 0.5), u.expand(shape)
        return self[f"{tag}.seed.jitter"].reshape(shape), self[f"{tag}.seed.u"].reshape(shape)


@cache
def load(origin: str) -> Golden:
    model = LRMModel.from_original(GOLDENS / origin, encoder_config=ENCODERS[origin])
    return Golden(origin, model.requires_grad_(False), load_file(GOLDENS / origin / "golden.safetensors"))


@pytest.fixture(params=["openlrm_v11", "openlrm_v10"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return load(request.param)


@pytest.fixture
def v11() -> Golden:
    """For what is kept for one of the two only."""
    return load("openlrm_v11")


def grid(lower: Tensor, upper: Tensor, side: int) -> Tensor:
    """`(side^3, 3)` points, the last axis fastest."""
    axes = [torch.linspace(float(low), float(high), side) for low, high in zip(lower, upper, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def reference_rays(golden: Golden) -> tuple[Tensor, Tensor]:
    """The original's own directions: what follows them is then comparable to the last bits."""
    cameras = Cameras.from_render_vector(golden["render_cameras"]).reshape(4)
    directions = golden["render.ray_dirs"]
    return cameras.position[:, None].expand_as(directions), directions


def assert_views(golden: Golden, tag: str, mode: str, views: RenderOutput) -> None:
    name = f"{tag}.{mode}.images"
    torch.testing.assert_close(views.images, golden[f"{name}_rgb"], **RENDERED)
    torch.testing.assert_close(views.opacity, golden[f"{name}_weight"], **RENDERED)
    visible = golden[f"{name}_weight"] > VISIBLE
    torch.testing.assert_close(views.depth[visible], golden[f"{name}_depth"][visible], **DEPTH)
    # the original's depth of an empty ray is that of the farthest sample in the call; ours says that nothing is there
    empty = golden[f"{name}_weight"] == 0
    assert bool((views.depth[empty] == 0).all())
    assert bool((views.opacity[empty] == 0).all())


def test_golden_is_not_trivial(golden: Golden) -> None:
    """What the tolerances mean: planes of deviation 1, pictures with contrast, rays that hit and rays that miss."""
    assert float(golden["planes"].std()) > 0.8
    assert float(golden["render.seed.images_rgb"].std()) > 0.1
    assert float((golden["render.seed.images_weight"] > 0.9).float().mean()) > 0.05
    assert 0.05 < float((golden["miss.mid.images_weight"] > 0).float().mean()) < 0.1


class TestPlanes:
    def test_encoder(self, golden: Golden) -> None:
        pixel_values = golden.preprocess(golden["image"])
        torch.testing.assert_close(
            encode_tokens(golden.model.encoder, pixel_values), golden["encoder_feats"], **ENCODED
        )

    def test_encoder_on_a_picture_that_is_not_square(self, golden: Golden) -> None:
        size = {"openlrm_v11": "70x98", "openlrm_v10": "80x112"}[golden.origin]
        pixel_values = golden.preprocess(golden[f"image_u8_{size}"].float() / 255)
        tokens = encode_tokens(golden.model.encoder, pixel_values)
        torch.testing.assert_close(tokens, golden[f"encoder_feats_{size}"], **ENCODED)

    def test_register_tokens_are_the_ones_dropped(self, v11: Golden) -> None:
        tokens = v11.model.encoder(v11["image"]).last_hidden_state
        torch.testing.assert_close(tokens[:, 1:5], v11["encoder_regtokens"], **ENCODED)

    def test_position_interpolation(self, golden: Golden) -> None:
        side = golden["image"].shape[-1]
        tokens = torch.zeros(1, 26, 48)
        positions = golden.model.encoder.embeddings.interpolate_pos_encoding(tokens, side, side)
        torch.testing.assert_close(positions, golden["pos_embed_interp_5x5"], atol=1e-6, rtol=0)

    def test_legacy_interpolation_is_what_differs_from_todays(self) -> None:
        """Were the rule of transformers 4.35 not restored, DINO's positions would be off by up to 0.49."""
        golden = load("openlrm_v10")
        embeddings = golden.model.encoder.embeddings
        native = type(embeddings).interpolate_pos_encoding(embeddings, torch.zeros(1, 26, 48), 80, 80)
        assert float((native - golden["pos_embed_interp_5x5"]).abs().max()) == pytest.approx(0.4893, abs=1e-3)

    def test_camera_embedding(self, golden: Golden) -> None:
        embedding = golden.model.camera_embedder(golden["source_camera"])
        torch.testing.assert_close(embedding, golden["camera_embed"], atol=1e-6, rtol=0)

    def test_decoder_and_planes(self, golden: Golden) -> None:
        pixel_values = golden.preprocess(golden["image"])
        output = golden.model(pixel_values, source_cameras=golden["source_camera"], output_hidden_states=True)
        torch.testing.assert_close(output.hidden_states[1], golden["transformer_layer_0_out"], **ENCODED)
        tokens = golden.model.decoder.norm(output.hidden_states[2])
        torch.testing.assert_close(tokens, golden["transformer_tokens"], **ENCODED)
        torch.testing.assert_close(output.planes, golden["planes"], **ENCODED)

    def test_cameras_object_instead_of_a_vector(self, golden: Golden) -> None:
        cameras = Cameras.from_source_vector(golden["source_camera"])
        planes = golden.model(golden.preprocess(golden["image"]), source_cameras=cameras).planes
        torch.testing.assert_close(planes, golden["planes"], **ENCODED)

    def test_eager_attention_agrees(self, golden: Golden) -> None:
        model = LRMModel.from_original(
            GOLDENS / golden.origin, encoder_config=ENCODERS[golden.origin], attn_implementation="eager"
        )
        assert model.config._attn_implementation == "eager"
        planes = model(golden.preprocess(golden["image"]), source_cameras=golden["source_camera"]).planes
        torch.testing.assert_close(planes, golden["planes"], **ENCODED)


@pytest.mark.parametrize("whose", ["original's planes", "our planes"])
class TestField:
    """Of the original's planes, so that the rounding of what made ours is not counted again; then of our own."""

    @staticmethod
    def compare(golden: Golden, whose: str, name: str, points: Tensor) -> None:
        field, tolerance = golden.field, 5 * POINTS
        if whose == "original's planes":
            field, tolerance = golden.model.planes_to_field(golden["planes"]), POINTS
        for values, kind in zip(field.query(points), ("sigma", "rgb"), strict=True):
            expected = golden[f"{name}.{kind}"]
            scale = float(expected.abs().max())
            torch.testing.assert_close(values.reshape(expected.shape), expected, atol=tolerance * scale, rtol=0)

    def test_points(self, golden: Golden, whose: str) -> None:
        self.compare(golden, whose, "points", golden["points"])

    def test_grid_of_a_box(self, golden: Golden, whose: str) -> None:
        points = torch.stack([grid(*box, side=8) for box in golden["grid8_aabb.aabb"]])
        self.compare(golden, whose, "grid8_aabb", points)

    def test_grid_of_the_whole_field(self, v11: Golden, whose: str) -> None:
        points = grid(torch.full((3,), -1.0), torch.full((3,), 1.0), side=16).expand(2, -1, -1)
        self.compare(v11, whose, "grid16", points)


class TestSampling:
    def test_rays(self, golden: Golden) -> None:
        cameras = Cameras.from_render_vector(golden["render_cameras"]).reshape(4)
        _, directions = camera_rays(cameras, SIDE, SIDE)
        # a few bits of a unit vector
        torch.testing.assert_close(directions.reshape(4, -1, 3), golden["render.ray_dirs"], atol=5e-7, rtol=0)

    def test_near_and_far(self, golden: Golden) -> None:
        near, far, hit = ray_box_intersection(*reference_rays(golden), radius=1.0)
        assert 0.9 < float(hit.float().mean()) < 1
        torch.testing.assert_close(near[hit], golden["render.ray_start"][hit], atol=1e-6, rtol=0)
        torch.testing.assert_close(far[hit], golden["render.ray_end"][hit], atol=1e-6, rtol=0)

    @pytest.mark.parametrize(
        ("origin", "tag"), [("openlrm_v11", "miss"), ("openlrm_v10", "miss"), ("openlrm_v11", "crop")]
    )
    def test_near_and_far_of_our_own_rays(self, origin: str, tag: str) -> None:
        golden = load(origin)
        crop = {"anchors": golden["crop.anchors"].reshape(-1, 2), "full_size": (48, 48)} if tag == "crop" else {}
        views = golden["render_cameras" if tag == "crop" else "render_cameras_miss"]
        origins, directions = camera_rays(Cameras.from_render_vector(views).reshape(-1), SIDE, SIDE, **crop)
        near, far, hit = ray_box_intersection(origins.flatten(1, 2), directions.flatten(1, 2), radius=1.0)
        start, end = golden[f"{tag}.ray_start"], golden[f"{tag}.ray_end"]
        # A ray that grazes an edge of the box may as well miss it by a bit. A last bit of the direction moves the
        # crossing with a face that the ray runs along by more than one of the distance.
        inside = hit & ((end - start).abs() > 1e-4)
        assert int(inside.sum()) > 50
        torch.testing.assert_close(near[inside], start[inside], atol=2e-5, rtol=0)
        torch.testing.assert_close(far[inside], end[inside], atol=2e-5, rtol=0)
        weight = golden["crop.seed.images_weight" if tag == "crop" else "miss.mid.images_weight"]
        assert bool((weight.reshape(hit.shape)[~hit] == 0).all()), "what misses the box shows nothing in the original"

    def test_coarse_depths_weights_and_importance_samples(self, v11: Golden) -> None:
        origins, directions = reference_rays(v11)
        near, far, hit = ray_box_intersection(origins, directions, radius=1.0)
        hit = hit[..., 0]
        jitter = v11["render.seed.jitter"][..., 0]
        depths = stratified_depths(near, far, SAMPLES // 2, jitter)
        torch.testing.assert_close(depths[hit], v11["render.seed.depths_coarse"][..., 0][hit], atol=1e-6, rtol=0)

        depths = v11["render.seed.depths_coarse"][..., 0]
        points = origins[..., None, :] + depths[..., None] * directions[..., None, :]
        field = v11.model.planes_to_field(v11["planes"])
        raw, _ = field.raw(points.reshape(2, -1, 3))
        raw = raw.reshape(*depths.shape, 1).masked_fill((points.abs() > 1).any(dim=-1, keepdim=True), -1e9)
        density = field.density_from_raw(neighbor_mean(raw)[..., 0])
        weights = compositing_weights(density, depths[..., 1:] - depths[..., :-1])
        torch.testing.assert_close(weights[hit], v11["render.seed.weights_coarse"][..., 0][hit], atol=1e-5, rtol=0)

        u = v11["render.seed.u"].reshape(4, SIDE * SIDE, SAMPLES // 2)
        fine = importance_depths(depths, v11["render.seed.weights_coarse"][..., 0], u)
        torch.testing.assert_close(fine, v11["render.seed.depths_fine"][..., 0], atol=1e-6, rtol=0)


class TestRendering:
    @pytest.mark.parametrize("mode", ["seed", "mid"])
    def test_views(self, golden: Golden, mode: str) -> None:
        cameras = Cameras.from_render_vector(golden["render_cameras"])
        views = render(golden.field, cameras, SIDE, SIDE, noise=golden.noise("render", mode, 2, 2))
        assert_views(golden, "render", mode, views)

    def test_what_we_render_without_noise_is_the_middle(self, golden: Golden) -> None:
        cameras = Cameras.from_render_vector(golden["render_cameras"])
        assert_views(golden, "render", "mid", render(golden.field, cameras, SIDE, SIDE))

    def test_from_picture_to_views_in_one_call(self, golden: Golden) -> None:
        output = golden.model(
            golden.preprocess(golden["image"]),
            source_cameras=golden["source_camera"],
            render_cameras=golden["render_cameras"],
            height=SIDE,
            width=SIDE,
        )
        torch.testing.assert_close(output.images, golden["render.mid.images_rgb"], **RENDERED)

    @pytest.mark.parametrize(
        ("origin", "mode"), [("openlrm_v11", "seed"), ("openlrm_v11", "mid"), ("openlrm_v10", "mid")]
    )
    def test_rays_that_miss(self, origin: str, mode: str) -> None:
        golden = load(origin)
        cameras = Cameras.from_render_vector(golden["render_cameras_miss"])
        views = render(golden.field[0], cameras, SIDE, SIDE, noise=golden.noise("miss", mode, 1, 2))
        assert_views(golden, "miss", mode, views)

    def test_crops_on_grey(self, v11: Golden) -> None:
        cameras = Cameras.from_render_vector(v11["render_cameras"])
        views = render(
            v11.field,
            cameras,
            SIDE,
            SIDE,
            background=0.5,
            anchors=v11["crop.anchors"],
            full_size=(48, 48),
            noise=v11.noise("crop", "seed", 2, 2),
        )
        assert_views(v11, "crop", "seed", views)

    def test_gradients(self, v11: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of the mean squared colour. A sample within rounding of a kink of a ReLU goes either way and takes its share
        of the gradient along, so the original's own rays are fed in; what remains is the rounding of the depths."""
        origins, directions = (part.reshape(2, 2, SIDE, SIDE, 3) for part in reference_rays(v11))
        monkeypatch.setattr(renderer, "camera_rays", lambda *arguments: (origins, directions))
        planes = v11["planes"].clone().requires_grad_(True)
        mlp = {
            name: parameter.detach().requires_grad_(True) for name, parameter in v11.model.field_mlp.named_parameters()
        }
        field = TriplaneField(
            planes,
            tuple(mlp[f"layers.{i}.weight"] for i in range(4)),
            tuple(mlp[f"layers.{i}.bias"] for i in range(4)),
            v11.model.config.field_config,
        )
        cameras = Cameras.from_render_vector(v11["render_cameras"])
        views = render(field, cameras, SIDE, SIDE, noise=v11.noise("render", "seed", 2, 2))
        views.images.square().mean().backward()
        expected = {"planes": (planes.grad, v11["grad.planes__mean_rgb_sq__render_seed"])}
        for i in range(4):
            for kind in ("weight", "bias"):
                reference = v11[f"grad.synthesizer.decoder.net.{2 * i}.{kind}"]
                expected[f"layers.{i}.{kind}"] = (mlp[f"layers.{i}.{kind}"].grad, reference)
        for name, (gradient, reference) in expected.items():
            assert float((gradient - reference).norm() / reference.norm()) < 3e-4, name
            assert float((gradient - reference).abs().max() / reference.abs().max()) < 2e-3, name


class TestUpstreamBugs:
    """Where the original is wrong, ours must not agree."""

    def test_camera_inside_the_box_sees_nothing_behind_it(self, v11: Golden) -> None:
        cameras = Cameras.from_render_vector(v11["inside.camera"])
        origins, directions = camera_rays(cameras[0], 12, 12)
        behind = torch.minimum((-1 - origins) / directions, (1 - origins) / directions).amax(dim=-1)
        # the original enters here, behind the camera
        assert (float(behind.min()), float(behind.max())) == pytest.approx((-1.1320094, -0.5004710), abs=1e-5)
        near, far, hit = ray_box_intersection(origins, directions, radius=1.0)
        assert bool(hit.all())
        assert bool((near == 0).all())
        assert float(far.min()) > 0
        views = render(v11.field[0], cameras, 12, 12)
        assert bool(torch.isfinite(views.images).all())
        assert float(views.depth.min()) >= 0

    def test_camera_that_faces_away_sees_the_background(self, golden: Golden) -> None:
        cameras = Cameras.from_render_vector(golden["render_cameras"])
        turned = cameras.cam2world.clone()
        turned[..., :3, 0] *= -1  # half a turn about the camera's own y axis
        turned[..., :3, 2] *= -1
        views = render(golden.field, Cameras(turned, cameras.intrinsics), 8, 8)
        assert bool((views.images == 1).all())
        assert bool((views.opacity == 0).all())

    def test_three_cameras(self, v11: Golden) -> None:
        bug = v11["surround_extrinsics_3__torch_cross_bug"]
        assert not bool(torch.isfinite(bug).all())
        cameras = orbit_cameras(azimuths=[0, 180, 360], elevation=math.degrees(math.asin(0.4)))
        torch.testing.assert_close(cameras.position, bug[..., 3], atol=1e-6, rtol=0)  # that much of it is right
        cameras.validate()
        rotation = cameras.cam2world[:, :3, :3]
        torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(3, 3, 3), atol=1e-6, rtol=0)


class TestCameras:
    def test_default_source_camera(self, v11: Golden) -> None:
        vectors = v11.model.source_cameras(2).to_source_vector()
        torch.testing.assert_close(vectors, v11["default_source_camera_d2"], atol=1e-7, rtol=0)

    def test_orbit(self, golden: Golden) -> None:
        """Seven cameras at distance 2 and height 0.8: 1.1 divides the circle so that the last is the first again."""
        elevation = math.degrees(math.asin(0.8 / 2))
        if golden.origin == "openlrm_v10":
            cameras = orbit_cameras(7, elevation=elevation)
        else:
            cameras = orbit_cameras(azimuths=[60.0 * i for i in range(7)], elevation=elevation)
        torch.testing.assert_close(cameras.to_render_vector(), golden["surround_cameras_7"], atol=1e-6, rtol=0)

    def test_default_render_cameras(self, v11: Golden) -> None:
        cameras = orbit_cameras(azimuths=[0.0, 120.0, 240.0, 360.0], elevation=math.degrees(math.asin(0.4)))
        torch.testing.assert_close(cameras.to_render_vector(), v11["default_render_cameras_n4"][0], atol=1e-6, rtol=0)
