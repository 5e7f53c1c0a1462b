#!/bin/sh
# The TLS campaigns at full length, about ten minutes on two cores: tests/tests/tls_campaigns.rs says
# what they are. Arguments choose some of them:
#
#   tests/tools/tls/campaigns.sh rotation
set -eu
cd "$(dirname "$0")/../../.."
SOCKTREE_CAMPAIGN=1 exec cargo test --release -p socktree-tests --test tls_campaigns -- \
    --nocapture --test-threads=1 "$@"
