# What the scripts share; sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() {
  printf '%s\n' "error: $*" >&2
  exit 1
}

say() { printf '\n== %s\n' "$*"; }

# The tests start haproxy and nginx themselves, on the loopback; Debian's packages would at once and at every boot.
service_policy=/usr/sbin/policy-rc.d
forbid_services() {
  own_policy=no
  [ -e "$service_policy" ] && return 0
  own_policy=yes
  printf '#!/bin/sh\nexit 101\n' | $sudo tee "$service_policy" >/dev/null
  $sudo chmod 755 "$service_policy"
}

# allow_services NAME...: after these packages were installed.
allow_services() {
  if [ "$own_policy" = yes ]; then $sudo rm -f "$service_policy"; fi
  command -v systemctl >/dev/null || return 0
  case " $* " in *" haproxy "*) $sudo systemctl disable -q haproxy 2>/dev/null || true ;; esac
  case " $* " in *" nginx-light "*) $sudo systemctl disable -q nginx 2>/dev/null || true ;; esac
}

# install_packages NAME...: whatever is missing of these Debian packages.
install_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "this script installs Debian packages with apt-get, which is not here.
Install the equivalents of: ${missing[*]}"
  local sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    sudo=$(command -v sudo) || die "installing ${missing[*]} needs root, and sudo is not here; run as root once"
  fi
  say "Installing ${missing[*]}"
  local log installed=yes
  log=$(mktemp)
  forbid_services
  { $sudo apt-get update -q &&
         $sudo env DEBIAN_FRONTEND=noninteractive \
           apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || installed=no
  allow_services "${missing[@]}"
  if [ $installed = no ]; then
    tail -n 15 "$log" >&2
    die "apt-get could not install ${missing[*]} (the lines above say why).
Without a network this cannot work: connect it, or install these packages by hand and run again."
  fi
  rm -f "$log"
}

# Memory a build needs: several files that are compiled as one take up to about 1,200 MB.
check_memory() {
  if [ "$1" -lt 1500 ]; then
    die "only $1 MiB of memory are available; building needs about 1500 MiB. Close something or add swap."
  fi
}

build_packages=(cmake ninja-build g++ ccache pkg-config libboost1.81-dev libboost-context1.81-dev libboost-json1.81-dev
  libcli11-dev libedit-dev libexpected-dev libfmt-dev libpcre2-dev libsodium-dev libspdlog-dev libssl-dev libutf8proc-dev)
gpu_packages=(clang-19 lld-19 llvm-19)
mpi_packages=(libopenmpi-dev openmpi-bin)
kv_events_packages=(cppzmq-dev libzmq3-dev nlohmann-json3-dev)
test_packages=("${gpu_packages[@]}" "${mpi_packages[@]}" "${kv_events_packages[@]}" iproute2 json-schema-test-suite libgtest-dev
  libgmock-dev librapidcheck-dev python3 python3-jinja2 python3-jsonschema python3-msgpack python3-numpy python3-prometheus-client
  python3-zmq curl haproxy nginx-light openssl valgrind)
# A Node.js from elsewhere brings its own npm, and Debian's would conflict with it.
{ command -v node && command -v npm; } >/dev/null || test_packages+=(nodejs npm)

# build PRESET [cmake arguments...]: configures and builds build/PRESET.
build() {
  local preset=$1
  shift
  local available_mib
  available_mib=$(awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
  : "${available_mib:=999999}"  # an old kernel does not say
  check_memory "$available_mib"
  cd "$root"
  say "Building the $preset preset"
  local log
  log=$(mktemp)
  if ! cmake --preset "$preset" "$@" >"$log" 2>&1; then
    cat "$log" >&2
    die "cmake could not configure the $preset preset"
  fi
  # A compiler for each processor, as far as memory reaches.
  local jobs fit
  jobs=$(nproc)
  fit=$((available_mib / 1200))
  if [ "$fit" -lt "$jobs" ]; then jobs=$fit; fi  # at least 1: check_memory saw to that
  cmake --build --preset "$preset" -j "$jobs" >"$log" 2>&1 || {
    grep -E -A 20 'FAILED|error' "$log" | head -n 80 >&2
    die "the build failed; the lines above are its first errors"
  }
  rm -f "$log"
}
