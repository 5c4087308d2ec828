# Sourced by tools/demo, tools/test, tools/plant and tools/peers: ensures that an adapter is available.
#
# ensure_adapter BINARY: if `BINARY devices` finds no adapter, installs Mesa's software adapter when run as root on Debian
# or Ubuntu, and otherwise says what to install. Returns 1 if there is still no adapter.

# Without this, Mesa's layers complain about a missing display on stderr.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"

has_adapter() {
  "$1" devices --json | tail -n 1 | grep -q '"default":[0-9]'
}

ensure_adapter() {
  has_adapter "$1" && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "no adapter found: installing Mesa's software adapter (mesa-vulkan-drivers, libvulkan1) ..."
    local log
    log=$(mktemp)
    if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y mesa-vulkan-drivers libvulkan1; } >"$log" 2>&1; then
      rm -f "$log"
    else
      tail -n 5 "$log" >&2
    fi
    has_adapter "$1" && return 0
  fi
  echo "no adapter found, and none could be installed; install a Vulkan driver (Debian, Ubuntu: apt-get install" >&2
  echo "mesa-vulkan-drivers libvulkan1; Fedora: dnf install mesa-vulkan-drivers vulkan-loader; Arch: pacman -S vulkan-swrast)" >&2
  return 1
}
