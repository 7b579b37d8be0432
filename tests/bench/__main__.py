"""./build.sh bench [callouts|claims] ...: words to measurements; without one, what a callout
costs."""

from __future__ import annotations

import sys

from tests.bench import callouts, claims

MEASUREMENTS = {"callouts": callouts.main, "claims": claims.main}

word = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in MEASUREMENTS else "callouts"
MEASUREMENTS[word]()
