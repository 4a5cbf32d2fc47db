package shipper

import "time"

// Unexported constants of other packages that these tests rely on.
const (
	absentAnswers        = 3               // responses in a row that must lack something
	sessionAnswers       = 3               // responses in a row that must name a new session
	transportCooldown    = 5 * time.Minute // for which a failed transport is not used
	fileIdle             = time.Minute     // maximum time between two polls of a silent log
	smallLog             = 64 << 10        // content bytes of a log that is read again instead of searched
	checkSize            = 256             // raw bytes before the position that the next read begins with
	maxConcurrentReplays = 4               // of logs of a Synapse agent
	maxAhead             = time.Second     // of record times, ahead of the clock
)

// plainTrace is a Python traceback.
const plainTrace = "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\n    ~^^\nValueError: no"
