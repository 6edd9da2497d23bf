# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What exactly is measured: the numbers that decide a score are fields of `Protocol`, and their hash goes with it.

`PROTOCOLS` holds the three that there are: `views` in the object's own frame, and `triposr` and `sf3d` after the
reports of these names, for models that do not know the camera of their picture.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass

from ..cameras import Cameras, orbit_cameras


# Raised whenever code changes a score that the fields below do not describe: results of different revisions are not
# comparable, and nor are cached ground truths.
REVISION = 1


@dataclass(frozen=True)
class Protocol:
    """One way to measure. Lengths are in world units after the object's own normalisation (`load_object`: the centre of
    the bounding box at the origin, half its diagonal 1), angles in degrees.

    Attributes:
        name: what `--protocol` calls it.
        source: where it comes from, and what that source leaves open.
        elevation: of the input and of all views. The input is seen from azimuth 0.
        input_size: pixels of the input picture.
        azimuths: of the views that are compared, the input's own (0) first; empty: no picture is compared.
        size: pixels of the views.
        antialias: rays per pixel along each axis, for input and views.
        distance, focal: of all cameras.
        background: grey of the compared pictures, 0 to 1.
        error_floor: least mean squared error of a view, so that the exact copies of a symmetrical object do not decide
            a mean of PSNRs.
        alignment: `"camera"`: none, the prediction is in the object's frame since the camera is known; `"search"`:
            rotations are tried, then ICP.
        search_azimuths: rotations about the vertical that are tried.
        search_tilts: rotations about the horizontal axis across the line of sight that each of them is tried with.
        search_points, icp_iterations: points of either surface in search and ICP, and the most steps of ICP.
        normalisation: of the compared surfaces, `"object"`: as the ground truth's file was normalised; `"cube"`: each
            by its own bounding box, centre to the origin and longest side to 2.
        mesh_resolution: grid points per axis of the mesh that is made of a field.
        num_points: points sampled on either surface.
        num_directions: in which it is looked whether the outside is to be seen from a point.
        thresholds: of the F-scores.
        volume_resolution: cells per axis of [-1, 1]^3.
        least_volume: cells that the truth must have inside for its volume IoU to count.
        failed_chamfer: Chamfer distance of a prediction without a surface; its other geometric scores are 0.
        seed: of all sampling.
    """

    name: str
    source: str
    azimuths: tuple[float, ...]
    alignment: str
    normalisation: str
    input_size: int = 128
    mesh_resolution: int = 192
    num_points: int = 20_000
    search_azimuths: int = 0
    search_tilts: tuple[float, ...] = ()
    search_points: int = 1_000
    icp_iterations: int = 50
    elevation: float = 20.0
    size: int = 128
    antialias: int = 4
    distance: float = 2.0
    focal: float = 0.75
    background: float = 1.0
    error_floor: float = 1e-5
    num_directions: int = 64
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.5)
    volume_resolution: int = 64
    least_volume: int = 100
    failed_chamfer: float = 1.0
    seed: int = 0

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with anything that may change a score, words aside."""
        settings = {key: value for key, value in asdict(self).items() if key != "source"}
        text = json.dumps({**settings, "revision": REVISION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def input_camera(self) -> Cameras:
        """Shape `()`."""
        return orbit_cameras(azimuths=(0.0,), elevation=self.elevation, distance=self.distance, focal=self.focal)[0]

    def cameras(self) -> Cameras:
        """Of the compared views, the input's own first: shape `(len(azimuths),)`."""
        return orbit_cameras(azimuths=self.azimuths, elevation=self.elevation, distance=self.distance, focal=self.focal)

    def words(self) -> list[str]:
        """The protocol in sentences, one string per subject, made from the fields."""
        rays = f"{self.antialias} x {self.antialias} rays per pixel"
        camera = f"distance {self.distance:g}, focal length {self.focal:g} of the picture's side"
        lines = [
            f"Source: {self.source}",
            "Ground truth: a mesh file, glTF and OBJ with y up and the front towards +z, PLY and STL with z up and the "
            "front towards -y; centred, and scaled so that half the diagonal of its bounding box is 1. Pictures by ray "
            "casting (embree), two-sided half-Lambert shading under one light that is fixed in the world.",
            f"Input: one picture from azimuth 0, elevation {self.elevation:g}, {camera}, {self.input_size} x "
            f"{self.input_size} pixels, {rays}, with its alpha channel. "
            + (
                "The model gets it as the camera saw it, and the camera."
                if self.alignment == "camera"
                else "The model frames it by its own rules, and is not told the camera."
            ),
        ]
        if self.azimuths:
            novel = ", ".join(f"{azimuth:g}" for azimuth in self.azimuths[1:])
            lines.append(
                f"Views: azimuths {novel} at elevation {self.elevation:g} are the novel views, azimuth 0 is the own "
                f"view; {camera}, {self.size} x {self.size} pixels, {rays}, on a background of {self.background:g}. A "
                f"score is averaged over views, then over objects. PSNR per view, on a range of 1, with an error floor "
                f"of {self.error_floor:g} ({self.largest_psnr:g} dB); SSIM with a Gaussian window of sigma 1.5 on the "
                "three channels (Wang et al. 2004); LPIPS with AlexNet; mask IoU of opacities cut at one half."
                + (
                    " Views are rendered from where the alignment puts the cameras."
                    if self.alignment != "camera"
                    else ""
                )
            )
        else:
            lines.append("Views: none.")
        lines.append(
            f"Surfaces: the model's mesh at {self.mesh_resolution} grid points per axis and its own density threshold; "
            f"{self.num_points} points on either surface, uniform by area over what can be seen from outside: a point "
            f"counts if a ray in one of {self.num_directions} directions leaves without meeting the mesh. Triangles "
            "are opaque and two-sided, textures' transparency is not looked at."
        )
        if self.alignment == "camera":
            lines.append("Alignment: none; the known camera puts the prediction into the object's frame.")
        else:
            tilts = ", ".join(f"{tilt:g}" for tilt in self.search_tilts)
            lines.append(
                f"Alignment: {self.search_azimuths} rotations about the vertical, each with tilts of {tilts} about the "
                f"axis across the line of sight, are tried with {self.search_points} points of either surface; the one "
                f"of the least Chamfer distance is refined by at most {self.icp_iterations} steps of point-to-point "
                "ICP (rotation and translation), and the result is taken if it lowers the Chamfer distance."
            )
        if self.normalisation == "cube":
            lines.append(
                "Normalisation of surfaces: each by the bounding box of its own points (the prediction's after each "
                "rotation that is tried), centre to the origin and longest side to 2."
            )
        lines.append(
            "Chamfer distance: mean of the two directions' mean distances to the nearest point, not squared, in those "
            "units. F-score: harmonic mean of the shares of either set that lie within "
            f"{', '.join(f'{value:g}' for value in self.thresholds)} of the other. Normal consistency: mean of "
            "|cosine| between a point's normal and that of its nearest neighbour, both directions averaged. Volume "
            f"IoU: on {self.volume_resolution}^3 cell centres of [-1, 1]^3, those from which no ray of the "
            f"{self.num_directions} leaves being inside, so that no mesh need be watertight; left out, for all "
            f"methods, where the truth has fewer than {self.least_volume} cells inside, as open sheets do."
        )
        lines.append(
            f"A prediction without a surface counts with a Chamfer distance of {self.failed_chamfer:g} and 0 "
            f"elsewhere. Seed {self.seed}."
        )
        return lines

    @property
    def largest_psnr(self) -> float:
        return -10 * math.log10(self.error_floor)


