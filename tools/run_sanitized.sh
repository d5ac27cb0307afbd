#!/usr/bin/env bash
# The native code under sanitizers; any report makes the exit code non-zero.
#
#   tools/run_sanitized.sh FOLDER [address|thread|all]
#
# address: AddressSanitizer and UndefinedBehaviorSanitizer, over the stress programs and the tests of the native code.
# thread:  ThreadSanitizer, over the stress programs (Python under it is too noisy to be believed).
# FOLDER takes the builds and is kept, so that a second run builds only what changed. The source tree is not written to.
# PYTHON names the interpreter (default python); it needs what the tests need. A C++ compiler must be there too.
set -euo pipefail

readonly REPOSITORY="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly WORK="$(realpath -m "${1:?usage: tools/run_sanitized.sh FOLDER [address|thread|all]}")"
readonly MODE="${2:-all}"
readonly PYTHON="${PYTHON:-python}"
readonly COMPILER="${CXX:-c++}"
readonly STRESS_STEPS=20
readonly LOAD_ROUNDS=9
# Each case is dozens of steps of the whole engine.
readonly FUZZ_CASES=20

# build NAME SANITIZERS [-C SETTING ...]: installs the package with instrumented libraries to $WORK/NAME.
build() {
    local name="$1" sanitizers="$2"
    shift 2
    local -a isolation=()
    # Where the build tools are at hand, nothing is fetched.
    if "$PYTHON" -c 'import nanobind, scikit_build_core' 2> /dev/null; then
        isolation=(--no-build-isolation)
    fi
    rm -rf "${WORK:?}/$name"
    echo "+ build with -fsanitize=$sanitizers"
    "$PYTHON" -m pip install --quiet --no-deps --no-compile --target "$WORK/$name" "${isolation[@]}" \
        -C build-dir="$WORK/build-$name" -C install.strip=false -C cmake.build-type=None \
        -C cmake.define.CMAKE_CXX_COMPILER="$COMPILER" -C cmake.define.WAYRA_SANITIZE="$sanitizers" \
        -C cmake.define.WAYRA_STRESS=ON "$@" "$REPOSITORY"
}

# stress NAME: the load loop, and the engine on every instruction set this CPU runs.
stress() {
    local folder="$WORK/$1/wayra/backends/native" isa
    local -a isas
    echo "+ load_stress"
    "$WORK/$1/wayra/lab/load/load_stress" "$LOAD_ROUNDS" 1
    mapfile -t isas < <(runnable_isas)
    for isa in "${isas[@]}"; do
        echo "+ step_stress $isa"
        # The portable kernels are scalar code here, and many times slower than the others.
        "$folder/step_stress" "$folder/kernels_$isa.so" "$([ "$isa" = portable ] && echo 4 || echo "$STRESS_STEPS")" 1
    done
}

runnable_isas() {
    local flags
    flags=" $(grep -m 1 '^flags' /proc/cpuinfo || true) "
    [[ "$flags" != *" avx512_vnni "* ]] || echo avx512
    [[ "$flags" != *" avx512_bf16 "* ]] || echo avx512_bf16
    [[ "$flags" != *" avx2 "* ]] || echo avx2
    echo portable
}

# sanitized_pytest ARGUMENTS: pytest with the instrumented package in front of any installed one.
sanitized_pytest() {
    echo "+ pytest $*"
    # The interpreter is not instrumented, so the runtime comes first; libstdc++ with it, so that it finds __cxa_throw.
    env LD_PRELOAD="$("$COMPILER" -print-file-name=libasan.so) $("$COMPILER" -print-file-name=libstdc++.so)" \
        PYTHONPATH="$WORK/address" PYTHONMALLOC=malloc "$PYTHON" -m pytest -q -p no:cacheprovider "$@"
}

check_address() {
    # An interpreter leaves much unfreed at its end by design; the stress program has no such excuse.
    export UBSAN_OPTIONS=print_stacktrace=1
    build address address,undefined,float-cast-overflow
    ASAN_OPTIONS=detect_leaks=1 stress address
    export ASAN_OPTIONS=detect_leaks=0
    cd "$REPOSITORY"
    local loaded
    loaded="$(LD_PRELOAD="$("$COMPILER" -print-file-name=libasan.so)" PYTHONPATH="$WORK/address" "$PYTHON" -c \
        'from wayra.backends.native import _native; print(_native.__file__)')"
    [[ "$loaded" == "$WORK/address/"* ]] || { echo "the tests would load $loaded"; return 1; }
    sanitized_pytest tests/conformance tests/unit/backends -k native
    sanitized_pytest tests/unit/lab -k "native and (latency or transports)"
    sanitized_pytest tests/property/test_engine_on_real_backends.py -k native --fuzz-cases "$FUZZ_CASES"
}

check_thread() {
    build thread thread -C cmake.define.WAYRA_PYTHON_MODULE=OFF
    TSAN_OPTIONS=halt_on_error=1 stress thread
}

main() {
    mkdir -p "$WORK"
    case "$MODE" in
        address) check_address ;;
        thread) check_thread ;;
        all)
            check_thread
            check_address
            ;;
        *) echo "no mode $MODE; there are address, thread and all" >&2; exit 2 ;;
    esac
    echo "no sanitizer has anything to report"
}

main
