# Put Python, ROS 2 and `seg2d3d` on the path of this shell, whichever way ROS came:
#   source env.bash          (bash or zsh, from any folder, any number of times)
# With a ROS distribution, source that first, then this. `make setup` has to have run.

_seg2d3d_env() {
  local root=$1 shell=$2
  if ! [ -f "$root/.venv/seg2d3d_profile" ] || ! [ -f "$root/install/setup.$shell" ]; then
    echo "env.bash: not set up yet, please run: make -C $root setup" >&2
    return 1
  fi
  . "$root/scripts/ros_prefix.sh"
  strip_own_prefixes
  case $(cat "$root/.venv/seg2d3d_profile") in
    profile=pip*)
      if find_ros_prefix >/dev/null; then
        echo "env.bash: set up without $(find_ros_prefix), which is sourced here;" \
          "please run make setup again, or use a fresh shell" >&2
        return 1
      fi
      enter_ros_wheels "$root/.venv"
      # The wheels are for one machine: keep its graph to itself unless told otherwise.
      export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
      ;;
    *)
      if ! find_ros_prefix >/dev/null; then
        echo "env.bash: set up with a ROS distribution: source its setup.$shell first" >&2
        return 1
      fi
      case :$PATH: in *:"$root/.venv/bin":*) ;; *) export PATH="$root/.venv/bin:$PATH" ;; esac
      ;;
  esac
  export VIRTUAL_ENV="$root/.venv"
  # local_setup, not setup: the latter would also walk the prefixes known when it was built.
  . "$root/install/local_setup.$shell"
}

if [ -n "${ZSH_VERSION:-}" ]; then
  eval '_seg2d3d_here=${${(%):-%x}:A:h}'
  _seg2d3d_env "$_seg2d3d_here" zsh
else
  _seg2d3d_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
  _seg2d3d_env "$_seg2d3d_here" bash
fi
_seg2d3d_status=$?
unset _seg2d3d_here
unset -f _seg2d3d_env is_own strip_own_prefixes find_ros_prefix ros_has_package distro_python \
  enter_ros_wheels 2>/dev/null
eval "unset _seg2d3d_status; return $_seg2d3d_status"
