#!/usr/bin/env bash
# Tests and measures the CUDA kernels and communicators on the GPUs of this machine. Needs nvcc and a GPU, nothing else
# of this project: no Node, no TensorRT. cuBLASLt and NCCL are opened at run time where they are installed (on the loader's
# path, beside nvcc, among the packages of the Python on the path). Where TensorRT, Node and this project's builds (`npm run setup`, `npm run build:gpu`) are there, it goes on to engines (engines.ts).
#
#   bash test/gpu/run.sh                  correctness, overlap, bandwidth; a table, and results in build-gpu/gpu.json
#   bash test/gpu/run.sh --tune FILE      also measures every algorithm, and writes the table of the fastest
#   bash test/gpu/run.sh --compile-only   only compiles, for sm_80, sm_90 and sm_100; needs no GPU
#
# NVCC and NODE name the compiler and the node for engines, KRAKEN_GPU_BUILD the folder of what is built. All of it takes
# at most KRAKEN_GPU_SECONDS (480); what there was no time for is listed at the end. Ends with 1 when a check failed.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
build="${KRAKEN_GPU_BUILD:-$root/build-gpu}"
bound="${KRAKEN_GPU_SECONDS:-480}"
left() { echo $((bound - SECONDS)); }
left_out=()
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
toolkit="$(cd "$(dirname "$(readlink -f "$nvcc")")/.." && pwd)"

# A compiler that this was not tried with may warn of more: no reason not to run.
strict=()
if $compile_only; then
  architectures=(80 90 100)
  strict=(-Werror all-warnings -Xcompiler=-Werror)
else
  command -v nvidia-smi >/dev/null || { echo "run.sh: no GPU here (no nvidia-smi); --compile-only needs none" >&2; exit 1; }
  # What the GPUs are, each once: 8.0 becomes 80.
  mapfile -t architectures < <(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d . | grep -E '^[0-9]+$' | sort -u)
  if [ ${#architectures[@]} -eq 0 ]; then
    echo "run.sh: no GPU here: nvidia-smi names none ($(nvidia-smi -L 2>&1 | head -1))" >&2
    exit 1
  fi
fi
targets=()
for architecture in "${architectures[@]}"; do
  targets+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
done

# C++17 for the kernels, which ship; C++20 for communicators and tests. A file without kernels needs no GPU's code.
flags=(-O2 "${strict[@]}" -Xcompiler=-Wall,-Wextra
  -I"$root/plugins/kernels" -I"$root/plugins" -I"$root/test/kernels" -I"$root/test/gpu"
  -I"$root/native")
mkdir -p "$build"
build="$(cd "$build" && pwd)"
objects=()
pending=()
hash_of() { cat "$@" | sha256sum; }
of_kernels="$(hash_of "$root"/plugins/kernels/*.{h,cuh,cu,cpp}) ${flags[*]} ${targets[*]} $nvcc"
of_all="$of_kernels $(hash_of "$root"/plugins/{common,communicator}/*.h "$root"/plugins/communicator/*.cpp \
  "$root"/plugins/*.h "$root"/test/kernels/*.{h,cpp} "$root"/test/gpu/*.{h,cpp,cu} \
  "$root"/native/runtime/vector_math.{h,cpp})"
compile() { # standard, what it is made of, source
  local object="$build/$(basename "$3").o"
  objects+=("$object")
  if [ -e "$object.made-of" ] && [ "$(cat "$object.made-of")" = "$2" ]; then return; fi
  rm -f "$object.made-of"
  pending+=("$@" "$object")
}
for source in "$root"/plugins/kernels/*.c{u,pp}; do compile 17 "$of_kernels" "$source"; done
for source in "$root"/plugins/communicator/*.cpp "$root"/test/kernels/*_cases.cpp "$root"/test/gpu/*.c{pp,u} \
  "$root/native/runtime/vector_math.cpp"; do
  compile 20 "$of_all" "$source"
done

build_one() { # standard, what it is made of, source, object
  local language=()
  if [[ "$3" == *.cu ]]; then language=(-lineinfo "${targets[@]}"); fi
  echo "compile ${3#"$root/"}" >&2
  "$nvcc" "-std=c++$1" "${flags[@]}" "${language[@]}" -c "$3" -o "$4" && echo "$2" >"$4.made-of"
}
jobs="$(nproc)"
for ((i = 0; i < ${#pending[@]}; i += 4)); do
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || exit 1; done
  build_one "${pending[@]:i:4}" &
done
while [ -n "$(jobs -rp)" ]; do wait -n || exit 1; done
for object in "${objects[@]}"; do
  [ -e "$object.made-of" ] || { echo "run.sh: ${object##*/} was not compiled" >&2; exit 1; }
done
# pip's nvcc may look for its libraries in lib64, and have them in lib.
"$nvcc" "${targets[@]}" "${objects[@]}" -o "$build/kraken-gpu-test" -cudadevrt none -L"$toolkit/lib" -ldl -lpthread
echo "built $build/kraken-gpu-test for sm ${architectures[*]} in $SECONDS s" >&2
if $compile_only; then exit 0; fi

node="${NODE:-node}"
engines() { (cd "$root" && "$@" "$node" --import tsx test/gpu/engines.ts --backend tensorrt "${engine_options[@]}"); }
engines_missing() { # why engines cannot run here; nothing where they can
  command -v "$node" >/dev/null || { echo "no Node here (NODE may name it)"; return; }
  [ -d "$root/node_modules/tsx" ] || { echo "no packages of this project here: \`npm run setup\`"; return; }
  local engine_options=(--missing)
  engines env 2>&1 || echo "engines.ts does not start"
}
without_engines="$(engines_missing)"

# Ranks that share a GPU need a hardware queue each, and must not wait for one another to load a kernel.
export CUDA_DEVICE_MAX_CONNECTIONS=32 CUDA_MODULE_LOADING=EAGER
own_libraries="${LD_LIBRARY_PATH:-}"
python_packages="$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' 2>/dev/null || true)"
for folder in "$toolkit"/lib64 "$toolkit"/lib "$toolkit"/targets/*/lib ${python_packages:+"$python_packages"/nvidia/*/lib}; do
  for library in "$folder"/libcublasLt.so.1[23] "$folder"/libnccl.so.2; do
    if [ -e "$library" ]; then
      export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"
      break
    fi
  done
