"""./build.sh bench [callouts|claims|shapes] ...: words to measurements; without one, what a callout
costs."""

from __future__ import annotations

import sys

from tests.bench import callouts, claims, shapes

MEASUREMENTS = {"callouts": callouts.main, "claims": claims.main, "shapes": shapes.main}

word = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in MEASUREMENTS else "callouts"
MEASUREMENTS[word]()
