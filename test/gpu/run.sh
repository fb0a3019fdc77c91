#!/usr/bin/env bash
# Tests and measures the CUDA kernels on the GPUs of this machine. Needs nvcc and a GPU, nothing else of this
# project: no Node, no TensorRT. cuBLASLt is opened at run time where it is installed.
#
#   bash test/gpu/run.sh                  correctness, overlap, bandwidth; a table, and results in build-gpu/gpu.json
#   bash test/gpu/run.sh --tune FILE      also writes the algorithm table that was measured
#   bash test/gpu/run.sh --compile-only   only compiles, for sm_80, sm_90 and sm_100; needs no GPU
#
# NVCC names the compiler, KRAKEN_GPU_BUILD the folder of what is built. Ends with 1 when a check failed.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
build="${KRAKEN_GPU_BUILD:-$root/build-gpu}"
compile_only=false
tune=()
while [ $# -gt 0 ]; do
  case "$1" in
    --compile-only) compile_only=true ;;
    --tune)
      [ $# -ge 2 ] || { echo "run.sh: --tune needs a file to write" >&2; exit 2; }
      tune=(--tune "$2")
      shift
      ;;
    *) echo "run.sh: unknown argument $1 (known: --compile-only, --tune FILE)" >&2; exit 2 ;;
  esac
  shift
done

find_nvcc() {
  local candidate
  for candidate in "${NVCC:-}" "$(command -v nvcc || true)" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" \
    "$root"/.toolchain/*/bin/nvcc "$root"/.toolchain/*/nvidia/cu*/bin/nvcc; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then echo "$candidate"; return; fi
  done
  echo "run.sh: no nvcc found: install a CUDA toolkit, run \`npm run toolchain:gpu\`, or set NVCC" >&2
  return 1
}
nvcc="$(find_nvcc)"

if $compile_only; then
  architectures=(80 90 100)
else
  command -v nvidia-smi >/dev/null || { echo "run.sh: no GPU here (no nvidia-smi); --compile-only needs none" >&2; exit 1; }
  # What the GPUs are, each once: 8.0 becomes 80.
  mapfile -t architectures < <(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d . | sort -u)
fi
targets=()
for architecture in "${architectures[@]}"; do
  targets+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
done

# C++17 for the kernels, which ship; C++20 for the tests around them.
flags=(-O2 -lineinfo -Werror all-warnings -Xcompiler=-Wall,-Wextra,-Werror
  -I"$root/plugins/kernels" -I"$root/test/kernels" -I"$root/test/gpu" "${targets[@]}")
mkdir -p "$build"
objects=()
compile() { # standard, source
  local object="$build/$(basename "$2").o"
  objects+=("$object")
  if [ -e "$object.made-of" ] && [ "$(cat "$object.made-of")" = "$made_of" ]; then return; fi
  echo "compile $(realpath --relative-to="$root" "$2")" >&2
  "$nvcc" "-std=c++$1" "${flags[@]}" -x cu -c "$2" -o "$object"
  echo "$made_of" >"$object.made-of"
}
made_of="$(cat "$root"/plugins/kernels/*.* "$root"/test/kernels/*.* "$root"/test/gpu/*.* | sha256sum) ${targets[*]} $nvcc"
for source in "$root"/plugins/kernels/*.cu "$root"/plugins/kernels/*.cpp; do compile 17 "$source"; done
for source in "$root"/test/kernels/*_cases.cpp "$root"/test/gpu/*.cpp "$root"/test/gpu/*.cu; do compile 20 "$source"; done
"$nvcc" "${targets[@]}" "${objects[@]}" -o "$build/kraken-gpu-test" -ldl -lpthread
echo "built $build/kraken-gpu-test for sm ${architectures[*]}" >&2
if $compile_only; then exit 0; fi

# Ranks that share a GPU need a hardware queue each.
export CUDA_DEVICE_MAX_CONNECTIONS=32
"$build/kraken-gpu-test" --json "$build/gpu.json" "${tune[@]}"
if command -v compute-sanitizer >/dev/null; then
  # One rank: tools that slow kernels down a hundredfold serialise them too, and ranks would wait for one another.
  for tool in memcheck racecheck synccheck; do
    echo "compute-sanitizer $tool" >&2
    compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/kraken-gpu-test" --one-rank
  done
else
  echo "compute-sanitizer: not installed, skipped" >&2
fi
