#!/usr/bin/env bash
# Trains the bundled model from nothing: renders the objects, trains in two runs, writes OUTPUT_DIR/second/pipeline.
#
#     examples/train_bundled.sh MESH_DIR OUTPUT_DIR
#
# MESH_DIR holds the training meshes (GLB, y up, front towards +z). About 25 minutes of rendering and three hours of
# training on one CPU core, 14 GB of memory. All parts go on where they were when the command is given again.
# STEPS and SECOND_STEPS set the numbers of training steps, PROCEDURAL that of procedural objects in either of their two
# pools, CALIBRATION that of the held-out ones, PYTHON the interpreter of an environment with the extra `train`.
set -euo pipefail
meshes=${1:?usage: $0 MESH_DIR OUTPUT_DIR}
output=${2:?usage: $0 MESH_DIR OUTPUT_DIR}
python=${PYTHON:-python}
here=$(dirname "${BASH_SOURCE[0]}")
procedural=${PROCEDURAL:-4000}

# as their authors turned them, whole and stretched; turned about the vertical; and procedural objects
"$python" -m lrm_hf.training.mesh_views "$meshes" "$output/pool/front" \
    --sources 3 --targets 8 --variants 6 --fronts 6 --stretch 0.25
"$python" -m lrm_hf.training.mesh_views "$meshes" "$output/pool/turned" --sources 4 --targets 12 --variants 3
"$python" -m lrm_hf.training.procedural "$output/pool/procedural" --num-objects "$procedural" --sources 2 --targets 8
"$python" -m lrm_hf.training.procedural "$output/pool/procedural2" --num-objects "$procedural" --sources 2 --targets 8 --seed 1

# what is inside of objects is learned first ...
"$python" "$here/train_lrm.py" \
    --pool "$output/pool/front" "$output/pool/turned" "$output/pool/procedural" --pool_weights 0.45 0.2 0.35 \
    --output_dir "$output/first" --max_train_steps "${STEPS:-7500}" --batch_size 8 --crop 16 --save_every 250 \
    --scales 2 2 1 1 --lift_upscales 2 3

# ... and then pictures and silhouettes, in which too many points that may be inside add up to too much opacity
"$python" "$here/train_lrm.py" \
    --pool "$output/pool/front" "$output/pool/turned" "$output/pool/procedural" "$output/pool/procedural2" \
    --pool_weights 0.45 0.2 0.175 0.175 --init_from "$output/first/pipeline/model" \
    --output_dir "$output/second" --max_train_steps "${SECOND_STEPS:-7000}" --batch_size 8 --crop 16 --save_every 250 \
    --scales 2 1 1 --warmup_steps 200 --learning_rate 1.4e-3 --muon_learning_rate 3.5e-3 \
    --occupancy_weight 0.03 --opacity_weight 1.0 --seed 7

# how sure it may be of objects that it has not seen
if [ ! -e "$output/calibrated" ]; then
    "$python" -m lrm_hf.training.procedural "$output/pool/held" --num-objects 60 --sources 1 --targets 8 --seed 99
    "$python" "$here/calibrate_density.py" "$output/second/pipeline" --pool "$output/pool/held" \
        --objects "${CALIBRATION:-40}" --offsets 0 -0.2 -0.3 -0.4
    touch "$output/calibrated"
fi
