#!/usr/bin/env bash
# A part that breaks the device, and one that never ends: each is a failure by name, and the parts before and after it are
# in the JSON all the same.
set -euo pipefail
program="$1"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $1"
  cat "$work/output" "$work/gpu.json"
  exit 1
}
status=0
"$program" --small --json "$work/gpu.json" --breaks "1 Kraken layers, 1 ranks" --hangs "1 Kraken layers, 2 ranks" \
  --part-seconds 8 >"$work/output" 2>&1 || status=$?
[ "$status" -eq 1 ] || fail "status $status"
# What went before, of the first process, what broke and hung, and what came behind, of the third; each once.
for name in "norm bf16 d=96" "1 Kraken layers, 1 ranks: the device is lost, says this test" \
  "1 Kraken layers, 2 ranks: it did not end in time" "4 layers, 1 ranks, one-shot" "graph, 2 ranks, two-shot"; do
  [ "$(grep -cF "\"name\": \"$name\"" "$work/gpu.json")" -eq 1 ] || fail "not one \"$name\""
done
grep -qF '"passed": false' "$work/gpu.json" || fail "it passed"
grep -qF '"skipped": "a check failed"' "$work/gpu.json" || fail "figures were taken after a failure"
grep -qE '^FAILED: .* 2 failed;' "$work/output" || fail "no summary of two failures"
echo "passed in $SECONDS s"
