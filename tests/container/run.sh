#!/usr/bin/env bash
# Builds the image of docker/Dockerfile really, runs it hardened under a random uid, and queries it. Needs root, podman,
# runc and mmdebstrap (all Debian), no engine and no registry; and gradoracle, gradoracle-server from build/release.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
bin=${GRADORACLE_BIN:-build/release/bin}
data=$PWD/examples/data/lucas_house.csv.gz

w=$(mktemp -d /tmp/pm.XXXXXX) # short: socket paths have a limit
pm() { podman --root "$w/s" --runroot "$w/r" --storage-driver overlay "$@" </dev/null; }
# shellcheck disable=SC2317 # called by the trap
cleanup() {
  local result=$?
  trap - EXIT
  if ((result != 0)) && [[ -d $w/s ]]; then pm logs app >&2 || echo "(no log of the container)" >&2; fi
  pm rm -fa -t 3 >"$w/removed" 2>&1 || cat "$w/removed" >&2
  if mountpoint -q "$w/s/overlay"; then umount -l "$w/s/overlay"; fi
  rm -rf --one-file-system "$w"
  exit "$result"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() { echo "container: $*" >&2; exit 1; }
say() { printf 'container: %4d s  %s\n' "$SECONDS" "$*" >&2; }
json() { python3 -c 'import json, sys; print(eval(sys.argv[1], {"r": json.load(open(sys.argv[2]))}))' "$2" "$1"; }

# An ordinary user of a shared machine may not raise the limits podman asks for by default.
cat >"$w/containers.conf" <<'C'
[containers]
default_ulimits = ["nofile=4096:4096","nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
C
export CONTAINERS_CONF=$w/containers.conf

# The base image, from this machine's own Debian sources. Check-Date and Check-Valid-Until: a CI machine's clock may lag.
sources=/etc/apt/sources.list.d/debian.sources
[[ -s $sources ]] || sources=/etc/apt/sources.list
mmdebstrap --quiet --variant=apt --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
  --aptopt='Acquire::Languages "none"' bookworm "$w/base.tar" "$sources" \
  >"$w/base.log" 2>&1 || { cat "$w/base.log" >&2; fail "mmdebstrap"; }
pm import -q -c 'CMD ["bash"]' "$w/base.tar" localhost/debian:bookworm-slim >"$w/import.log"
rm "$w/base.tar"
say "base image imported"

image=localhost/gradoracle-server:test
pm build --isolation chroot --pull=never --network host --format docker -f docker/Dockerfile -t "$image" . \
  >"$w/build.log" 2>&1 || { tail -n 60 "$w/build.log" >&2; fail "the image does not build"; }
size=$(pm image inspect -f '{{.Size}}' "$image")
say "image built: $((size / 1000000)) MB"

[[ $(pm image inspect -f '{{.Config.User}}' "$image") =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || fail "USER is not numeric, or root"
[[ $(pm image inspect -f '{{json .Config.Entrypoint}}' "$image") == '["/usr/bin/gradoracle-server"]' ]] || fail "ENTRYPOINT"
mounted=$(pm image mount "$image")
if find "$mounted" -type f \( -name sh -o -name bash -o -name dash -o -name busybox -o -name 'apt*' \) -print -quit | grep -q .; then
  fail "the image holds a shell or a package manager"
fi
if find "$mounted" -type f -perm /6000 -print -quit | grep -q .; then fail "the image holds a setuid file"; fi
[[ -s $mounted/usr/share/doc/libgrpc++1.51/copyright ]] || fail "the notices of the libraries are missing"
pm image unmount "$image" >"$w/unmount.log"

uid=$((100000 + RANDOM))
hardened=(--network none --read-only --cap-drop=ALL --security-opt no-new-privileges --user "$uid:$uid"
  --pids-limit 256 --memory 512m -v "$data:/data/house.csv.gz:ro")

# Without TLS and without --insecure the wildcard address of the image is refused: exit 2.
result=0
pm run --rm "${hardened[@]}" --no-healthcheck "$image" --data /data/house.csv.gz >"$w/refused.log" 2>&1 || result=$?
((result == 2)) || { cat "$w/refused.log" >&2; fail "plaintext on 0.0.0.0 without --insecure: exit $result instead of 2"; }

pm run -d --name app "${hardened[@]}" "$image" --data /data/house.csv.gz --insecure >"$w/run.log" 2>"$w/run.err" ||
  { cat "$w/run.err" >&2; fail "the container does not start"; }
pid=$(pm inspect -f '{{.State.Pid}}' app)
[[ $(awk '/^Uid:/ {print $2}' "/proc/$pid/status") == "$uid" ]] || fail "does not run as uid $uid"
[[ $(awk '/^CapBnd:/ {print $2}' "/proc/$pid/status") =~ ^0+$ ]] || fail "has capabilities"
healthy=false
for _ in {1..150}; do
  if pm healthcheck run app >"$w/health.log" 2>&1; then healthy=true; break; fi
  sleep 0.2
done
$healthy || { cat "$w/health.log" >&2; fail "never healthy"; }
say "healthy as uid $uid, read-only, no capability, no shell"

# The container's own loopback, reached by entering its network namespace: nothing is exposed on this machine.
inside() { nsenter -t "$pid" -n "$@"; }
inside "$bin/gradoracle" info --oracle 127.0.0.1:50051 --json >"$w/info.json"
[[ $(json "$w/info.json" '(r["dimension"], r["row_count"])') == "(31, 25357)" ]] || fail "info: $(cat "$w/info.json")"
inside "$bin/gradoracle" estimate --oracle 127.0.0.1:50051 --weights zeros --batch-size 256 --count 4096 \
  --out "$w/hessian.npy" --json >"$w/estimate.json"
"$bin/gradoracle-server" inspect --data "$data" --compare "$w/hessian.npy" >"$w/inspect.json"
# Expected about 2 sqrt(6.2 / 4096) = 0.08 (theory 1.2); 0.25 is never reached by chance.
[[ $(json "$w/inspect.json" '0 < r["relative_error"] < 0.25') == True ]] || fail "estimate: $(cat "$w/inspect.json")"
say "estimated over gRPC, relative error $(json "$w/inspect.json" 'round(r["relative_error"], 3)')"

stopping=$SECONDS
pm stop -t 20 app >"$w/stop.log"
exit_code=$(pm inspect -f '{{.State.ExitCode}}' app)
((exit_code == 0)) || fail "exit code after SIGTERM is $exit_code"
((SECONDS - stopping < 20)) || fail "SIGTERM did not stop it; it was killed"
say "stopped by SIGTERM, exit 0"
