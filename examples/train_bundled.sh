#!/usr/bin/env bash
# Trains the bundled model from nothing: renders the objects, trains, writes OUTPUT_DIR/pipeline.
#
#     examples/train_bundled.sh MESH_DIR OUTPUT_DIR
#
# MESH_DIR holds the training meshes (GLB, y up, front towards +z). About 20 minutes of rendering and 100 minutes of
# training on one CPU core, 10 GB of memory. Both parts go on where they were when the command is given again.
# STEPS and PROCEDURAL set the numbers of training steps and of procedural objects, PYTHON the interpreter of an
# environment with the extra `train`.
set -euo pipefail
meshes=${1:?usage: $0 MESH_DIR OUTPUT_DIR}
output=${2:?usage: $0 MESH_DIR OUTPUT_DIR}
python=${PYTHON:-python}
here=$(dirname "${BASH_SOURCE[0]}")

# as their authors turned them, whole and stretched; turned about the vertical; and procedural objects
"$python" -m lrm_hf.training.mesh_views "$meshes" "$output/pool/front" \
    --sources 3 --targets 8 --variants 6 --fronts 6 --stretch 0.25
"$python" -m lrm_hf.training.mesh_views "$meshes" "$output/pool/turned" --sources 4 --targets 12 --variants 3
"$python" -m lrm_hf.training.procedural "$output/pool/procedural" --num-objects "${PROCEDURAL:-4000}" --sources 2 --targets 8

"$python" "$here/train_lrm.py" \
    --pool "$output/pool/front" "$output/pool/turned" "$output/pool/procedural" --pool_weights 0.45 0.2 0.35 \
    --output_dir "$output" --max_train_steps "${STEPS:-8000}" --batch_size 8 --crop 16 --save_every 250 \
    --scales 2 2 1 1 --lift_upscales 2 3
