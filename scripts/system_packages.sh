# Sourced by setup.sh: which Python to use, and what the system lacks (by trying, not by asking
# dpkg, so that it holds on other distributions too).

# usable_python PYTHON [ROS]: whether it is 3.11-3.13 on x86_64 with venv, pip and headers.
usable_python() {
  "$1" - >/dev/null 2>&1 <<'PYTHON'
import ensurepip, os, platform, sys, sysconfig, venv
ok = (3, 11) <= sys.version_info[:2] <= (3, 13) and platform.machine() == "x86_64"
ok = ok and os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
sys.exit(0 if ok else 1)
PYTHON
}

# find_python: prints the first usable one; SEG2D3D_PYTHON, if set, is the only candidate. The
# distribution's own come first: they are compiled with profile feedback, while a replay with one
# that pyenv had built took a tenth more time.
find_python() {
  local candidate system=/usr/bin/python3
  for candidate in ${SEG2D3D_PYTHON:-$system.11 $system.12 $system.13 python3.11 python3.12 python3.13 python3}; do
    if usable_python "$candidate"; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

has_library() { PATH="$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null | grep -q "$1 .*x86-64"; }

# missing_packages: prints the names (Debian, Ubuntu) of what is missing, on one line.
missing_packages() {
  local missing=() pair
  find_python >/dev/null || missing+=(python3 python3-venv python3-dev)
  if ! command -v c++ >/dev/null || ! command -v cc >/dev/null || ! command -v make >/dev/null; then
    missing+=(build-essential)
  fi
  for pair in libusb-1.0.so.0=libusb-1.0-0 libGL.so.1=libgl1 libEGL.so.1=libegl1 \
    libgomp.so.1=libgomp1 libX11.so.6=libx11-6; do
    has_library "${pair%%=*}" || missing+=("${pair#*=}")
  done
  echo "${missing[*]}"
}

# install_system_packages: installs what is missing, or names it in one line and fails.
install_system_packages() {
  local missing as_root=()
  missing=$(missing_packages)
  [ -z "$missing" ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
    sudo -n true 2>/dev/null || as_root=(false)
  fi
  if command -v apt-get >/dev/null && [ "${as_root[*]}" != false ]; then
    echo "setup: installing system packages: $missing"
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -q)
    # shellcheck disable=SC2086  # one word per package
    "${as_root[@]}" install -y --no-install-recommends $missing >/dev/null 2>&1 ||
      { "${as_root[@]}" update && "${as_root[@]}" install -y --no-install-recommends $missing; } ||
      fail "apt-get could not install: $missing"
    missing=$(missing_packages)
    [ -z "$missing" ] && return 0
    fail "still missing after apt-get: $missing (Python must be 3.11-3.13; SEG2D3D_PYTHON names one)"
  fi
  fail "missing system packages, please run: sudo apt-get install $missing"
}
