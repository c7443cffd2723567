#!/usr/bin/env bash
# Builds the log with one seeded bug at a time, `cfg(wal_mutant = "…")` in src, and runs the tests that have to notice.
# Prints which test did and how long that took; fails if one bug goes unnoticed.
#
#   wal/mutants.sh              all: a build and a test for each, too long for every push
#   wal/mutants.sh NAME…        only these; `wal/mutants.sh --list` names them
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

# Mutant, then the tests that have to notice: files in tests/sim/, each with what their names have in them.
mutants="
ack_before_fsync        crash:every_acknowledged
wake_too_early          append:threads_that_wait
retry_fsync             faults:the_first_failed_sync
rotate_before_sync      crash:every_acknowledged
header_unsynced         crash:every_acknowledged
no_dir_fsync            crash:a_crash_of_the_process
ancestors_unsynced      crash:a_crash_of_the_process
no_salt_on_recycle      recycle:an_old
keep_partial_frame      faults:
rollback_unsynced       faults:
reuse_burned            levels:
no_burn                 levels:
half_a_batch            crash:every_acknowledged
truncate_before_durable truncate:
ignore_pins             rotation:
keep_stale_frames       faults:ghosts
trust_page_cache        faults:every_page_of
no_seal_check           forks:
damage_is_torn          golden:
zero_watermark          golden:
lazy_interval           policy:
quarantine_unsynced     crash:what_a_repair
"

names=$(awk 'NF { print $1 }' <<<"$mutants")
if [ "${1:-}" = --list ]; then
    echo "$names"
    exit
fi
for mutant in "$@"; do
    if ! grep -qx -- "$mutant" <<<"$names"; then
        echo "there is no mutant $mutant" >&2
        exit 2
    fi
done
seeded=$(grep -rhoE 'cfg!?\(wal_mutant = "[a-z0-9_]+"' wal/src | cut -d'"' -f2 | sort -u)
if [ "$seeded" != "$(sort <<<"$names")" ]; then
    echo "the bugs that are seeded are not those that are listed here:" >&2
    diff <(echo "$seeded") <(sort <<<"$names") >&2 || true
    exit 2
fi

target=${CARGO_TARGET_DIR:-$PWD/target}/mutants
export CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 PROPTEST_RNG_SEED=1
mkdir -p "$target"

# Runs tests with a bug seeded, or with `none`, and says what failed, if anything did. A wrapper of its own for each bug,
# as cargo keeps apart what different wrappers have built.
fails() {
    local mutant=$1 wrapper=$target/$1.rustc log=$target/$1.log pid status=0
    shift
    printf '#!/bin/sh\nexec "$@" --cfg wal_mutant=\\"%s\\"\n' "$mutant" >"$wrapper"
    chmod +x "$wrapper"
    local cargo=(env RUSTC_WORKSPACE_WRAPPER="$wrapper" cargo test -p forebay-wal --features sim,tokio --test sim)
    if ! "${cargo[@]}" --no-run >"$log" 2>&1; then
        echo "$mutant does not build, see $log" >&2
        return 2
    fi
    # The first test that fails will do. A bug may also leave somebody waiting for ever.
    set -m
    timeout 300 "${cargo[@]}" -- "$@" >"$log" 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null && ! grep -q ' \.\.\. FAILED$' "$log"; do sleep 0.2; done
    if grep -q ' \.\.\. FAILED$' "$log"; then
        sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$log" | head -n 1
        kill -- -$pid 2>/dev/null || true
    fi
    wait $pid || status=$?
    set +m
    if [ $status = 124 ]; then
        echo "one that did not end"
    elif [ $status != 0 ] && ! grep -q ' \.\.\. FAILED$' "$log"; then
        echo "one that broke off"
    fi
}

wanted=${*:-$names} survivors=0 healthy=
printf '%-24s %-80s %s\n' mutant 'killed by' seconds
for mutant in $wanted; do
    started=$SECONDS
    killer=
    for tests in $(awk -v name="$mutant" '$1 == name { gsub(",", " ", $2); print $2 }' <<<"$mutants"); do
        filter=${tests/:/::}
        killer=$(fails "$mutant" "$filter")
        [ -z "$killer" ] || break
    done
    printf '%-24s %-80s %7d\n' "$mutant" "${killer:-NOBODY}" $((SECONDS - started))
    if [ -z "$killer" ]; then
        survivors=$((survivors + 1))
        continue
    fi
    # Noticing means that it does not fail anyway; of tests that did not end, or broke off, that all of them do without it.
    same=(--exact "$killer")
    [[ $killer != one* ]] || same=("$filter")
    if [[ $healthy != *" ${same[*]} "* ]]; then
        if [ -n "$(fails none "${same[@]}")" ]; then
            echo "${same[*]} fails, or does not end, without a bug" >&2
            exit 2
        fi
        healthy+=" ${same[*]} "
    fi
done
if [ $survivors -gt 0 ]; then
    echo "$survivors survive" >&2
    exit 1
fi
