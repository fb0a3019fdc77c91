#!/usr/bin/env bash
# run.sh itself, on a machine without nvcc and GPU: stand-ins on the path for the compiler, nvidia-smi and the sanitizer;
# what the compiler "links" is the program given, which is this project's test program built for the host, or a stuck one.
set -euo pipefail
root="$(cd "$(dirname "$0")/../../.." && pwd)"
program="$1"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"

stand_in() { # name, body
  printf '#!/usr/bin/env bash\n%s\n' "$2" >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}
stand_in nvidia-smi 'echo 9.0; echo 9.0'
# The last -o names what is made: an empty object, or the program.
stand_in nvcc 'while [ $# -gt 0 ]; do case "$1" in -c) compiles=yes ;; -o) output="$2" ;; esac; shift; done
if [ -n "${compiles:-}" ]; then touch "$output"; else cp "$STAND_IN_PROGRAM" "$output"; fi'
stand_in compute-sanitizer 'while [ "$1" != --error-exitcode ]; do shift; done; shift 2; exec "$@"'
# Engines: what cannot run says why, what can says how it was asked.
stand_in no-engines 'echo "no TensorRT in this test"'
stand_in engines 'case " $* " in *" --missing "*) ;; *) echo "engines asked: $*"; exit "${STAND_IN_STATUS:-0}" ;; esac'
stand_in quick "exec \"$program\" --small \"\$@\""
stand_in brief 'echo "libraries: $LD_LIBRARY_PATH"'
stand_in stuck 'while [ "$1" != --json ]; do shift; done; echo "  \"running\": \"a part that hangs\"," >"$2"; exec sleep 60'

fail() {
  echo "FAILED: $1"
  cat "$work/output"
  exit 1
}
run() { # program, bound in seconds, further arguments of run.sh
  local program="$1" bound="$2"
  shift 2
  rm -rf "$work/build"
  status=0
  STAND_IN_PROGRAM="$work/bin/$program" NODE="${node:-$work/bin/no-engines}" KRAKEN_GPU_SECONDS="$bound" KRAKEN_GPU_BUILD="$work/build" NVCC="$work/bin/nvcc" \
    PATH="$work/bin:$PATH" bash "$root/test/gpu/run.sh" "$@" >"$work/output" 2>&1 || status=$?
}
expect() { grep -qF -- "$1" "$work/output" || fail "no \"$1\""; }

run quick 90 --no-such-option
[ "$status" -eq 2 ] || fail "an unknown option gave $status"

run quick 25 --compile-only
[ "$status" -eq 0 ] || fail "--compile-only gave $status"
expect "for sm 80 90 100"

# Two devices of one kind are one architecture.
run quick 45
[ "$status" -eq 0 ] || fail "a run gave $status"
expect "for sm 90"
expect "passed: "
expect "compute-sanitizer synccheck"
expect "passed in "
[ -s "$work/build/gpu.json" ] || fail "no gpu.json"

expect "engines: skipped: no TensorRT in this test"

mkdir "$work/lib64"
touch "$work/lib64/libcublasLt.so.13"
node="$work/none" run brief 40
[ "$status" -eq 0 ] || fail "a run without Node gave $status"
expect "engines: skipped: no Node here"
expect ":$work/lib64"

# Sanitizers have their share of the time, engines what is left.
node="$work/bin/engines" run brief 60
[ "$status" -eq 0 ] || fail "a run with engines gave $status"
expect "test/gpu/engines.ts --backend tensorrt --json $work/build/gpu.json --seconds "
expect "--devices 2"
STAND_IN_STATUS=1 node="$work/bin/engines" run brief 60
[ "$status" -eq 1 ] || fail "engines that fail gave $status"
expect "FAILED in "

run quick 30
[ "$status" -eq 0 ] || fail "a run without time gave $status"
expect "no time for: "
[ "$SECONDS" -lt 200 ] || fail "the bound was not kept"

# A tool that cannot run here is no failure of what it was to look at.
stand_in compute-sanitizer 'echo "========= Error: Device not supported"; exit 1'
run brief 40
[ "$status" -eq 0 ] || fail "a sanitizer that does not work gave $status"
expect "compute-sanitizer: does not work here, skipped: ========= Error: Device not supported"

stand_in nvidia-smi 'echo "NVIDIA-SMI has failed because it could not communicate with the driver"'
run brief 40
[ "$status" -eq 1 ] || fail "no GPU gave $status"
expect "no GPU here: nvidia-smi names none (NVIDIA-SMI has failed"
stand_in nvidia-smi 'echo 9.0; echo 9.0'

run stuck 18
[ "$status" -eq 1 ] || fail "a program that hangs gave $status"
expect 'left out, for want of time: what came after "a part that hangs"'
expect "left out, for want of time: compute-sanitizer memcheck"
echo "passed in $SECONDS s"
