package shipper

import "time"

// What the packages below this one promise, as the tests here rely on it.
const (
	absentAnswers        = 3                // answers that must lack something before that is believed
	sessionAnswers       = 3                // answers that must name a new session
	transportCooldown    = 5 * time.Minute  // that a failed transport is not used
	fileIdle             = time.Minute      // the longest pause between two polls of a silent log
	smallLog             = 64 << 10         // content bytes that are read again rather than searched
	checkSize            = 256              // raw bytes that the next read begins with
	maxConcurrentReplays = 4                // logs of a Synapse agent that are replayed at once
	maxAhead             = time.Second      // that record times may be ahead of the clock
	saveRetryInterval    = time.Second      // after positions that could not be saved
	checkInterval        = time.Second      // between two checks of the files
	releaseDelay         = 15 * time.Second // that Ray may keep the slot of a closed tail
)

// plainTrace is a traceback of Python.
const plainTrace = "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\n    ~^^\nValueError: no"
