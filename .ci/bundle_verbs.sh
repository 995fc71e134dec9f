#!/usr/bin/env bash
# Pack a bundle, unpack it elsewhere, and hand it to MONAI's own commands; nothing is downloaded.
#   .ci/bundle_verbs.sh NAME FOLDER      FOLDER: a new one, for everything that is written
set -euo pipefail
name=$1 folder=$2
bin="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin"
mkdir -p "$folder"
cd "$folder"

"$bin/medseg" bundle pack "$name" -o "$name.zip"
"$bin/medseg" bundle unpack "$name.zip" -o "$name"
cd "$name"
meta=configs/metadata.json
files="['configs/common.yaml','configs/inference.yaml']"
# Sizes that the network takes: n = 2 in the metadata's "16*n", as InstanceNorm has nothing to average over at n = 1.
shape=$("$bin/python" -c "
import json
image = json.load(open('$meta'))['network_data_format']['inputs']['image']
sizes = [size if isinstance(size, int) else eval(size, {'n': 2}) for size in image['spatial_shape']]
print(str([1, image['num_channels'], *sizes]).replace(' ', ''))")

monai() {  # one of MONAI's commands; its log is shown where it fails
  "$bin/python" -m monai.bundle "$@" > ../monai.log 2>&1 || { cat ../monai.log; echo "monai.bundle $1 refuses $name"; return 1; }
  grep -hE 'verified with no error|exported to file' ../monai.log | sed 's/^.*INFO - //'
}

monai verify_metadata --meta_file "$meta" --filepath docs/metadata.schema.json
monai verify_net_in_out network_def --meta_file "$meta" --config_file "$files" --n 2
# Traced, as MONAI's DynUNet cannot be scripted.
monai ckpt_export network_def --filepath ../model.ts --ckpt_file models/model.pt --key_in_ckpt "" \
  --meta_file "$meta" --config_file "$files" --use_trace True --input_shape "$shape"
monai onnx_export network_def --filepath ../model.onnx --ckpt_file models/model.pt --key_in_ckpt "" \
  --meta_file "$meta" --config_file "$files" --input_shape "$shape"
test -s ../model.ts && test -s ../model.onnx
