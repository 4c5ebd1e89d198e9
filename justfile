# Commands for developers. `just` lists them; each can be run without just as well.

# Lists the commands.
default:
    @just --list

# Format, words, clippy, tests of core, HTTP and documents: under three minutes once built.
check:
    .ci/run --quick

# Everything that a change has to pass. Installs what it needs.
ci:
    .ci/run

# The long forms of the tests that have one: hours. tests/README.md says what each shows.
long:
    cargo build --release --workspace --bins --examples --locked
    PROPTEST_CASES=480 PORTCULLIS_RACE_ROUNDS=2000 cargo test --workspace --locked
    for store in sqlite redb sled; do \
        target/release/portcullis-crash kills --store $store --rounds 600 && \
        target/release/portcullis-crash cuts --store $store --rounds 240 && \
        target/release/portcullis-crash faults --store $store --all || exit 1; \
    done
    python3 tests/attack/run.py target/release/portcullis
    python3 tests/attack/connections.py target/release/portcullis
    python3 tests/outage/herd.py target/release/portcullis
    python3 tests/outage/herd.py target/release/portcullis --attack
    python3 tests/cluster/run target/release/portcullis --faults 25
    python3 tests/cluster/run target/release/portcullis --latency 120
    fuzz/run --seconds 600

# The documentation of all crates, as docs.rs builds it.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# All benchmarks, and docs/performance.md from them: an hour on an idle machine.
bench:
    benches/run

# Licences, advisories, bans and sources of dependencies (deny.toml); needs cargo-deny.
deny:
    cargo deny --locked check

# Every crate with every combination of its features; needs cargo-hack.
features:
    cargo hack check --feature-powerset --workspace --locked

# How many public items the libraries have, and which crates' types are in their signatures.
api:
    .ci/public-api

# Every crate as it would be published, built from the package.
package:
    cargo package --workspace --locked --allow-dirty
