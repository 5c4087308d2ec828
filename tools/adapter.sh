# Sourced by tools/demo, tools/test, tools/plant and tools/peers: ensures that an adapter and, for tools/test, a browser are available.
# What is missing is installed if run as root on Debian or Ubuntu.
#
# ensure_adapter BINARY: returns 1 if `BINARY devices` finds no adapter in the end, and says what to install.
# ensure_browser: returns 1 if there is no Chromium in the end.

# Without this, Mesa's layers complain about a missing display on stderr.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"

install_packages() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
  echo "installing $* ..."
  local log
  log=$(mktemp)
  if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 5 "$log" >&2
    return 1
  fi
}

has_adapter() {
  "$1" devices --json | tail -n 1 | grep -q '"default":[0-9]'
}

ensure_adapter() {
  has_adapter "$1" && return 0
  # Mesa's software adapter.
  install_packages mesa-vulkan-drivers libvulkan1 && has_adapter "$1" && return 0
  echo "no adapter found, and none could be installed; install a Vulkan driver (Debian, Ubuntu: apt-get install" >&2
  echo "mesa-vulkan-drivers libvulkan1; Fedora: dnf install mesa-vulkan-drivers vulkan-loader; Arch: pacman -S vulkan-swrast)" >&2
  return 1
}

has_browser() {
  local browser
  for browser in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$browser" >/dev/null 2>&1 && return 0
  done
  return 1
}

ensure_browser() {
  has_browser || { install_packages chromium && has_browser; }
}
