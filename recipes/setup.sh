# Shared by recipes/demo and tests/run (sourced): installs what is missing, builds into build/.
# Debian 12 packages; needs apt, and sudo when not root.

graft_packages="gcc libc6-dev cmake ninja-build pkg-config libopenmpi-dev openmpi-bin
libhdf5-openmpi-dev libyaml-dev libcmocka-dev libjansson-dev libpcre2-dev libutf8proc-dev
libssl-dev libhwloc-dev libseccomp-dev libflint-dev libflint-arb-dev"

graft_install() { # [more packages ...]
    local missing="" package
    for package in $graft_packages "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" \
            || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    local root=""
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "needs these packages, and neither root nor sudo is here:$missing" >&2
            return 1
        fi
        root=sudo
    fi
    echo "installing:$missing" >&2
    $root apt-get update -qq >&2 \
        && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends $missing >&2
}

graft_build() { # folder, cmake options ...
    local folder=$1 log=$1/build.log
    shift
    mkdir -p "$folder"
    cmake -S . -B "$folder" -G Ninja "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
    ninja -C "$folder" >"$log" 2>&1 || { tail -n 60 "$log" >&2; return 1; }
}

# mpirun: as root it wants two variables; -n beyond the cores needs oversubscription; without the
# binding policy `-n 1` would be bound to one core.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_mpi_yield_when_idle=1 # waiting ranks leave the cores to working ones
