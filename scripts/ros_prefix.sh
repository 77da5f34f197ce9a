# Sourced by setup.sh and env.bash (bash or zsh): where ROS comes from, and what a shell needs to
# run the wheels from PyPI. Expects $root, the folder of this repository.

# is_own FOLDER: whether a folder is of this repository, or of another clone of it that is set up.
is_own() {
  case $1 in "$root" | "$root"/*) return 0 ;; esac
  [ -f "${1%%/.venv*}/.venv/seg2d3d_profile" ] || [ -f "${1%%/install/*}/.venv/seg2d3d_profile" ]
}

# strip_own_prefixes: takes our own folders out of the ROS paths, so that a shell in which env.bash
# was sourced, here or in another clone, looks like a fresh one.
strip_own_prefixes() {
  local name value entry kept
  for name in AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH LD_LIBRARY_PATH; do
    eval "value=\${$name:-}"
    [ -n "$value" ] || continue
    kept=
    while IFS= read -r entry; do
      if [ -n "$entry" ] && ! is_own "$entry"; then kept=$kept${kept:+:}$entry; fi
    done <<EOF
$(printf '%s\n' "$value" | tr ':' '\n')
EOF
    if [ -n "$kept" ]; then export "$name=$kept"; else unset "$name"; fi
  done
}

# find_ros_prefix: prints the prefix of a sourced ROS distribution, or fails.
find_ros_prefix() {
  local entry
  while IFS= read -r entry; do
    if [ -f "$entry/share/rclpy/package.xml" ] && ! is_own "$entry"; then
      printf '%s\n' "$entry"
      return 0
    fi
  done <<EOF
$(printf '%s\n' "${AMENT_PREFIX_PATH:-}" | tr ':' '\n')
EOF
  return 1
}

# ros_has_package NAME: whether a ROS prefix on the path brings this package.
ros_has_package() {
  local entry
  while IFS= read -r entry; do
    if [ -n "$entry" ] && [ -f "$entry/share/$1/package.xml" ]; then return 0; fi
  done <<EOF
$(printf '%s\n' "${AMENT_PREFIX_PATH:-}" | tr ':' '\n')
EOF
  return 1
}

# distro_python: prints the python3 that imports the sourced distribution's rclpy.
distro_python() {
  local candidate
  for candidate in /usr/bin/python3 python3; do
    if "$candidate" -c 'import rclpy' >/dev/null 2>&1; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

# enter_ros_wheels VENV: sets what colcon, CMake and the loader need to use the wheels of VENV.
enter_ros_wheels() {
  local venv=$1 library_path folder
  library_path=$venv/lib
  while IFS= read -r folder; do
    [ -z "$folder" ] || library_path=$library_path:$folder
  done <<EOF
$(find "$venv"/lib/python3.*/site-packages -maxdepth 1 -name 'ros_*.libs' 2>/dev/null | sort)
EOF
  case :$PATH: in *:"$venv/bin":*) ;; *) export PATH="$venv/bin:$PATH" ;; esac
  export AMENT_PREFIX_PATH="$venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
  export CMAKE_PREFIX_PATH="$venv${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}"
  export LD_LIBRARY_PATH="$library_path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  # Without it a .pth file re-executes every first Python only to set LD_LIBRARY_PATH.
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
}