VIEWS = Protocol(
    name="views",
    source="lrm_hf's own; the known camera makes pictures and surfaces comparable without alignment.",
    azimuths=(0.0, 30.0, -30.0, 60.0, -60.0, 90.0, -90.0, 135.0, 180.0),
    alignment="camera",
    normalisation="object",
)
TRIPOSR = Protocol(
    name="triposr",
    source="TripoSR's report (Tochilkin et al. 2024): 10,000 points, Chamfer distance and F-score after a linear "
    "search of the rotation angle and ICP. It does not state the input's camera, the normalisation, the number "
    "of angles or whether distances are squared: these are ours.",
    azimuths=(),
    alignment="search",
    normalisation="cube",
    input_size=512,
    antialias=2,
    mesh_resolution=256,
    num_points=10_000,
    search_azimuths=72,
    search_tilts=(0.0,),
)
SF3D = Protocol(
    name="sf3d",
    source="SF3D's report (Boss et al. 2024): normalised meshes, brute-force rotation alignment by Chamfer distance, "
    "ICP on rotation and translation, then Chamfer distance and F-score; 16 views around the object of which a frontal "
    "one is the input; picture scores after such an alignment are indicative. It does not state elevation, number of "
    "points, normalisation or rotations: these are ours.",
    azimuths=tuple(22.5 * index for index in range(16)),
    alignment="search",
    normalisation="cube",
    input_size=512,
    antialias=2,
    mesh_resolution=256,
    num_points=10_000,
    search_azimuths=24,
    search_tilts=(-30.0, -15.0, 0.0, 15.0, 30.0),
)
PROTOCOLS = {protocol.name: protocol for protocol in (VIEWS, TRIPOSR, SF3D)}
