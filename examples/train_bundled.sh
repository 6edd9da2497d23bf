#!/usr/bin/env bash
# Trains the bundled model from nothing: renders the objects, trains in four runs, writes OUTPUT_DIR/pipeline.
#
#     examples/train_bundled.sh MESH_DIR OUTPUT_DIR [MORE_MESHES]
#
# MESH_DIR holds the training meshes (GLB, y up, front towards +z), MORE_MESHES those that join in the last run. Sweet
# Home 3D's furniture libraries become such folders with
#
#     python -m lrm_hf.training.furniture_library BlendSwap-CC-BY.sh3f Scopia.sh3f KatorLegaz.sh3f Reallusion.sh3f \
#         MORE_MESHES --without MESH_DIR --thinnest 0.08 --leave-out '*plug-*' '*switch*' '*dimmer*' '*antenna*' \
#         '*RJ-45*' 'billet-*' 'fleche-*' 'stationnement-*' 'window*' '*door*' '*Door*' rails passage-pieton \
#         livingroom_lamp1
#
# About an hour of rendering on one CPU core, three hours of training on one and two on two, 14 GB of memory. All parts
# go on where they were when the command is given again. STEPS, SECOND_STEPS, THIRD_STEPS and FOURTH_STEPS set the
# numbers of training steps, PROCEDURAL that of procedural objects in each of their four pools, HELD that of those that
# are held out, CALIBRATION how many of these are looked at, PYTHON the interpreter of an environment with the extra
# `train`.
set -euo pipefail
meshes=${1:?usage: $0 MESH_DIR OUTPUT_DIR [MORE_MESHES]}
output=${2:?usage: $0 MESH_DIR OUTPUT_DIR [MORE_MESHES]}
more=${3:-}
python=${PYTHON:-python}
here=$(dirname "${BASH_SOURCE[0]}")
pool=$output/pool

render() { # MESHES NAME OPTIONS
    "$python" -m lrm_hf.training.mesh_views "$1" "$pool/$2" "${@:3}"
}

train() { # NAME STEPS OPTIONS
    "$python" "$here/train_lrm.py" --output_dir "$output/$1" --max_train_steps "$2" --batch_size 8 --crop 16 \
        --save_every 250 "${@:3}"
}

# as their authors turned them, whole and stretched; turned about the vertical; in other proportions; and procedural
# objects
render "$meshes" front --sources 3 --targets 8 --variants 6 --fronts 6 --stretch 0.25
render "$meshes" turned --sources 4 --targets 12 --variants 3
warp=(--sources 3 --targets 8 --stretch 0.2 --warp 0.35 --seed 5)
render "$meshes" warped "${warp[@]}" --variants 8 --fronts 8
more_pools=()
if [ -n "$more" ]; then
    render "$more" more_warped "${warp[@]}" --variants 10 --fronts 10
    render "$more" more_turned --sources 4 --targets 12 --variants 3
    more_pools=("$pool/more_warped" "$pool/more_turned")
fi
for seed in 0 1 2 3; do
    "$python" -m lrm_hf.training.procedural "$pool/procedural$seed" --num-objects "${PROCEDURAL:-4000}" \
        --sources 2 --targets 8 --seed "$seed"
done

# what is inside of objects is learned first ...
train first "${STEPS:-7500}" --pool "$pool/front" "$pool/turned" "$pool/procedural0" --pool_weights 0.45 0.2 0.35 \
    --scales 2 2 1 1 --lift_upscales 2 3

# ... and then pictures and silhouettes, in which too many points that may be inside add up to too much opacity
again=(--warmup_steps 200 --learning_rate 1.4e-3 --muon_learning_rate 3.5e-3 --opacity_weight 1.0)
train second "${SECOND_STEPS:-7000}" "${again[@]}" --init_from "$output/first/pipeline/model" --seed 7 \
    --pool "$pool/front" "$pool/turned" "$pool/procedural0" "$pool/procedural1" --pool_weights 0.45 0.2 0.175 0.175 \
    --scales 2 1 1 --occupancy_weight 0.03
train third "${THIRD_STEPS:-7500}" "${again[@]}" --init_from "$output/second/pipeline/model" --seed 11 \
    --pool "$pool/front" "$pool/turned" "$pool/procedural2" "$pool/procedural3" --pool_weights 0.45 0.2 0.175 0.175 \
    --scales 1 --occupancy_weight 0.02

# ... and at last of more different objects, in planes that are a third finer
weights=(0.66 0.17 0.17)
[ -z "$more" ] || weights=(0.42 0.12 0.17 0.24 0.05)
train fourth "${FOURTH_STEPS:-7000}" "${again[@]}" --init_from "$output/third/pipeline/model" --seed 13 \
    --pool "$pool/warped" "$pool/turned" "$pool/procedural2" ${more_pools[@]+"${more_pools[@]}"} \
    --pool_weights "${weights[@]}" --scales 1 --lift_upscales 3 3 4 --occupancy_weight 0.02

# ... and the mean of the weights of both
[ -e "$output/pipeline" ] ||
    "$python" "$here/average_weights.py" "$output/fourth/pipeline" "$output/third/pipeline" "$output/pipeline"

# how sure it may be of objects that it has not seen
if [ ! -e "$output/calibrated" ]; then
    "$python" -m lrm_hf.training.procedural "$pool/held" --num-objects "${HELD:-60}" --sources 1 --targets 8 --seed 99
    "$python" "$here/calibrate_density.py" "$output/pipeline" --pool "$pool/held" \
        --objects "${CALIBRATION:-40}" --offsets 0 -0.2 -0.3 -0.4
    touch "$output/calibrated"
fi