done
sanitizers=(memcheck racecheck synccheck)
sanitizer="$(command -v compute-sanitizer || command -v "$toolkit/bin/compute-sanitizer" || true)"
# What does not begin while there is time for it and for the sanitizers is left out; what hangs is ended.
reserved=$((bound / 4 > 30 ? bound / 4 : 30))
for_engines=0
if [ -z "$without_engines" ]; then for_engines=$((bound / 3)); fi
beside=$((reserved + for_engines))
seconds=$(($(left) > beside ? $(left) - beside : 0))
rm -f "$build/gpu.json"
part_seconds=$((bound / 4 > 60 ? bound / 4 : 60))
status=0
timeout -k 5 "$(($(left) > 20 ? $(left) - 10 : 10))" "$build/kraken-gpu-test" --json "$build/gpu.json" \
  --seconds "$seconds" --part-seconds "$part_seconds" "${tune[@]}" || status=$?
if [ "$status" -ge 124 ]; then
  running="$(sed -n 's/.*"running": "\(.*\)",/\1/p' "$build/gpu.json" 2>/dev/null || true)"
  left_out+=("what came after \"${running:-the start}\", which was ended (status $status); gpu.json has what came before")
fi
if [ -n "$without_engines" ]; then
  echo "engines: skipped: $without_engines"
elif [ "$(left)" -le $((reserved + 5)) ]; then
  left_out+=("engines")
else
  for_engines=$(($(left) - reserved))
  devices="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | wc -l)"
  if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then devices="$(tr , '\n' <<<"$CUDA_VISIBLE_DEVICES" | wc -l)"; fi
  engine_options=(--json "$build/gpu.json" --seconds "$for_engines" --devices "$devices")
  engine_status=0
  # As a user's program: what was set above is for the kernels' tests.
  engines timeout -k 5 "$((for_engines + 10))" env -u CUDA_DEVICE_MAX_CONNECTIONS -u CUDA_MODULE_LOADING \
    LD_LIBRARY_PATH="$own_libraries" || engine_status=$?
  if [ "$engine_status" -ge 124 ]; then
    left_out+=("the rest of the engines, which were ended (status $engine_status)")
  elif [ "$engine_status" -ne 0 ]; then
    status=1
  fi
fi
if [ -z "$sanitizer" ]; then
  echo "compute-sanitizer: not installed, skipped"
  sanitizers=()
elif [ "$(left)" -ge 20 ] && ! timeout -k 5 15 "$sanitizer" --error-exitcode 1 "$build/kraken-gpu-test" --devices >"$build/sanitizer.log" 2>&1; then
  echo "compute-sanitizer: does not work here, skipped: $(grep -m1 -i error "$build/sanitizer.log" || tail -1 "$build/sanitizer.log")"
  sanitizers=()
fi
for tool in "${sanitizers[@]}"; do
  if [ "$(left)" -lt 20 ]; then
    left_out+=("compute-sanitizer $tool")
    continue
  fi
  # One rank: tools that slow kernels down a hundredfold serialise them too, and ranks would wait for one another.
  echo "compute-sanitizer $tool" >&2
  sanitized=0
  timeout -k 5 "$(($(left) - 5))" "$sanitizer" --tool "$tool" --error-exitcode 1 "$build/kraken-gpu-test" --one-rank \
    --seconds "$(($(left) - 10))" >"$build/$tool.log" 2>&1 || sanitized=$?
  tail -3 "$build/$tool.log"
  if [ "$sanitized" -eq 124 ]; then left_out+=("the rest of compute-sanitizer $tool"); elif [ "$sanitized" -ne 0 ]; then status=1; fi
done
for one in "${left_out[@]}"; do echo "left out, for want of time: $one"; done
echo "$([ "$status" -eq 0 ] && echo passed || echo FAILED) in $SECONDS s of $bound; $([ -e "$build/gpu.json" ] && echo "figures and checks in $build/gpu.json" || echo "nothing ran")"
[ "$status" -eq 0 ] || exit 1
